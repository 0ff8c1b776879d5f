"""The pseudo-true law in closed form, and planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import misspecification as entry
from comparisons.verdict import Verdict
from models.catalogue.gaussian_mixture import GaussianMixture

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
    found = verdicts(entry._left(np.random.default_rng(2), 1, entry.truth()))
    assert len(found) == 5
    assert {verdict.outcome for verdict in found} == {"AGREE"}


@pytest.mark.statistical
def test_orders_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "UNITS", 300)
    monkeypatch.setattr(entry, "ORDERS", (1, 2, 3))
    right, fits = entry._fitted, {}

    def kept(model: GaussianMixture, *arguments: Any) -> Any:
        fits[model.k] = right(model, *arguments)
        return fits[model.k]

    monkeypatch.setattr(entry, "_fitted", kept)
    found = verdicts(entry._orders(np.random.default_rng(3), 1, entry.truth()))
    assert len(found) == 6
    assert {verdict.outcome for verdict in found} == {"AGREE"}

    def dear(model: GaussianMixture, *_: Any) -> Any:
        """N for its logarithm in the penalty."""
        fit = fits[model.k]
        return fit._replace(bic=-2 * fit.log_likelihood + fit.k * entry.UNITS)

    monkeypatch.setattr(entry, "_fitted", dear)
    found = verdicts(entry._orders(np.random.default_rng(3), 1, entry.truth()))
    differing = [verdict.about for verdict in found if verdict.outcome == "DIFFER"]
    assert differing == ["order chosen by BIC"]

    def seen(model: GaussianMixture, *_: Any) -> Any:
        """Every unit scored by the fit that has seen it."""
        fit = fits[model.k]
        return fit._replace(score=np.full(entry.UNITS, fit.log_likelihood / entry.UNITS))

    monkeypatch.setattr(entry, "_fitted", seen)
    found = verdicts(entry._orders(np.random.default_rng(3), 1, entry.truth()))
    differing = [verdict.about[:21] for verdict in found if verdict.outcome == "DIFFER"]
    assert differing == ["ℓ(θ̂) − leave-one-out"] * 2


def test_a_divergence_that_vanishes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, at = np.random.default_rng(7), entry.truth()
    one = {"weights": np.eye(3)[0], "mu": np.zeros(3), "sigma": np.ones(3)}
    monkeypatch.setattr(entry, "VALUES", {name: jnp.asarray(v) for name, v in one.items()})
    monkeypatch.setattr(entry, "FRESH", 20_000)
    assert [v.outcome for v in verdicts(entry._remains(rng, 1, at))] == ["DIFFER"]


def test_a_nearest_law_of_the_other_direction_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reverse(density: np.ndarray, law: jax.Array) -> jax.Array:
        log_p = jax.scipy.stats.norm.logpdf(entry.NODES, law[0], jnp.exp(law[1]))
        gap = log_p - np.log(density)
        return jnp.sum(jnp.exp(log_p) * gap) * (entry.NODES[1] - entry.NODES[0])

    monkeypatch.setattr(entry, "divergence", reverse)
    monkeypatch.setattr(entry, "FITS", 10)
    found = verdicts(entry._left(np.random.default_rng(8), 1, entry.truth()))
    assert [v.outcome for v in found[:2]] == ["DIFFER"] * 2


def test_a_larger_order_must_earn_its_place() -> None:
    rng = np.random.default_rng(4)
    base = rng.standard_normal(200)
    noise = 0.1 * rng.standard_normal(200)
    scores = {1: base - 1.0 + noise, 2: base, 3: base + 0.1 * (noise - noise.mean()) + 1e-5}
    assert entry.chosen(scores) == 2


def test_akaikes_penalty_is_caught() -> None:
    akaike = entry.truth()._replace(trace=2.0)
    found = verdicts(entry._left(np.random.default_rng(6), 1, akaike))
    wrong = [verdict.about for verdict in found if verdict.outcome == "DIFFER"]
    assert len(wrong) == 1
    assert wrong[0].startswith("2N (E KL")
