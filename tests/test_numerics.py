"""Edges of parameter space, and data that leave nothing to estimate: words, never a number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import concord as cc
from comparisons.case import Case
from comparisons.claims.fisher_standard_errors import standard_errors
from comparisons.verdict import Verdict
from inference.methods.expectation_maximisation import ExpectationMaximisation
from inference.methods.maximum_a_posteriori import MaximumAPosteriori
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.capabilities import HasCautions
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.errors import DataError, FitError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("unoptimised")
rng = np.random.default_rng(0)
N = 40
x = rng.normal(size=N)
half = np.arange(N) % 2

SEARCH = MaximumLikelihood(restarts=3)


def probability(y):
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    numpyro.sample("y", dist.Bernoulli(p), obs=y)


def logistic(x, y):
    a = numpyro.sample("a", dist.Normal(0, 5))
    b = numpyro.sample("b", dist.Normal(0, 5))
    numpyro.sample("y", dist.Bernoulli(logits=a + b * x), obs=y)


def bounded(y):
    mu = numpyro.sample("mu", dist.Uniform(-10, 10))
    sigma = numpyro.sample("sigma", dist.HalfNormal(5))
    numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def shares(y):
    p = numpyro.sample("p", dist.Dirichlet(jnp.ones(4)))
    numpyro.sample("y", dist.Categorical(p), obs=y)


def ordered(y):
    base = dist.Normal(0, 5).expand([2]).to_event(1)
    law = dist.TransformedDistribution(base, dist.transforms.OrderedTransform())
    mu = numpyro.sample("mu", law)
    numpyro.sample("y", dist.Normal(mu, 1.0).to_event(1), obs=y)


def inflated(y):
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    rate = numpyro.sample("rate", dist.Gamma(2.0, 0.5))
    numpyro.sample("y", dist.ZeroInflatedPoisson(p, rate), obs=y)


def dispersed(y):
    mu = numpyro.sample("mu", dist.Gamma(2.0, 0.5))
    alpha = numpyro.sample("alpha", dist.HalfNormal(50))
    numpyro.sample("y", dist.NegativeBinomial2(mu, alpha), obs=y)


def between(y):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    tau = numpyro.sample("tau", dist.HalfNormal(5))
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(tau**2 + 1.0)), obs=y)


def line(x, y):
    a = numpyro.sample("a", dist.Normal(0, 10))
    b = numpyro.sample("b", dist.Normal(0, 10))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(a + b * x, sigma), obs=y)


def fit(program: Callable[..., Any], **data: np.ndarray) -> Any:
    model = cc.adopt(numpyro=program, data=data)
    return SEARCH.fit(model, model.data, np.random.default_rng(1))


def undefined(estimate: Any) -> set[str]:
    """The scalars without a standard error."""
    sds = estimate.sd.value
    return {
        name
        for variable in sds
        for name, sd in zip(estimate.scalars(variable), np.ravel(sds[variable]), strict=True)
        if np.isnan(sd)
    }


@pytest.mark.parametrize(
    ("program", "data", "where"),
    [
        (probability, {"y": np.ones(N, int)}, {"p": "at 1"}),
        (logistic, {"x": x, "y": np.int64(x > 0.3)}, {"a": "→ −∞", "b": "→ ∞"}),
        (logistic, {"x": x, "y": np.ones(N, int)}, {"a": "→ ∞", "b": "undetermined there"}),
        (logistic, {"x": 1.0 * (x > 0.5), "y": np.where(x > 0.5, 1, half)}, {"b": "→ ∞"}),
        (bounded, {"y": 14 + 2 * x}, {"mu": "at 10"}),
        (shares, {"y": np.arange(N) % 3}, {"p[3]": "at 0"}),
        (ordered, {"y": np.c_[1 + x, x]}, {"mu[1]": "equal to the one before it"}),
        (inflated, {"y": 1 + np.arange(N) % 5}, {"p": "at 0"}),
        (dispersed, {"y": 4 + half}, {"alpha": "→ ∞"}),
        (between, {"y": 0.5 * x}, {"tau": "at 0"}),
    ],
    ids=[
        "probability",
        "separated",
        "ones",
        "quasi",
        "bounded",
        "unseen",
        "gap",
        "inflated",
        "poisson",
        "variance",
    ],
)
def test_an_edge_is_named_and_has_no_standard_error(
    program: Callable[..., Any], data: dict[str, np.ndarray], where: dict[str, str]
) -> None:
    estimate = fit(program, **data)
    told = " ".join(estimate.problems)
    assert "on an edge of parameter space" in told
    assert all(f"{name} {place}" in told for name, place in where.items())
    assert undefined(estimate) == set(where)


def test_what_is_inside_is_not_on_an_edge() -> None:
    weak = np.int64(rng.uniform(size=N) < 1 / (1 + np.exp(-3 * x)))
    for program, data in ((logistic, {"x": x, "y": weak}), (between, {"y": 3 * x})):
        estimate = fit(program, **data)
        assert estimate.problems == ()
        assert not undefined(estimate)


def test_units_of_a_covariate_change_no_maximum() -> None:
    y = 1 + x + 0.5 * rng.normal(size=N)
    here, there = fit(line, x=x, y=y), fit(line, x=1e-8 * x, y=y)
    assert here.problems == there.problems == ()
    assert there.log_likelihood == pytest.approx(here.log_likelihood, abs=1e-8)
    slopes = [float(one.location.value["b"]) for one in (here, there)]
    assert slopes[1] * 1e-8 == pytest.approx(slopes[0], rel=1e-6)


def test_an_exact_regression_has_no_maximum() -> None:
    with pytest.raises(FitError, match="undefined"):
        fit(line, x=x, y=1 + 2 * x)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"x": 1e9 + x, "y": x}, "the values of x differ too little for their size.*subtract"),
        ({"x": x, "y": 1e9 + x}, "the values of y differ too little for their size.*subtract"),
        ({"x": np.full(N, 3.0), "y": x}, "leave out what is redundant"),
    ],
    ids=["far covariate", "far outcome", "constant"],
)
def test_a_likelihood_without_digits_is_refused_for_what_it_is(
    data: dict[str, np.ndarray], told: str
) -> None:
    model = cc.adopt(numpyro=line, data=data)
    assert re.search(told, model.likelihood_problem)


def test_columns_of_all_sizes_determine_their_slopes() -> None:
    columns = rng.normal(size=(N, 3)) * [1e-8, 1.0, 1e8]

    def several(X, y):
        b = numpyro.sample("b", dist.Normal(0, 10).expand([3]).to_event(1))
        sigma = numpyro.sample("sigma", dist.HalfNormal(10))
        numpyro.sample("y", dist.Normal(X @ b, sigma), obs=y)

    assert cc.adopt(numpyro=several, data={"X": columns, "y": x}).likelihood_problem == ""


@pytest.mark.parametrize("size", [1e150, 1e-150])
def test_sizes_without_powers_are_refused_of_programs_too(size: float) -> None:
    with pytest.raises(DataError, match=r"y has values of size .*: rescale"):
        cc.adopt(numpyro=line, data={"x": x, "y": size * x})


@pytest.mark.parametrize(
    ("model", "rows"),
    [(cc.ConjugateGaussian(), [2.5] * 20), (cc.GaussianMixture(2), [2.5])],
    ids=["constant", "one"],
)
def test_data_without_variation_are_told_in_words(  # a warning is an error of every test
    model: Any, rows: list[float]
) -> None:
    methods = (cc.MaximumLikelihood(restarts=2), cc.MaximumAPosteriori(restarts=2))
    found = cc.compare(model, rows, methods=methods, claims=("same_maximum",))
    assert found.case.failures[methods[0]].startswith("undefined: ")
    assert "UNKNOWN" in repr(found)
    assert not (found.verdicts()["verdict"] == "DIFFER").any()


def test_two_rows_have_no_robust_standard_error() -> None:
    case = Case(cc.ConjugateGaussian(), [1.0, 2.0], methods=(SEARCH,))
    found, problem = standard_errors(case, case.fit(SEARCH))
    assert set(found) == {"observed", "expected"}
    few = "2 units cannot tell how the scores of 2 parameters vary"
    assert problem == f"opg, sandwich: {few}"


def test_a_number_that_is_not_there_is_a_reason() -> None:
    verdict = Verdict("claim", 1.0, float("nan"), error=0.0, bound=1.0)
    assert verdict.outcome == "NOT COMPARABLE"
    assert verdict.cause == "no finite number: expected"


def test_em_that_creeps_to_an_edge_ends_there() -> None:
    model = cc.RandomEffects()
    data = as_dataset(bundled("eight_schools"), model, ("y", "sigma"))
    estimate = ExpectationMaximisation(restarts=1).fit(model, data, np.random.default_rng(0))
    assert estimate.record.attrs["iterations"] < 2_000
    assert float(estimate.location.value["tau"]) < 1e-3
    assert undefined(estimate) == {"tau"}


def test_maxima_of_a_mixture_are_those_of_many_starts_and_spikes_are_shown() -> None:
    model = cc.GaussianMixture(k=6)
    data = as_dataset(bundled("galaxies"), model, ("y",))
    estimate = SEARCH.fit(model, data, np.random.default_rng(0))
    # the best of 200 starts that is not degenerate; it has a narrow component
    assert estimate.log_likelihood >= -193.3543 - 1e-3
    assert estimate.record.attrs["reached"] >= 2
    assert isinstance(model, HasCautions)
    assert "near a spike" in estimate.record.attrs["note"]


def test_the_best_of_many_starts_may_begin_at_narrow_components() -> None:
    import statsmodels.api as sm

    volume = sm.datasets.nile.load_pandas().data["volume"].to_numpy(float)
    model = cc.GaussianMixture(k=4, mean_loc=900.0, mean_scale=800.0, scale_scale=500.0)
    data = as_dataset(volume, model)
    estimate = SEARCH.fit(model, data, np.random.default_rng(0))
    # EM in plain NumPy from 600 starts, a quarter of them rows with scales of 0.02 … 1 pooled sd
    assert estimate.log_likelihood >= -642.730737184126 - 1e-6
    assert not model.degeneracy(
        {str(name): jnp.asarray(value.data) for name, value in estimate.point.items()}, data
    )


def test_means_in_the_hundreds_are_on_no_edge() -> None:
    r = np.random.default_rng(3)
    first = r.uniform(size=178) < 0.6
    y = np.where(first, r.normal(544.0, 135.0, 178), r.normal(1054.0, 253.0, 178)).round(1)
    model = cc.GaussianMixture(mean_loc=800.0, mean_scale=2000.0, scale_scale=1000.0)
    estimate = SEARCH.fit(model, as_dataset(y, model), np.random.default_rng(0))
    assert estimate.problems == ()
    # EM in plain NumPy from 400 starts; Hessian by Richardson differences
    assert estimate.log_likelihood == pytest.approx(-1236.1215780004675, rel=1e-12)
    sd = estimate.sd.value
    ours = [float(sd["weights"][0]), *sd["mu"].data, *sd["sigma"].data]
    theirs = [0.05236109694823816, 15.21368897295377, 46.72329270957547]
    theirs += [11.126078833625279, 33.01664365129762]
    np.testing.assert_allclose(ours, theirs, rtol=1e-7)


def narrowed(y):
    a = numpyro.sample("a", dist.Uniform(0.0, 1.0))
    b = numpyro.sample("b", dist.Uniform(0.0, 1.0 - a))
    numpyro.sample("y", dist.Normal(2 * a + b, 1.0), obs=y)


def ends_in_pymc(y):
    import pymc as pm

    with pm.Model() as model:
        p = pm.Beta("p", 0.5, 0.5)  # whose density has no bound at 1
        q = pm.Uniform("q", -3, 3)
        pm.Binomial("k", 10, p, observed=np.array([10, 10]))
        pm.Normal("y", q, 0.5, observed=y)
    return model


@pytest.mark.parametrize(
    ("programs", "where"),
    [
        ({"numpyro": narrowed}, {"a": "at 1", "b": "undetermined there"}),
        ({"pymc": ends_in_pymc}, {"p": "at 1", "q": "at 3"}),
    ],
    ids=["numpyro", "pymc"],
)
def test_a_mode_that_rounding_ends_is_on_the_edge(
    programs: dict[str, Any], where: dict[str, str]
) -> None:
    model = cc.adopt(**programs, data={"y": np.array([4.0, 5.0])})
    search = MaximumAPosteriori(engine=next(iter(programs)), restarts=3)
    estimate = search.fit(model, model.data, np.random.default_rng(0))
    told = " ".join(estimate.problems)
    assert all(f"{name} {place}" in told for name, place in where.items())
    assert undefined(estimate) == set(where)


def absolute(x, y):
    a = numpyro.sample("a", dist.Normal(0, 10))
    b = numpyro.sample("b", dist.Normal(0, 10))
    s = numpyro.sample("s", dist.HalfNormal(5))
    numpyro.sample("y", dist.Laplace(a + b * x, s), obs=y)


def test_a_maximum_at_a_kink_is_a_maximum_without_standard_error() -> None:
    r = np.random.default_rng(4)
    z = r.normal(size=41)
    y = 1 + 2 * z + r.laplace(size=41)
    # least absolute deviations pass through two points: the best of all lines that do
    i, j = np.triu_indices(41, 1)
    slope = (y[i] - y[j]) / (z[i] - z[j])
    first = y[i] - slope * z[i]
    loss = np.abs(y - first[:, None] - slope[:, None] * z).sum(axis=1)
    best = int(loss.argmin())
    scale = loss[best] / 41
    estimate = fit(absolute, x=z, y=y)
    found = {name: float(value) for name, value in estimate.location.value.items()}
    wanted = {"a": first[best], "b": slope[best], "s": scale}
    assert found == pytest.approx(wanted, rel=1e-6)
    assert estimate.log_likelihood == pytest.approx(-41 * np.log(2 * scale) - 41, abs=1e-10)
    assert undefined(estimate) == {"a", "b"}
    assert float(estimate.sd.value["s"]) == pytest.approx(scale / np.sqrt(41), rel=1e-5)
    assert "at a kink" in estimate.problems[0]
    assert len(estimate.problems) == 1
