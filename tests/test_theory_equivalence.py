"""The identities of the entry, the errors of its moments, and its planted bugs."""

from __future__ import annotations

from types import SimpleNamespace
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
    from inference.replicates.fits import Replicates
    from models.spec import Model

ALARM = 4.9
"""Two-sided normal quantile at a false-alarm rate of 1e-6."""


def verdicts(shown: Iterator[Shown]) -> list[Verdict]:
    return [one for one in shown if isinstance(one, Verdict)]


@pytest.mark.parametrize("make", [equivalence._gaussian, equivalence._poisson])
def test_three_objectives_have_one_optimum(make) -> None:
    found = verdicts(equivalence._equivalent(make(np.random.default_rng(1))))
    assert len(found) == 9
    assert {verdict.outcome for verdict in found} == {"AGREE"}


@pytest.mark.parametrize("model", [Poisson(), RidgeRegression()])
def test_the_models_of_the_theory_pass_the_gate(model: Model) -> None:
    assert_same_model(model)


def test_the_divergence_of_normals_is_its_integral() -> None:
    p, q = norm(1.0, 0.7), norm(0.2, 1.3)
    integral = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -6, 8, epsabs=1e-13)[0]
    closed = equivalence._normal_divergence(1.0, 0.7, jnp.asarray(0.2), jnp.asarray(1.3))
    assert float(closed) == pytest.approx(integral, abs=1e-12)


def test_continuous_data_have_no_density() -> None:
    found = verdicts(equivalence._divergent(np.random.default_rng(2)))
    assert [verdict.outcome for verdict in found] == ["AGREE"]


def test_the_ridge_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    solved = np.linalg.solve(X.T @ X + 0.4 * np.eye(4), X.T @ y)
    np.testing.assert_allclose(equivalence.ridge(X, y, 0.4), solved, atol=1e-13)
    # the objective's own digits would leave some of these 1e-9 away
    for seed in range(6):
        found = verdicts(equivalence._ridge(np.random.default_rng(seed)))
        assert [verdict.outcome for verdict in found] == ["AGREE"]


@pytest.mark.statistical
def test_moments_stray_by_their_stated_errors() -> None:
    rng = np.random.default_rng(4)
    found = [equivalence._moments(0.1 + 0.9 * rng.standard_normal(2_000)) for _ in range(400)]
    values = np.array([[one.value for one in moments] for moments in found])
    stated = [one.error for one in found[0]]
    np.testing.assert_array_less(np.abs(values.mean(axis=0) - (0.1, 0.9, 0, 0)), stated)
    # a standard deviation of 400 strays by 3.5 %, an error of 2,000 draws' own by 1 to 4 %
    np.testing.assert_allclose(values.std(axis=0), stated, rtol=ALARM * 0.05)


@pytest.mark.statistical
def test_estimates_are_efficient_and_worse_ones_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    replicate, kept = equivalence.replicate, []

    def keeping(model, batch) -> Replicates:
        kept.append(replicate(model, batch))
        return kept[-1]

    monkeypatch.setattr(equivalence, "replicate", keeping)
    found = verdicts(equivalence._repeated(np.random.default_rng(5), 1))
    assert len(found) == 18
    assert [v for v in found if v.outcome not in ("AGREE", "EXPLAINED")] == []
    again = iter(kept)
    # the same data sets once more, of which only the size is looked at
    monkeypatch.setattr(equivalence, "simulated", lambda model, at, n, *_: SimpleNamespace(n=n))

    def inefficient(model, batch) -> Replicates:
        fits = next(again)
        mu, sigma = fits.estimate.T
        bound = 2.0 / np.sqrt(2 * batch.n)
        skewed = 2.0 + bound * np.sinh((sigma - 2.0) / bound) * np.exp((sigma - 2.0) / bound)
        return fits._replace(estimate=np.stack([3.0 + 1.2 * (mu - 3.0), skewed], axis=1))

    monkeypatch.setattr(equivalence, "replicate", inefficient)
    found = verdicts(equivalence._repeated(np.random.default_rng(5), 1))
    wrong = {verdict.about for verdict in found if verdict.outcome == "DIFFER"}
    assert {"sd / bound, mu, N = 50", "sd / bound, mu, N = 400"} <= wrong
    assert "skewness, sigma, N = 50 / exact" in wrong


def test_a_variance_for_a_deviation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = equivalence._normal_divergence
    bug = lambda loc, scale, mu, sigma: right(loc, scale, mu, sigma**2)  # noqa: E731
    monkeypatch.setattr(equivalence, "_normal_divergence", bug)
    found = verdicts(equivalence._equivalent(equivalence._gaussian(np.random.default_rng(6))))
    assert any("divergence" in v.about and v.outcome == "DIFFER" for v in found)


def test_a_penalty_upside_down_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = equivalence.ridge
    monkeypatch.setattr(equivalence, "ridge", lambda X, y, penalty: right(X, y, 1 / penalty))
    assert verdicts(equivalence._ridge(np.random.default_rng(7)))[0].outcome == "DIFFER"
