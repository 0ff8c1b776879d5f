"""Score matching: both objectives at a known score, and a wrong one caught."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from comparisons.theory import score
from comparisons.theory._plane import NATURE, draws, grid
from comparisons.theory._shown import Claim
from inference.densities._model import density_of
from inference.densities.score_matching import ScoreMatching


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nature's own score in place of a learnt one, and fewer draws."""
    truth = density_of(NATURE, NATURE.truth, "exact")
    monkeypatch.setattr(ScoreMatching, "fit", lambda *_: truth)
    monkeypatch.setattr(score, "FRESH", 100_000)


def sliced() -> list[str]:
    shown = score.show(np.random.default_rng(0), 1)
    return [one.verdict.outcome for one in shown if isinstance(one, Claim)][:2]


@pytest.mark.usefixtures("known")
def test_the_true_score_has_the_objective_of_theory() -> None:
    assert sliced() == ["AGREE", "AGREE"]


@pytest.mark.usefixtures("known")
def test_an_objective_without_its_divergence_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(of: object, key: jax.Array, x: jax.Array) -> jax.Array:
        values = jax.vmap(of)(x)
        return 0.25 * (values**2).sum() / len(x)

    monkeypatch.setattr(score, "sliced_loss", wrong)
    assert sliced()[0] == "DIFFER"


def test_the_information_is_minus_the_mean_divergence() -> None:
    box, rng = grid(), np.random.default_rng(0)
    assert draws(rng, 3).shape == (3, 2)
    moment = [box.mean(box.points[:, d] * box.score[:, d]) for d in range(2)]
    np.testing.assert_allclose(moment, -1, rtol=0, atol=1e-8)  # E x ∂log p = −1, by parts
