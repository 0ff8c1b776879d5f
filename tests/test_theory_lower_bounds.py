"""Lower bounds: a model that has not been trained obeys them too, and a broken one is caught."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest

from comparisons.theory import lower_bounds
from comparisons.theory.densities import Trained, standard, variational_autoencoder
from comparisons.theory.densities.variational_autoencoder import LatentVariable
from comparisons.verdict import Verdict


def outcomes(monkeypatch: pytest.MonkeyPatch, model: LatentVariable) -> list[str]:
    """Of the gap, that it matters, three steps of the ladder, and its end."""
    learnt = lambda train, *rest: (standard(train), Trained(model, np.zeros(100)))  # noqa: E731
    monkeypatch.setattr(lower_bounds, "learn", learnt)
    shown = lower_bounds.show(np.random.default_rng(0), 1)
    return [one.outcome for one in shown if isinstance(one, Verdict)]


def untrained() -> LatentVariable:
    return variational_autoencoder.start(jax.random.key(1))


def test_bounds_hold_for_any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(monkeypatch, untrained()) == ["AGREE"] * 6


def test_a_wrong_gap_and_weights_that_close_none_are_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    divergence, bound = lower_bounds.divergence, lower_bounds._bound
    monkeypatch.setattr(lower_bounds, "divergence", lambda *args: 1.5 * divergence(*args))
    assert outcomes(monkeypatch, untrained())[0] == "DIFFER"
    monkeypatch.setattr(lower_bounds, "divergence", lambda *args: 0 * divergence(*args))
    assert outcomes(monkeypatch, untrained())[1] == "DIFFER"
    monkeypatch.setattr(lower_bounds, "divergence", divergence)
    monkeypatch.setattr(lower_bounds, "_bound", lambda m, x, r, k, n: bound(m, x, r, 1, n))
    assert outcomes(monkeypatch, untrained())[5] == "DIFFER"
    falling = lambda m, x, r, k, n: bound(m, x, r, k, n) - 0.05 * np.log10(k)  # noqa: E731
    monkeypatch.setattr(lower_bounds, "_bound", falling)
    assert outcomes(monkeypatch, untrained())[4] == "DIFFER"


def test_a_wrong_prior_in_the_quadrature_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    marginal = LatentVariable.log_marginal

    def shifted(self: LatentVariable, x: jax.Array) -> jax.Array:
        return marginal(self, x) + 0.1

    monkeypatch.setattr(LatentVariable, "log_marginal", shifted)
    eqx.clear_caches()
    assert outcomes(monkeypatch, untrained())[5] == "DIFFER"


def test_the_quadrature_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((20, 2))
    coarse = untrained().log_marginal(x)
    monkeypatch.setattr(variational_autoencoder, "LATENT", np.linspace(-8.0, 8.0, 4001))
    np.testing.assert_allclose(untrained().log_marginal(x), coarse, rtol=0, atol=1e-9)
