"""Every density estimator, trained briefly: it gives a law, which nears nature's."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import comparisons.theory.densities
from comparisons.theory._plane import HIGH, LOW, draws, frame, grid, log_density
from comparisons.theory.densities import (
    DensityEstimator,
    everywhere,
    variants,
    variational_autoencoder,
)
from comparisons.theory.densities.variational_autoencoder import VariationalAutoencoder
from models.registry import subclasses

if TYPE_CHECKING:
    from comparisons.theory.densities import Fitted

Z = 4.9
"""Normal quantile at a false-alarm rate of 1e-6, or half of it where one side counts."""
FEW, MANY = 20, 600
EVERY = {
    name: estimator
    for cls in subclasses(comparisons.theory.densities, DensityEstimator).values()
    for name, estimator in variants(cls).items()
}
TRAINED = [name for name, one in EVERY.items() if "updates" in {f.name for f in fields(one)}]  # pyright: ignore[reportArgumentType]
DENSITIES = [name for name in EVERY if not name.startswith(("adversarial", "score_matching"))]
TRAIN = draws(np.random.default_rng(0), 500)
TEST = draws(np.random.default_rng(1), 4_000)


@cache
def fitted(name: str, updates: int = MANY) -> Fitted:
    estimator: Any = EVERY[name]
    if name in TRAINED:
        estimator = replace(estimator, updates=updates, width=16)
    return estimator.fit(TRAIN, np.random.default_rng(2), 1)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_integrates_to_one_and_has_the_score(name: str) -> None:
    one, box = fitted(name), grid()
    assert one.log_density is not None
    assert one.score is not None or name == "variational_autoencoder"
    around, area = frame()
    density = np.exp(everywhere(one.log_density, box.points))
    outside = np.exp(everywhere(one.log_density, around)).sum() * area
    # cells of half a standard deviation of a component, and what is beyond three boxes
    assert abs(box.integral(density) + outside - 1) < 1e-3
    if one.score is None or name == "diffusion":
        return  # a diffusion's score is that of its first noise level
    step, few = 1e-5, TEST[:20]
    steps = [
        everywhere(one.log_density, few + step * sign * e) for e in np.eye(2) for sign in (1, -1)
    ]
    difference = np.stack([steps[0] - steps[1], steps[2] - steps[3]], axis=1) / (2 * step)
    # rounding of log q, 1e-15 · 100, over the step; the step's square times a third derivative
    # of up to 10⁴, of a kernel a twentieth of the data wide
    np.testing.assert_allclose(everywhere(one.score, few), difference, rtol=1e-6, atol=1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("name", DENSITIES)
def test_draws_have_the_moments_of_the_density(name: str) -> None:
    assert _largest_difference(fitted(name)) < Z


@pytest.mark.statistical
def test_draws_without_noise_or_turned_are_caught() -> None:
    one = fitted("kernel_density[normal_reference]")
    for wrong in (
        lambda rng, n: rng.choice(TRAIN, n),
        lambda rng, n: one.sample(rng, n)[:, ::-1],  # pyright: ignore[reportOptionalCall]
    ):
        assert _largest_difference(replace(one, sample=wrong)) > Z


def _largest_difference(one: Fitted) -> float:
    """Of moments up to the second by draws and by quadrature, in standard errors."""
    box = grid()
    assert one.log_density is not None
    assert one.sample is not None
    density = np.exp(everywhere(one.log_density, box.points))
    drawn = one.sample(np.random.default_rng(3), 20_000)
    inside = ((drawn > LOW) & (drawn < HIGH)).all(axis=1)  # all but a thousandth: see above

    def moments(x: np.ndarray) -> np.ndarray:
        x = x - TRAIN.mean(axis=0)
        return np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1]])

    found = moments(drawn[inside])
    exact = moments(box.points) @ density / density.sum()
    return float(
        (np.abs(found.mean(axis=1) - exact) / (found.std(axis=1) / np.sqrt(inside.sum()))).max()
    )


@pytest.mark.statistical
@pytest.mark.parametrize("name", TRAINED)
def test_training_brings_a_law_nearer_to_nature(name: str) -> None:
    first, last = (_distance(fitted(name, updates)) for updates in (FEW, MANY))
    away = last - first
    assert away.mean() < -Z * away.std() / np.sqrt(away.size)


def _distance(one: Fitted) -> np.ndarray:
    """Held-out terms whose mean is a distance from nature, less what does not depend on the fit."""
    if one.log_density is not None:
        return -everywhere(one.log_density, TEST)
    if one.score is not None:
        of = log_density()
        true = everywhere(jax.grad(lambda x: jnp.sum(of(x))), TEST)
        return ((everywhere(one.score, TEST) - true) ** 2).sum(axis=1)
    assert one.sample is not None
    x = one.sample(np.random.default_rng(3), len(TEST))
    # the terms of an energy distance, by pairs that share no draw
    x, y, nature = x[::2], x[1::2], TEST[::2]
    across = np.linalg.norm(x - nature, axis=1) + np.linalg.norm(y - TEST[1::2], axis=1)
    return across - np.linalg.norm(x - y, axis=1)


@pytest.mark.statistical
def test_the_program_of_the_autoencoder_has_the_bound_of_its_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # with a learning rate of 0 every update measures the same bound on other rows
    monkeypatch.setattr(
        variational_autoencoder.optax, "cosine_decay_schedule", lambda *_: lambda _: 0.0
    )
    units, trained = VariationalAutoencoder(width=8, updates=2_000).learn(
        TRAIN, np.random.default_rng(0), 1
    )
    keys = jax.random.split(jax.random.key(0), 200)
    x = jnp.asarray(units.to(TRAIN))
    own = np.asarray(jax.vmap(lambda key: trained.network.bound(key, x, 1).mean())(keys))
    error = np.hypot(trained.losses.std() / np.sqrt(2_000), own.std() / np.sqrt(200))
    assert abs(trained.losses.mean() + own.mean()) < Z * error
    # a program without its prior would be off by E log N(z), below −½ log 2π = −0.92
    assert Z * error < 0.3
