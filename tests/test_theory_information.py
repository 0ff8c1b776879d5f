"""Identities, ranks and traces against closed forms, and planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from comparisons.theory import information as entry
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


def differ(found: list[Verdict]) -> list[str]:
    return [verdict.about for verdict in found if verdict.outcome == "DIFFER"]


def test_every_claim_holds() -> None:
    found = verdicts(entry.show(np.random.default_rng(1), 1))
    assert len(found) == 11
    assert [v for v in found if v.outcome != "AGREE"] == []


@pytest.mark.parametrize("size", [3, 7])
def test_rank_counts_directions_whatever_their_units(size: int) -> None:
    rng = np.random.default_rng(size)
    score = rng.standard_normal((50, 3)) @ rng.standard_normal((3, size))
    score = np.column_stack([score * 10.0 ** -np.arange(size), np.zeros(50)])
    assert entry.rank(entry.information(score, np.full(50, 0.02))) == 3


def test_a_weight_of_the_grid_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = entry.information
    monkeypatch.setattr(entry, "information", lambda score, w: right(score, 1.01 * w))
    wrong = differ(verdicts(entry.identities()))
    assert "gaussian_mixture: largest |E s sᵀ + E ∇² log p|" in wrong
    assert any("slope of log |KL − ½t²|" in about for about in wrong)


def test_a_rank_that_counts_noise_and_scores_not_shared_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = entry.information

    def noisy(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return right(score, weight) + 0.1 * np.eye(score.shape[1])

    monkeypatch.setattr(entry, "information", noisy)
    wrong = differ(verdicts(entry.ranks(np.random.default_rng(5), 100)))
    assert sum("rank" in about for about in wrong) == 2
    assert sum("trace" in about for about in wrong) == 3
