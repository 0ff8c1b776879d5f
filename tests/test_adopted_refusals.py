"""Programs that cannot be adopted are refused by a sentence that says what to change."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
from numpyro.contrib.control_flow import scan
from scipy.stats import norm

import concord as cc
from inference.optimisation.gaussians import laplace
from inference.optimisation.newton import polish
from models.errors import ConcordError, ConfigError, ModelError
from models.programs.adopt import adopt
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

x = np.linspace(-1, 1, 6)
line = {"x": x, "y": 2 * x}
calls: list[int] = []


def normal(name: str, mean: Any, y: Any) -> None:
    numpyro.sample(name, dist.Normal(mean, 1), obs=y)


def subsampled(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("rows", len(x), subsample_size=2) as chosen:
        normal("y", b * x[chosen], y[chosen])


def branching(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    normal("y", b * x if b > 0 else x, y)


def endless(x, y=None):
    z = numpyro.sample("z", dist.Poisson(3.0))
    normal("y", z * x, y)


def unobserved(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    normal("y", b * x, None)


def forgotten(x, y, w=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    normal("y", b * x, y)
    normal("w", b, w)


def overlooked(x, y, w):
    b = numpyro.sample("b", dist.Normal(0, 1))
    normal("y", b * x, y)
    numpyro.sample("w", dist.Normal(b, 1).expand([len(w)]))


def counted_from(first):
    def switched(x, y=None):
        z = numpyro.sample("z", dist.DiscreteUniform(first, first + 1))
        with numpyro.plate("rows", len(x)):
            normal("y", z * x, y)

    return switched


def without_plate(x, y=None):
    normal("y", numpyro.sample("z", dist.Bernoulli(0.5)) * x, y)


def unplated(x, y=None):
    means = numpyro.sample("means", dist.Normal(0, 1).expand([2]))
    with numpyro.plate("rows", len(x)):
        normal("y", means[numpyro.sample("z", dist.Bernoulli(0.5))] * x, y)


def regression(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    normal("y", b * x, y)


def counting(x, y=None):
    calls.append(1)
    regression(x + len(calls), y)


def sampling(x, y=None):
    regression(x + np.random.default_rng().normal(), y)


def constant(x, y=None):
    normal("y", x, y)


def generating(x, y=None):
    yield regression(x, y)


def outside(y):
    rate = numpyro.sample("rate", dist.Exponential(1.0))
    numpyro.sample("y", dist.Exponential(rate, validate_args=False), obs=jnp.log(y))


@pytest.mark.parametrize(
    ("program", "data", "words"),
    [
        (subsampled, line, ("the plate rows is subsampled", "fit all data")),
        (endless, line, ("z is discrete without finite support", "sum it out yourself")),
        (counted_from(1), line, ("sums z out over 0, 1, …", "begins with 1", "from 0 on")),
        (without_plate, line, ("to sum z out", "with numpyro.plate(…)")),
        (unplated, line, ("to sum z out, each axis of means (shape (2,))", ".to_event(1)")),
        (unobserved, line, ("observes nothing", "y is latent", "`obs=`")),
        (unobserved, {"x": x}, ("observes nothing", "name the argument in data=")),
        (forgotten, line, ("w is not in data=", "latent variable: add it to the data")),
        (overlooked, {**line, "w": x}, ("w is data, but", "pass it to `obs=`")),
        (outside, {"y": x}, ("no finite density", "y is nan in 3 of 6 terms")),
        (regression, {"x": x, "y": x[:, None]}, ("y is observed with shape (6, 1)", "shape (6,)")),
        (regression, {"x": x[:5], "y": x}, ("y is observed with shape (6,)", "shape (5,)")),
        (regression, {"x": x[:0], "y": x[:0]}, ("x has no rows",)),
        (regression, {"x": [[1.0], [1.0, 2.0]], "y": x[:2]}, ("x: ", "inhomogeneous")),
        (regression, {"x": None, "y": x}, ("asks for x, which the data do not have",)),
        (regression, {"x": np.where(x > 0, np.inf, x), "y": x}, ("x has 3 infinite of 6",)),
        (regression, {"x": np.ma.masked_less(x, 0), "y": x}, ("x has 3 missing of 6",)),
        (regression, {"x": x, "y": np.ma.masked_less(x, 0)}, ("y is -inf in 3 of 6 terms",)),
        (regression, {"x": ["<0.5", "1.5", *"abcd"], "y": x}, ("'1.5' are text among 6 labels",)),
        (regression, pd.DataFrame(np.c_[x, x, x], columns=["x", "x", "y"]), ("one name",)),
        (regression, pl.DataFrame(line).lazy(), ("as data.collect()",)),
        (counting, line, ("changes from call to call", "leave out counters")),
        (sampling, line, ("changes from call to call", "random numbers")),
        (constant, line, ("has no parameter",)),
        (generating, line, ("samples nothing when it is called: use no generator",)),
    ],
)
def test_numpyro(program: Callable[..., Any], data: Any, words: tuple[str, ...]) -> None:
    checked = cc.check(numpyro=program, data=data)
    assert not checked.passed
    assert all(word in repr(checked) for word in words), checked


def test_labels_that_become_numbers_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("x,y\n1-Jan-24,1\n1-Feb-24,2\n1-Jan-24,4\n")
    told = "x is 0, 1, … for '1-Feb-24', '1-Jan-24'"
    assert told in repr(cc.check(numpyro=regression, data=tmp_path / "mine.csv"))
    model = adopt(numpyro=regression, data=tmp_path / "mine.csv")
    assert model.data["x"].values.tolist() == [1, 0, 1]
    method = cc.MaximumLikelihood(restarts=2)
    cc.compare(model, methods=(method,), claims=("same_maximum",), progress=False)
    assert capsys.readouterr().err.splitlines() == [told]


def test_what_a_program_writes_into_its_data_stays_with_it() -> None:
    def emptying(x, y):
        y[:] = 0.0
        regression(x, y)

    def replacing(data):
        data["y"] = data["y"] * 0
        data["x"][0] = 5.0
        regression(data["x"], data["y"])

    for program in (emptying, replacing):
        given = {name: array.copy() for name, array in line.items()}
        model = adopt(numpyro=program, data=given)
        for _ in range(2):
            density(model, model.data).log_likelihood(jnp.zeros(1))
        assert all(np.array_equal(given[name], line[name]) for name in line)


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_a_truth_that_no_prior_draws_is_refused(value: float) -> None:
    def spread(x, y=None):
        s = numpyro.sample("s", dist.HalfNormal(1))
        numpyro.sample("y", dist.Normal(x, s), obs=y)

    with pytest.raises(ConfigError, match=r"truth: .* holds what no prior can draw"):
        cc.study("coverage", numpyro=spread, data=line, truth={"s": value})


def test_what_a_program_raises_is_told_with_its_line() -> None:
    def broken(x):
        raise KeyError(x[0])

    for call in (cc.compare, partial(cc.study, "coverage")):
        with pytest.raises(ModelError, match=rf"KeyError.*\(at {__file__}:\d+\)"):
            call(numpyro=broken, data=line)


def test_a_branch_on_a_value_is_located() -> None:
    lines, first = inspect.getsourcelines(branching)
    at = first + next(i for i, line in enumerate(lines) if "if b > 0" in line)
    checked = cc.check(numpyro=branching, data=line)
    assert f"{__file__}:{at}: use jnp.where" in repr(checked)


def minibatch(pm: Any) -> None:
    b = pm.Normal("b")
    part = pm.Minibatch(line["y"], batch_size=2)
    pm.Normal("y", b, 1, observed=part, total_size=6)


def simulator(pm: Any) -> None:
    b = pm.Normal("b")
    pm.Simulator("y", lambda rng, b, size: rng.normal(b, 1, 6), b, observed=line["y"])


def labels(pm: Any) -> None:
    z = pm.Poisson("z", 0.5, shape=6)
    pm.Normal("y", z, 1, observed=line["y"])


def grouped(pm: Any) -> None:
    z = pm.Categorical("z", [0.4, 0.6], shape=2)
    pm.Normal("y", pm.Normal("b", shape=2)[z[np.array([0, 0, 0, 1, 1, 1])]], observed=line["y"])


def nothing(pm: Any) -> None:
    pm.Normal("b")


def opaque(pm: Any) -> None:
    import pytensor.tensor as pt
    from pytensor.compile.ops import as_op

    @as_op(itypes=[pt.dscalar], otypes=[pt.dscalar])
    def twice(value):
        return np.asarray(2 * value)

    pm.Normal("y", twice(pm.Normal("b")), 1, observed=line["y"])


@pytest.mark.filterwarnings("ignore:RandomVariable Ops will stop:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Calling a RandomVariable without:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:pytensor.as_op is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (minibatch, ("y observes a pm.Minibatch", "pass all data")),
        (simulator, ("y is a pm.Simulator: its density is random",)),
        (labels, ("z: discrete and latent", "is beyond pymc-extras here")),
        (grouped, ("z: discrete and latent", "z[i] and not z[group[i]]")),
        (nothing, ("observes nothing", "`observed=`")),
        (opaque, ("twice", "JAX", "only PyMC's own engines")),
    ],
)
def test_pymc(write: Callable[[Any], None], words: tuple[str, ...]) -> None:
    import pymc as pm

    with pm.Model() as model:
        write(pm)
    with pytest.raises(ConcordError) as caught:
        adopt(pymc=model)
    assert all(word in str(caught.value) for word in words), caught.value


def test_names_without_a_counterpart_are_listed_with_the_candidates() -> None:
    import pymc as pm

    def one(x, y):
        a = numpyro.sample("a", dist.Normal(0, 1).expand([2]))
        normal("y", a[0] + a[1] * x, y)

    with pm.Model() as other:
        b, c = pm.Normal("b"), pm.Normal("c")
        pm.Normal("y", b + c * x, 1, observed=line["y"])
    with pytest.raises(ConcordError, match=r"has no counterpart.*numpyro has a.*names=.*determin"):
        adopt(numpyro=one, pymc=other, data=line)


def test_numbers_of_32_bits_among_64_are_located() -> None:
    def counting(y):
        p = numpyro.sample("p", dist.Uniform(0, 1))

        def step(count, seen):
            numpyro.sample("y", dist.Bernoulli(p), obs=seen)
            return count + jnp.int64(1) * seen.astype(int), None

        scan(step, jnp.zeros((), dtype=jnp.int32), y)

    with pytest.raises(ConcordError, match=r"mixes 32-bit .*test_adopted_refusals.py:\d+; .*int32"):
        adopt(numpyro=counting, data={"y": np.array([0, 1, 1])})


def test_data_that_are_indexed_by_what_is_traced_are_given_as_jax_arrays() -> None:
    def walk(y):
        drift = numpyro.sample("drift", dist.Normal(0, 1))

        def step(_, t):
            numpyro.sample("y", dist.Normal(y[t - 1] + drift, 1), obs=y[t])
            return None, None

        scan(step, None, jnp.arange(1, len(y)))

    y = np.array([0.0, 1.0, 1.5, 3.5])
    model = adopt(numpyro=walk, data={"y": y})
    with jax.enable_x64():
        target = density(model, model.data)
        found = float(jnp.sum(target.log_likelihood(jnp.array([0.5]))))
    assert found == pytest.approx(norm.logpdf(np.diff(y), 0.5, 1).sum(), rel=1e-12)


def problem(program: Callable[..., Any], data: Any) -> str:
    with jax.enable_x64():
        return adopt(numpyro=program, data=data).likelihood_problem


def test_a_change_point_that_is_not_discrete_is_told() -> None:
    def changing(y):
        t = numpyro.sample("t", dist.Uniform(0, 6))
        rates = numpyro.sample("rates", dist.Exponential(1).expand([2]))
        numpyro.sample("y", dist.Poisson(jnp.where(jnp.arange(6) < t, rates[0], rates[1])), obs=y)

    told = problem(changing, {"y": np.array([4, 3, 5, 1, 0, 1])})
    assert told.startswith("the likelihood changes with t in steps, without a derivative")


@pytest.mark.parametrize(
    ("kind", "told"), [("censored", "without the censoring"), ("weighted", "no law of its own")]
)
def test_what_is_no_law_of_the_data_is_not_drawn_from(kind: str, told: str) -> None:
    def survival(time, gone):
        law = dist.Exponential(numpyro.sample("rate", dist.Gamma(2.0, 1.0)))
        with numpyro.handlers.scale(scale=1.0 if kind == "censored" else 2.0):
            if kind == "censored":
                law = dist.RightCensoredDistribution(law, gone).mask(gone < 2)
            numpyro.sample("time", law, obs=time)

    model = cc.adopt(numpyro=survival, data={"time": np.arange(1.0, 7), "gone": np.arange(6) % 2})
    with pytest.raises(cc.FitError, match=f"needs simulated data: .*{told}"):
        cc.fisher_information(model, model.data, {"rate": 0.3}, estimator="expected")
    with pytest.raises(cc.ModelError, match=told):
        model.simulate(np.random.default_rng(0), {"rate": 0.3}, 6)


def test_a_redundant_intercept_is_no_latent_variable() -> None:
    def levels(g, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        b = numpyro.sample("b", dist.Normal(0, 1).expand([2]))
        numpyro.sample("y", dist.Normal(a + b[g], 1), obs=y)

    data = {"g": np.array([0, 1, 0, 1, 1]), "y": np.arange(5.0)}
    told = problem(levels, data)
    assert told.startswith("the likelihood leaves a direction of a and b undetermined")
    assert told.endswith("integrate it out with latent=('b',)")


def test_values_that_one_row_alone_depends_on_are_latent() -> None:
    def imputed(x, z, y=None):
        m = numpyro.sample("m", dist.Normal(0, 1))
        absent = np.isnan(x)
        guess = numpyro.sample("guess", dist.Normal(m, 1).expand([2]).mask(False))
        whole = jnp.asarray(x).at[np.nonzero(absent)[0]].set(guess)
        numpyro.sample("x", dist.Normal(m, 1), obs=whole)
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(b * whole + z, 1), obs=y)

    data = {"x": np.array([1.0, np.nan, 0.5, np.nan, 2.0]), "z": np.ones(5), "y": np.arange(5.0)}
    assert "guess is a latent variable: 2 values for 5 rows" in problem(imputed, data)


def test_second_derivatives_that_are_nan_are_no_flat_direction() -> None:
    def scanned(y):
        b = numpyro.sample("b", dist.Normal(0, 1))
        # its second derivative is 0 · ∞
        numpyro.factor("likelihood", -jnp.sum((y - b) ** 2) + jnp.power(0.0 * b, 1.5))

    told = problem(scanned, {"y": np.arange(3.0)})
    assert told.startswith("derivatives of its likelihood are NaN wherever it was looked at")


def test_of_equal_modes_that_of_the_first_start_is_taken() -> None:
    def square(y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a**2, 1), obs=y)

    model = adopt(numpyro=square, data={"y": np.full(20, 2.0)})
    with jax.enable_x64():
        target = density(model, model.data)
        for sign in (-1.0, 1.0):
            found = laplace(target, [np.array([sign * 1.3]), np.array([-sign * 1.4])])
            assert found is not None
            assert np.sign(found.mean) == sign


def test_a_search_whose_curvature_is_not_finite_ends_where_it_was() -> None:
    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        return float(u @ u), 2 * u

    start = np.array([0.5])
    assert polish(objective, lambda _: np.full((1, 1), np.nan), start) == start


def total(y):
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.factor("seen", -jnp.sum((y - b) ** 2))


def test_a_factor_that_no_order_of_the_data_changes_is_likelihood() -> None:
    assert problem(total, {"y": np.arange(3.0)}) == ""
    assert problem(total, {"y": np.array([0, 1, 1, 2])}) == ""
    # of whole numbers that are all different nothing is known: they may be indices
    asked = problem(total, {"y": np.arange(3)})
    assert asked.startswith(
        "which part of seen is likelihood? name what is with likelihood=('seen'"
    )
    with jax.enable_x64():
        told = adopt(numpyro=total, data={"y": np.arange(3)}, likelihood=("seen",))
    assert told.likelihood_problem == ""


@pytest.mark.parametrize("kind", ["float32", ">f8", "longdouble"])
def test_arrays_of_another_precision_or_order_of_bytes_give_the_same_answer(kind: str) -> None:
    y = np.array([0.5, 1.25, -3.0])
    found = [adopt(numpyro=total, data={"y": z}).data["y"] for z in (y, y.astype(kind))]
    assert found[1].dtype == np.float64
    assert found[0].equals(found[1])


def test_a_redundant_sum_of_two_scalars_has_nothing_to_integrate_out() -> None:
    def both(y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a + b, 1), obs=y)

    assert problem(both, {"y": np.arange(50_000.0)}).endswith("leave out what is redundant")


def test_a_parameter_for_every_row_and_nothing_else_is_regular() -> None:
    def shares(n, y=None):
        p = numpyro.sample("p", dist.Beta(1, 1).expand([2]))
        numpyro.sample("y", dist.Binomial(n, p), obs=y)

    assert problem(shares, {"n": np.array([100, 100]), "y": np.array([12, 20])}) == ""


@pytest.mark.parametrize("seen", [[3, 7, 12, 5], [0, 1, 1, 1], [0, 1, 2, 3, 3]])
def test_whole_numbers_in_a_symmetric_factor_are_likelihood(seen: list[int]) -> None:
    def beside(y, z):
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("z", dist.Normal(b, 1), obs=z)
        numpyro.factor("seen", -jnp.sum((y - b) ** 2))

    model = adopt(numpyro=beside, data={"y": np.array(seen), "z": np.arange(4.0)})
    assert model.adopted.likelihood["numpyro"] == ("seen",)


def test_a_factor_of_data_that_are_given_whole_is_likelihood() -> None:
    def whole(data):
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("z", dist.Normal(b, 1), obs=data["z"])
        numpyro.factor("seen", -jnp.sum((data["y"] - b) ** 2))

    model = adopt(numpyro=whole, data={"y": np.arange(3.0), "z": np.arange(3.0)})
    assert model.adopted.likelihood["numpyro"] == ("seen",)


def built(x, y):
    import pymc as pm

    with pm.Model() as model:
        pm.Normal("y", pm.Normal("b") * x, 1, observed=y)
    return model


def test_programs_in_each_others_place_are_told() -> None:
    assert "pass a PyMC model as pymc=" in repr(cc.check(numpyro=built, data=line))
    assert "pass it as numpyro=" in repr(cc.check(pymc=unobserved, data=line))


def test_a_comparison_without_a_method_that_fits_is_refused() -> None:
    with pytest.raises(cc.ConfigError, match="there is no numpyro program"):
        cc.compare(pymc=built, data=line, methods=(cc.MaximumLikelihood(),))
