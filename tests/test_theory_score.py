"""Score matching: both objectives at a known score, and a wrong one caught."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import score
from comparisons.theory._plane import NATURE, draws, grid
from comparisons.theory.densities import Fitted, from_model
from comparisons.theory.densities.score_matching import NOISE
from comparisons.verdict import Verdict


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of nature and of its smoothed law in place of learnt ones."""
    scale = jnp.sqrt(NATURE.truth["scale"] ** 2 + NOISE**2)
    smooth = from_model(NATURE, {**NATURE.truth, "scale": scale}, "exact")
    truth = {"sliced": from_model(NATURE, NATURE.truth, "exact"), "denoising": smooth}
    monkeypatch.setattr(score, "fit", lambda train, rng, effort, objective: truth[objective])


def outcomes() -> list[str]:
    """Of both claims of sliced score matching, and then of denoising score matching."""
    shown = score.show(np.random.default_rng(0), 1)
    return [one.outcome for one in shown if isinstance(one, Verdict)]


@pytest.mark.usefixtures("known")
def test_the_true_scores_have_the_objectives_of_theory() -> None:
    assert outcomes() == ["AGREE"] * 4


@pytest.mark.usefixtures("known")
def test_objectives_without_half_of_themselves_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_divergence(of: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        return 0.25 * (jax.vmap(of)(x) ** 2).sum() / len(x)

    def no_noise(of: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        """The points are not moved, as if noise were only what is asked for."""
        noise = jax.random.normal(key, x.shape)
        return 0.5 * ((jax.vmap(of)(x) + noise / NOISE) ** 2).sum() / len(x)

    monkeypatch.setitem(score.LOSSES, "sliced", no_divergence)
    monkeypatch.setitem(score.LOSSES, "denoising", no_noise)
    assert outcomes() == ["DIFFER", "AGREE"] * 2


def test_a_score_that_is_too_short_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    known = from_model(NATURE, NATURE.truth, "exact").score
    assert known is not None
    short = Fitted("score only", score=lambda x: 0.3 * known(x))
    monkeypatch.setattr(score, "fit", lambda *_: short)
    assert outcomes()[1::2] == ["DIFFER"] * 2


def test_the_information_is_minus_the_mean_divergence() -> None:
    box, rng = grid(), np.random.default_rng(0)
    assert draws(rng, 3).shape == (3, 2)
    moment = [box.mean(box.points[:, d] * box.score[:, d]) for d in range(2)]
    np.testing.assert_allclose(moment, -1, rtol=0, atol=1e-8)  # E x ∂log p = −1, by parts
