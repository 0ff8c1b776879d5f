"""The pseudo-true law in closed form, and planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import misspecification as entry
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


def test_the_pseudo_true_law_has_the_moments_of_the_data() -> None:
    at = entry.truth()
    weights, mu, sigma = (np.asarray(entry.VALUES[n]) for n in ("weights", "mu", "sigma"))
    mean = weights @ mu
    away = mu - mean
    variance = weights @ (sigma**2 + away**2)
    fourth = weights @ (3 * sigma**4 + 6 * sigma**2 * away**2 + away**4)
    tails = fourth / variance**2
    np.testing.assert_allclose([at.mean, at.deviation], [mean, variance**0.5], atol=1e-12)
    assert at.trace == pytest.approx(1 + (tails - 1) / 2, abs=1e-12)


@pytest.mark.statistical
def test_what_is_left() -> None:
    found = verdicts(entry.left(np.random.default_rng(2), 1, entry.truth()))
    assert len(found) == 5
    assert {verdict.outcome for verdict in found} == {"AGREE"}


@pytest.mark.statistical
def test_orders_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "UNITS", 300)
    monkeypatch.setattr(entry, "ORDERS", (1, 2, 3))
    found = verdicts(entry.orders(np.random.default_rng(3), 1, entry.truth()))
    assert [verdict.outcome for verdict in found] == ["AGREE"] * 3
    # N for its logarithm in the penalty
    monkeypatch.setattr(entry, "deviances", lambda top, k, n: {"bic": -2 * top + k * n})
    found = verdicts(entry.orders(np.random.default_rng(3), 1, entry.truth()))
    assert [verdict.outcome for verdict in found] == ["DIFFER", "AGREE", "AGREE"]


def test_a_divergence_that_vanishes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, at = np.random.default_rng(7), entry.truth()
    one = {"weights": np.eye(3)[0], "mu": np.zeros(3), "sigma": np.ones(3)}
    monkeypatch.setattr(entry, "VALUES", {name: jnp.asarray(v) for name, v in one.items()})
    monkeypatch.setattr(entry, "FRESH", 20_000)
    assert [v.outcome for v in verdicts(entry.remains(rng, 1, at))] == ["DIFFER"]


def test_a_nearest_law_of_the_other_direction_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reverse(density: np.ndarray, law: jax.Array) -> jax.Array:
        log_p = jax.scipy.stats.norm.logpdf(entry.NODES, law[0], jnp.exp(law[1]))
        gap = log_p - np.log(density)
        return jnp.sum(jnp.exp(log_p) * gap) * (entry.NODES[1] - entry.NODES[0])

    monkeypatch.setattr(entry, "divergence", reverse)
    monkeypatch.setattr(entry, "FITS", 10)
    found = verdicts(entry.left(np.random.default_rng(8), 1, entry.truth()))
    assert [v.outcome for v in found[:2]] == ["DIFFER"] * 2


def test_akaikes_penalty_is_caught() -> None:
    akaike = entry.truth()._replace(trace=2.0)
    found = verdicts(entry.left(np.random.default_rng(6), 1, akaike))
    wrong = [verdict.about for verdict in found if verdict.outcome == "DIFFER"]
    assert len(wrong) == 1
    assert wrong[0].startswith("2N (E KL")
