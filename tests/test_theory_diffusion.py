"""The objective and the flow of diffusions at known scores, and their planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import diffusion
from comparisons.theory.densities.diffusion import FIRST, levels
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from jax import Array


def outcomes() -> list[str]:
    """Of the objective at each time, and of the flow."""
    shown = diffusion.show(np.random.default_rng(0), 1)
    return [one.outcome for one in shown if isinstance(one, Verdict)]


def test_noise_guessed_by_anything_and_the_flow_of_the_exact_scores_are_as_theory_says() -> None:
    assert outcomes() == ["AGREE"] * (len(diffusion.TIMES) + 1)


@pytest.mark.parametrize("t", [FIRST, 0.3, 1.0])
def test_every_noised_law_has_variances_of_one_on_average(t: float) -> None:
    values = {name: np.asarray(array) for name, array in diffusion.noised(jnp.asarray(t)).items()}
    weights, mean = values["weights"], values["mean"]
    np.testing.assert_allclose(weights @ mean, 0, atol=1e-12)
    variance = weights @ mean**2 + values["scale"] ** 2
    assert variance.mean() == pytest.approx(1.0, abs=1e-12)
    alpha, sigma = levels(jnp.asarray(t))
    assert float(alpha**2 + sigma**2) == pytest.approx(1.0, abs=1e-12)


def test_a_noise_level_that_is_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = diffusion.by_quadrature

    def later(guess: diffusion.Denoiser, t: float) -> float:
        return right(guess, 1.5 * t)

    monkeypatch.setattr(diffusion, "by_quadrature", later)
    # the first noise is too small for half of it more to matter
    assert outcomes()[1 : len(diffusion.TIMES)] == ["DIFFER"] * (len(diffusion.TIMES) - 1)


def test_a_score_that_is_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = diffusion.Exact.score

    def longer(self: diffusion.Exact, x: Array, t: Array) -> Array:
        return 1.02 * right(self, x, t)

    monkeypatch.setattr(diffusion.Exact, "score", longer)
    try:
        jax.clear_caches()  # they keep what was traced with the right one,
        assert outcomes()[-1] == "DIFFER"
    finally:
        jax.clear_caches()  # and then with the wrong one
