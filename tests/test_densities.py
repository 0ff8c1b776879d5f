"""Every density estimator, trained briefly: it gives a law, which nears nature's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inference.densities
from comparisons.theory._plane import draws, frame, grid, log_density
from inference.densities import variational_autoencoder
from inference.densities._fitted import DensityEstimator, everywhere, variants
from inference.densities.variational_autoencoder import VariationalAutoencoder
from models._catalogue import subclasses

if TYPE_CHECKING:
    from inference.densities._fitted import Fitted

Z = 4.9
"""Two-sided normal quantile at a false-alarm rate of 1e-6."""
FEW, MANY = 20, 600
EVERY = {
    name: estimator
    for cls in subclasses(inference.densities, DensityEstimator).values()
    for name, estimator in variants(cls).items()
}
TRAINED = [name for name, estimator in EVERY.items() if hasattr(estimator, "updates")]
SIGNS = 1, -1
TRAIN = draws(np.random.default_rng(0), 500)
TEST = draws(np.random.default_rng(1), 4_000)


@cache
def fitted(name: str, updates: int = MANY) -> Fitted:
    estimator: Any = EVERY[name]
    if name in TRAINED:
        estimator = replace(estimator, updates=updates, width=16)
    return estimator.fit(TRAIN, np.random.default_rng(2), 1)


@pytest.mark.parametrize("name", EVERY)
def test_a_density_integrates_to_one_is_drawn_from_and_has_the_score(name: str) -> None:
    one, box = fitted(name), grid()
    if one.log_density is None:
        return
    around, area = frame()
    density = np.exp(everywhere(one.log_density, box.points))
    outside = np.exp(everywhere(one.log_density, around)).sum() * area
    # cells of half a standard deviation of a component, and what is beyond three boxes
    assert abs(box.integral(density) + outside - 1) < 1e-3
    assert one.sample is not None
    drawn = one.sample(np.random.default_rng(3), 5_000)
    height = everywhere(one.log_density, drawn)
    # E log q by draws and by quadrature: the former know what the latter leaves out, 1e-3 or less
    inside = np.where(density > 0, density * np.log(np.maximum(density, 1e-300)), 0.0)
    error = height.std() / np.sqrt(height.size)
    assert abs(height.mean() - box.integral(inside)) < Z * error + 0.03
    if one.score is None or name == "diffusion":
        return  # a diffusion's score is that of its first noise level
    step, few = 1e-5, TEST[:20]
    steps = [
        everywhere(one.log_density, few + step * sign * e) for e in np.eye(2) for sign in SIGNS
    ]
    difference = np.stack([steps[0] - steps[1], steps[2] - steps[3]], axis=1) / (2 * step)
    # central differences: rounding over the step, and its square times a third derivative
    np.testing.assert_allclose(everywhere(one.score, few), difference, rtol=1e-5, atol=1e-6)


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
    pairs = x - TEST, x - x[::-1]  # the terms of an energy distance
    across, within = (np.linalg.norm(pair, axis=1) for pair in pairs)
    return 2 * across - within


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
    # the program without its prior would be off by E log N(z), which is at least 0.9
    assert Z * error < 0.3
