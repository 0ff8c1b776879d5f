"""The Markov-chain language model: closed forms, its claims, and a planted bug for each."""

from __future__ import annotations

import numpy as np
import pytest

from comparisons.theory import next_token
from comparisons.verdict import Verdict


def outcomes() -> list[str]:
    shown = next_token.show(np.random.default_rng(0), 1)
    return [one.outcome for one in shown if isinstance(one, Verdict)]


def test_the_stationary_law_is_left_alone_by_the_transitions() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(4), 4)
    law = next_token.stationary(p)
    np.testing.assert_allclose(law @ p, law, rtol=0, atol=1e-14)
    np.testing.assert_allclose(law.sum(), 1, rtol=0, atol=1e-14)


def test_transitions_are_counted() -> None:
    table = next_token.counts(np.array([0, 1, 1, 2, 0, 1]))
    expected = np.zeros((4, 4), int)
    expected[[0, 1, 1, 2], [1, 1, 2, 0]] = [2, 1, 1, 1]
    np.testing.assert_array_equal(table, expected)


def test_every_claim_agrees() -> None:
    assert outcomes() == ["AGREE"] * 3


def test_smoothed_shares_are_not_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        next_token, "shares", lambda t: (t + 1) / (t + 1).sum(axis=1, keepdims=True)
    )
    assert outcomes()[0] == "DIFFER"


def test_a_text_of_another_law_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = next_token.cross_entropy
    monkeypatch.setattr(next_token, "cross_entropy", lambda t, q: entropy(t, q) / np.log(2))
    assert outcomes()[1] == "DIFFER"


def test_a_lost_parameter_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = next_token.learn

    def halved(*args: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tables, models, excess = learn(*args)
        return tables, models, excess * 11 / 12

    monkeypatch.setattr(next_token, "learn", halved)
    assert outcomes()[2] == "DIFFER"
