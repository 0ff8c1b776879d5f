"""The identities of the entry, and its planted bugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from comparisons.testing import assert_same_model
from comparisons.theory import equivalence
from comparisons.verdict import Verdict
from models.catalogue.poisson import Poisson
from models.catalogue.ridge_regression import RidgeRegression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown
    from models.spec import Model


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


@pytest.mark.parametrize("make", [equivalence.gaussian, equivalence.poisson])
def test_three_objectives_have_one_optimum(make) -> None:
    found = verdicts(equivalence.equivalent(make(np.random.default_rng(1))))
    assert len(found) == 9
    assert {verdict.outcome for verdict in found} == {"AGREE"}


@pytest.mark.parametrize("model", [Poisson(), RidgeRegression()])
def test_the_models_of_the_theory_pass_the_gate(model: Model) -> None:
    assert_same_model(model)


def test_the_divergence_of_normals_is_its_integral() -> None:
    p, q = norm(1.0, 0.7), norm(0.2, 1.3)
    integral = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -6, 8, epsabs=1e-13)[0]
    closed = equivalence.normal_divergence(1.0, 0.7, jnp.asarray(0.2), jnp.asarray(1.3))
    assert float(closed) == pytest.approx(integral, abs=1e-12)


def test_the_ridge_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    solved = np.linalg.solve(X.T @ X + 0.4 * np.eye(4), X.T @ y)
    np.testing.assert_allclose(equivalence.ridge(X, y, 0.4), solved, atol=1e-13)
    # the objective's own digits would leave some of these 1e-9 away
    for seed in range(6):
        found = verdicts(equivalence.ridge_identity(np.random.default_rng(seed)))
        assert [verdict.outcome for verdict in found] == ["AGREE"]


def test_a_variance_for_a_deviation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = equivalence.normal_divergence
    bug = lambda loc, scale, mu, sigma: right(loc, scale, mu, sigma**2)  # noqa: E731
    monkeypatch.setattr(equivalence, "normal_divergence", bug)
    found = verdicts(equivalence.equivalent(equivalence.gaussian(np.random.default_rng(6))))
    assert any("divergence" in v.about and v.outcome == "DIFFER" for v in found)


def test_a_penalty_upside_down_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = equivalence.ridge
    monkeypatch.setattr(equivalence, "ridge", lambda X, y, penalty: right(X, y, 1 / penalty))
    assert verdicts(equivalence.ridge_identity(np.random.default_rng(7)))[0].outcome == "DIFFER"
