"""Three ways to a maximum: their rates, and planted bugs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from comparisons.theory import natural_gradient as entry
from comparisons.verdict import Verdict


def differ() -> list[str]:
    shown = entry.show(np.random.default_rng(4), 1)
    claims = [one for one in shown if isinstance(one, Verdict)]
    assert len(claims) == 5
    return [claim.about for claim in claims if claim.outcome != "AGREE"]


def test_every_claim_holds() -> None:
    assert differ() == []


def test_a_hessian_that_is_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = entry.jax.hessian
    monkeypatch.setattr(entry.jax, "hessian", lambda f: lambda v: 1.01 * hessian(f)(v))
    assert "slope of log distance after a step against log distance before it" in differ()


def test_half_a_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = entry.jax.grad
    monkeypatch.setattr(entry.jax, "grad", lambda f: lambda v: 0.5 * gradient(f)(v))
    assert "steps to a digit by plain gradient, best step" in differ()


def test_a_metric_of_another_scale_is_no_natural_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "fisher", lambda v: np.eye(2))
    assert any("Fisher scoring" in about for about in differ())


def test_the_information_is_that_of_the_cauchy_law() -> None:
    location, log_scale = 0.3, 0.7
    u = (np.arange(200_000) + 0.5) / 200_000
    z = np.tan(np.pi * (u - 0.5))  # quantiles: a mean over them is an expectation
    scale = np.exp(log_scale)
    score = np.stack([2 * z / (1 + z**2) / scale, 2 * z**2 / (1 + z**2) - 1])
    found = score @ score.T / u.size
    np.testing.assert_allclose(found, entry.fisher(jnp.array([location, log_scale])), atol=1e-8)
