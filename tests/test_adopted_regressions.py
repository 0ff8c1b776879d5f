"""Regressions that users bring in both languages: one model, whichever way each is written.

Planted bugs are found and named.  What both programs maximise is what statsmodels or a closed form
says: an optimum is flat, so that a log-likelihood known to 1e-13 of its size leaves an estimate
free by √(2·10⁻¹³·|ℓ|) standard errors, a few 1e-6 here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import adopted_counts
import adopted_regressions
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from adopted_counts import COUNTS, EXPOSED, EXPOSURE, ZEROS, negative_binomial_2, zero_inflated
from adopted_pairs import some
from adopted_regressions import INSIDE, POSITIVE, STRINGS, X1, X, Y, truncated
from jax import numpy as jnp

import concord as cc

if TYPE_CHECKING:
    from collections.abc import Callable

    from adopted_regressions import Pair

pytestmark = pytest.mark.usefixtures("unoptimised")

PAIRS: dict[str, Pair] = {
    pair.name: pair for pair in (*adopted_regressions.PAIRS, *adopted_counts.PAIRS)
}
EVERY_TIME = {
    "linear, columns",
    "labels as strings",
    "inverse Gaussian by a factor",
    "logistic",
    "NB probs, n p",
    "ordinal",
}
"""Pairs that together see every branch of adoption; the exhaustive tests see the others."""


each = pytest.mark.parametrize("name", some(PAIRS, EVERY_TIME))


@each
def test_both_programs_are_one_model(name: str) -> None:
    pair = PAIRS[name]
    checked = cc.check(pymc=pair.pymc, numpyro=pair.numpyro, data=pair.data, **pair.options)
    assert checked.passed, checked


@pytest.mark.parametrize("language", ["numpyro", "pymc"])
@pytest.mark.parametrize("name", some(PAIRS, {"labels as strings", "ordinal"}))
def test_each_program_alone_can_be_used(name: str, language: str) -> None:
    pair = PAIRS[name]
    checked = cc.check(data=pair.data, **{language: pair.programs[language]})
    assert checked.passed, checked


def test_over_parametrised_categories_are_no_latent_variables() -> None:
    pair = PAIRS["multinomial"]
    case = cc.check(numpyro=pair.numpyro, data=pair.data)
    assert "2 directions of a and b undetermined" in case.rows[-1][2]


# --- planted bugs --------------------------------------------------------------------------------


def planted(**wrong: Any) -> Callable[..., Any]:
    """A PyMC program of many parts, each of which can be wrong."""

    def build(county: Any, x: Any, exposure: Any, y: Any, count: Any) -> Any:
        import pymc as pm

        with pm.Model() as model:
            a = pm.Normal("a", 0, 5, shape=4)
            b = pm.Normal("b", 0, wrong.get("scale", 2.5))
            shape = pm.Gamma("shape", 2, wrong.get("rate", 4.0))
            sigma = pm.HalfNormal("sigma", 2)
            scale = pm.math.maximum(sigma, wrong["floor"]) if "floor" in wrong else sigma
            mu = a[wrong.get("index", lambda i: i)(county)] + b * x
            rows = wrong.get("rows", lambda array: array)
            pm.Normal("y", rows(mu), scale, observed=rows(y).astype(wrong.get("type", float)))
            mean = wrong.get("rate_of", lambda b, e: e * pm.math.exp(b))(b, exposure)
            first, second = wrong.get("order", lambda pair: pair)((shape, shape / mean))
            pm.Gamma("count", alpha=first, beta=second, observed=count + 1)
        return model

    return build


def right(county: Any, x: Any, exposure: Any, y: Any, count: Any) -> None:
    a = numpyro.sample("a", dist.Normal(0, 5).expand([4]))
    b = numpyro.sample("b", dist.Normal(0, 2.5))
    shape = numpyro.sample("shape", dist.Gamma(2, 4.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    numpyro.sample("y", dist.Normal(a[county] + b * x, sigma), obs=y)
    numpyro.sample("count", dist.Gamma(shape, shape / (exposure * jnp.exp(b))), obs=count + 1)


def shifted_rate(b: Any, exposure: Any) -> Any:
    import pymc as pm

    return pm.math.exp(b + exposure)  # an offset is the logarithm of the exposure


SURVEY = {"county": STRINGS, "x": X1, "exposure": EXPOSURE, "y": Y, "count": EXPOSED}
BUGS = {
    "rate for scale": ({"rate": 0.25}, "log prior shape"),
    "variance for sd": ({"scale": 2.5**2}, "log prior b"),
    "prior scale a millionth off": ({"scale": 2.5 * 1.000001}, "log prior b"),
    "shape and rate swapped": ({"order": lambda pair: pair[::-1]}, "log likelihood count, row"),
    "dropped row": ({"rows": lambda array: array[1:]}, "y is observed with shape"),
    "index one off": ({"index": lambda i: (i + 1) % 4}, "log likelihood y, row"),
    "exposure as its own logarithm": ({"rate_of": shifted_rate}, "log likelihood count, row"),
    "data in float32": ({"type": np.float32}, "y differs in 24 of 24 values"),
    "floor of a scale": ({"floor": 0.01}, "log likelihood y, row"),
}


def failure(pymc: Callable[..., Any], numpyro: Callable[..., Any], data: Any) -> str:
    checked = cc.check(pymc=pymc, numpyro=numpyro, data=data)
    stage, status, found, _ = checked.rows[-1]
    assert (stage, status) == ("same model", "failed")
    return found


def test_without_a_bug_the_survey_is_one_model() -> None:
    checked = cc.check(pymc=planted(), numpyro=right, data=SURVEY)
    assert checked.passed, checked


@pytest.mark.parametrize("bug", some(BUGS, {"prior scale a millionth off", "floor of a scale"}))
def test_a_planted_bug_is_named(bug: str) -> None:
    wrong, named = BUGS[bug]
    assert named in failure(planted(**wrong), right, SURVEY)


def probability_of_zero_pymc(x: Any, y: Any) -> Any:
    import pymc as pm

    with pm.Model() as model:
        gate = pm.Beta("gate", 2, 2)
        b = pm.Normal("b", 0, 1, shape=2)
        pm.ZeroInflatedPoisson("y", psi=gate, mu=pm.math.exp(b[0] + b[1] * x), observed=y)
    return model


def swapped_pymc(x: Any, y: Any) -> Any:
    import pymc as pm

    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        alpha = pm.Exponential("alpha", 0.5)
        pm.NegativeBinomial("y", mu=alpha, alpha=pm.math.exp(b[0] + b[1] * x), observed=y)
    return model


def other_scale_pymc(x: Any, y: Any) -> Any:
    import pymc as pm

    with pm.Model() as model:
        b = pm.Normal("b", 0, 1.000001, shape=2)
        alpha = pm.Exponential("alpha", 0.5)
        pm.NegativeBinomial("y", mu=pm.math.exp(b[0] + b[1] * x), alpha=alpha, observed=y)
    return model


def other_bound_pymc(x: Any, y: Any) -> Any:
    import pymc as pm

    with pm.Model() as model:
        a, b = pm.Normal("a", 0, 1), pm.Normal("b", 0, 1)
        sigma = pm.HalfNormal("sigma", 1)
        pm.TruncatedNormal("y", mu=a + b * x, sigma=sigma, lower=-1.01, upper=3, observed=y)
    return model


@pytest.mark.exhaustive
def test_a_probability_for_its_complement_is_named() -> None:
    found = failure(probability_of_zero_pymc, zero_inflated, {"x": X1, "y": ZEROS})
    assert "log likelihood y, row" in found


@pytest.mark.exhaustive
def test_mean_and_shape_of_counts_swapped_are_named() -> None:
    data = {"x": X1, "y": COUNTS}
    assert "log likelihood y, row" in failure(swapped_pymc, negative_binomial_2, data)


def test_an_inexact_function_hides_no_bug_beside_it() -> None:
    data = {"x": X1, "y": COUNTS}
    found = failure(other_scale_pymc, negative_binomial_2, data)
    assert "log prior b" in found


@pytest.mark.exhaustive
def test_a_bound_of_truncation_is_named() -> None:
    found = failure(other_bound_pymc, truncated, {"x": X1, "y": INSIDE})
    assert "log likelihood y, row" in found


# --- maximum likelihood --------------------------------------------------------------------------


def least_squares() -> dict[str, Any]:
    design = np.column_stack([np.ones(len(X)), X])
    b, *_ = np.linalg.lstsq(design, Y)
    sigma = np.sqrt(np.mean((Y - design @ b) ** 2))
    return {"a": b[0], "b": b[1:], "sigma": sigma}


def by_statsmodels(kind: str) -> dict[str, Any]:
    import statsmodels.api as sm

    design = sm.add_constant(X1)
    if kind == "logistic":
        found = sm.Logit(adopted_counts.BINARY, sm.add_constant(X)).fit(disp=0, tol=1e-12)
        return {"a": found.params[0], "b": found.params[1:]}
    if kind == "Poisson":
        family = sm.families.Poisson()
        model = sm.GLM(EXPOSED, design, family=family, exposure=EXPOSURE)
        return {"b": model.fit(tol=1e-14).params}
    if kind == "gamma by its mean":
        family = sm.families.Gamma(sm.families.links.Log())
        return {"b": sm.GLM(POSITIVE, design, family=family).fit(tol=1e-14).params}
    model = sm.NegativeBinomial(COUNTS, design)
    near = model.fit(start_params=[0.5, 0.3, 0.5], disp=0, method="bfgs").params
    found = model.fit(start_params=near, disp=0, method="newton", tol=1e-14)
    return {"b": found.params[:2], "alpha": 1 / found.params[2]}


def log_least_squares() -> dict[str, Any]:
    design = np.column_stack([np.ones(len(X)), X1])
    b, *_ = np.linalg.lstsq(design, np.log(POSITIVE))
    return {"b": b, "s": np.sqrt(np.mean((np.log(POSITIVE) - design @ b) ** 2))}


MAXIMA = {
    "linear, matrix": least_squares,
    "log-normal": log_least_squares,
    "logistic": partial(by_statsmodels, "logistic"),
    "Poisson": partial(by_statsmodels, "Poisson"),
    "gamma by its mean": partial(by_statsmodels, "gamma by its mean"),
    "NB logits, mu": partial(by_statsmodels, "negative binomial"),
}


@pytest.mark.parametrize("name", some(MAXIMA, {"linear, matrix", "Poisson"}))
def test_both_programs_have_the_maximum_of_the_reference(name: str) -> None:
    pair, expected = PAIRS[name], MAXIMA[name]()
    languages = ("numpyro", "pymc")
    methods = tuple(cc.MaximumLikelihood(language, restarts=5) for language in languages)
    both = {"pymc": pair.pymc, "numpyro": pair.numpyro, "data": pair.data}
    found = cc.compare(**both, methods=methods, claims=("same_maximum",))
    assert set(found.verdicts()["verdict"]) <= {"AGREE"}
    for method in methods:
        location = found[method].location.value
        for parameter, value in expected.items():
            np.testing.assert_allclose(location[parameter], value, rtol=1e-6, atol=1e-6)
