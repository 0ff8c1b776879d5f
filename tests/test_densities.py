"""Every density estimator, trained briefly: it gives a law, which nears nature's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from comparisons.theory import densities
from comparisons.theory._plane import HIGH, LOW, draws, grid, log_density
from comparisons.theory.densities import everywhere, gradient
from models.registry import entries

if TYPE_CHECKING:
    from comparisons.theory.densities import Fitted

Z = 4.9
"""Normal quantile at a false-alarm rate of 1e-6, or half of it where one side counts."""
FEW, MANY = 0.005, 0.2  # shares of the usual training
EVERY = entries(densities)
TRAINED = ["adversarial", "coupling_flow", "score_matching", "variational_autoencoder"]
DENSITIES = [name for name in EVERY if name not in ("adversarial", "score_matching")]
TRAIN = draws(np.random.default_rng(0), 500)
TEST = draws(np.random.default_rng(1), 4_000)


@cache
def fitted(name: str, effort: float = MANY) -> Fitted:
    return EVERY[name].fit(TRAIN, np.random.default_rng(2), effort)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_integrates_to_one_and_has_the_score(name: str) -> None:
    one, box = fitted(name), grid()
    assert one.log_density is not None
    assert one.score is not None
    density = np.exp(everywhere(one.log_density, box.points))
    assert abs(box.integral(density) - 1) < 1e-3  # what is beyond the box
    step, few = 1e-5, TEST[:20]
    steps = [
        everywhere(one.log_density, few + step * sign * e) for e in np.eye(2) for sign in (1, -1)
    ]
    difference = np.stack([steps[0] - steps[1], steps[2] - steps[3]], axis=1) / (2 * step)
    # rounding of log q, 1e-15 · 100, over the step; the step's square times a third derivative
    # of up to 10⁴
    np.testing.assert_allclose(everywhere(one.score, few), difference, rtol=1e-6, atol=1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("name", DENSITIES)
def test_draws_have_the_moments_of_the_density(name: str) -> None:
    assert _largest_difference(fitted(name)) < Z


@pytest.mark.statistical
def test_draws_too_wide_or_turned_are_caught() -> None:
    one = fitted("gaussian_mixture_density")
    for wrong in (
        lambda rng, n: 1.05 * one.sample(rng, n),  # pyright: ignore[reportOptionalCall]
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
    first, last = (_distance(fitted(name, effort)) for effort in (FEW, MANY))
    away = last - first
    assert away.mean() < -Z * away.std() / np.sqrt(away.size)


def _distance(one: Fitted) -> np.ndarray:
    """Held-out terms whose mean is a distance from nature, less what does not depend on the fit."""
    if one.log_density is not None:
        return -everywhere(one.log_density, TEST)
    if one.score is not None:
        true = everywhere(gradient(log_density()), TEST)
        return ((everywhere(one.score, TEST) - true) ** 2).sum(axis=1)
    assert one.sample is not None
    x = one.sample(np.random.default_rng(3), len(TEST))
    # the terms of an energy distance, by pairs that share no draw
    x, y, nature = x[::2], x[1::2], TEST[::2]
    across = np.linalg.norm(x - nature, axis=1) + np.linalg.norm(y - TEST[1::2], axis=1)
    return across - np.linalg.norm(x - y, axis=1)
