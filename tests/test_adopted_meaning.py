"""What is meant by a user's programs: which factors are likelihood, whose constants may differ,
how their data are drawn, and in which direction they can be differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
from jax.experimental.ode import odeint
from jax.scipy import stats

import concord as cc
from inference.information.derivatives import derivatives, scores
from models.programs.density import density
from tests.adopted_series import SERIES
from tests.adopted_structures import HIERARCHIES

if TYPE_CHECKING:
    from pathlib import Path

    import pymc as pm

pytestmark = pytest.mark.usefixtures("unoptimised")
RNG = np.random.default_rng(3)
Y = RNG.normal(9, 2, 30)


def censored(limits, y) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    numpyro.sample("y", dist.Normal(mu, 2), obs=y)
    numpyro.factor("censored", stats.norm.logsf(limits, mu, 2).sum())


@pytest.mark.parametrize("limits", [np.full(20, 10.0), np.full(20, 10), 10])
def test_a_factor_of_equal_limits_is_likelihood(limits: Any) -> None:
    model = cc.adopt(numpyro=censored, data={"limits": limits, "y": Y})
    assert model.adopted.likelihood == {"numpyro": ("censored",)}


def summing_to_nothing(size, y) -> None:
    effect = numpyro.sample("effect", dist.Normal(0, 1).expand([3]).to_event(1))
    numpyro.factor("sum", -100 * effect.sum() ** 2)
    with numpyro.plate("rows", size):
        numpyro.sample("y", dist.Normal(effect[0], 2), obs=y)


def test_a_factor_beside_a_size_is_prior() -> None:
    model = cc.adopt(numpyro=summing_to_nothing, data={"size": 30, "y": Y})
    assert model.adopted.likelihood == {"numpyro": ()}


def neighbours(left, right, y) -> None:
    level = numpyro.sample("level", dist.Normal(0, 2))
    phi = numpyro.sample("phi", dist.Normal(0, 10).expand([8]).to_event(1))
    numpyro.factor("icar", -0.5 * jnp.sum((phi[left] - phi[right]) ** 2))
    numpyro.sample("y", dist.Poisson(jnp.exp(level + phi)), obs=y)


def test_a_factor_of_places_alone_is_asked_for() -> None:
    data = {"left": np.arange(7), "right": np.arange(1, 8), "y": RNG.poisson(3, 8)}
    asked = cc.adopt(numpyro=neighbours, data=data).likelihood_problem
    assert "which part of icar is likelihood?" in asked
    told = cc.adopt(numpyro=neighbours, data=data, likelihood=())
    assert "icar" not in told.likelihood_problem


def trials(n, k) -> None:
    p = numpyro.sample("p", dist.Beta(2, 2))
    numpyro.factor("k", k * jnp.log(p) + (n - k) * jnp.log1p(-p))


def trials_pymc(n, k) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        p = pm.Beta("p", 2, 2)
        pm.Binomial("k", n, p, observed=k)
    return model


PAIR: Any = {"numpyro": trials, "pymc": trials_pymc, "data": {"n": 9, "k": 6}}
CONSTANT = "4.430816799"  # log of 9! / (6! 3!)


def test_a_constant_is_a_difference_unless_it_is_allowed() -> None:
    with pytest.raises(AssertionError, match=f"constant {CONSTANT}"):
        cc.testing.assert_same_model(**PAIR)
    cc.testing.assert_same_model(**PAIR, allow_constant=True)
    assert f"up to the constant {CONSTANT}" in repr(cc.check(**PAIR, allow_constant=True))


def test_a_difference_that_is_no_constant_is_one_where_constants_are_allowed() -> None:
    def other(n, k) -> None:
        p = numpyro.sample("p", dist.Beta(2, 2.001))
        numpyro.factor("k", k * jnp.log(p) + (n - k) * jnp.log1p(-p))

    with pytest.raises(AssertionError, match="log prior p"):
        cc.testing.assert_same_model(**{**PAIR, "numpyro": other}, allow_constant=True)


PORT = """
import jax.numpy as jnp, numpyro, numpyro.distributions as dist, pymc as pm
def model(k):
    p = numpyro.sample("p", dist.Beta(2, 2))
    numpyro.factor("hits", (k * jnp.log(p) + (9 - k) * jnp.log1p(-p)).sum())
def build(k):
    with pm.Model() as model:
        p = pm.Beta("p", 2, 2)
        pm.Binomial("hits", 9, p, observed=k)
    return model
"""


def test_the_command_line_takes_constants_and_what_is_likelihood(tmp_path: Path, concord) -> None:
    (tmp_path / "port.py").write_text(PORT)
    (tmp_path / "mine.csv").write_text("k\n6\n4\n5\n")
    given = "check", "--pymc", "port.py:build", "--numpyro", "port.py:model", "--data", "mine.csv"
    code, _, told = concord(*given)
    assert (code, "constant" in told) == (2, True)
    code, said, told = concord(*given, "--allow-constant", "--likelihood", "hits")
    assert code == 0, told
    assert "up to the constant" in said + told


def test_programs_that_hold_their_data_need_no_others() -> None:
    import pymc as pm

    with pm.Model() as built:
        mu = pm.Normal("mu", np.float64(0), np.float64(10))
        pm.Normal("y", mu, np.float64(2), observed=Y)

    def closed() -> None:
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 10)), 2), obs=Y)

    cc.testing.assert_same_model(pymc=built, numpyro=closed)


def sized(rows, columns, X, y) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        slope = pm.Normal("slope", 0, 1, shape=columns)
        pm.Normal("y", pm.math.dot(X, slope), 1, shape=rows, observed=y)
    return model


def test_sizes_are_plain_numbers() -> None:
    X = RNG.normal(size=(30, 2))
    assert cc.check(pymc=sized, data={"rows": 30, "columns": 2, "X": X, "y": Y}).passed


def test_whole_numbers_of_a_continuous_law_are_drawn_from_that_law() -> None:
    def ages(y) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 100))
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    model = cc.adopt(numpyro=ages, data={"y": np.arange(400) % 7})
    drawn = model.simulate(np.random.default_rng(0), {"mu": jnp.asarray(3.0)}, 400)["y"].data
    assert abs(drawn.mean() - 3) < 4 / 20  # four standard errors: 6e-5


def test_shapes_that_do_not_match_are_told() -> None:
    import pymc as pm

    def missing(y, seen) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 10))
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.Normal(mu, 1), obs=y, obs_mask=seen)

    def missing_pymc(y, seen) -> pm.Model:
        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 10)
            pm.Normal("y", mu, 1, observed=np.ma.masked_array(y, ~seen))
        return model

    data = {"y": Y, "seen": np.arange(30) > 1}
    with (
        pytest.warns(UserWarning, match="missing values"),
        pytest.raises(cc.ConfigError, match=r"y_unobserved .* has shape \(2,\)|\(30,\).*\(2,\)"),
    ):
        cc.adopt(missing_pymc, missing, data)


def test_a_factor_that_is_never_finite_is_asked_for() -> None:
    def nowhere(limit, y) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 10))
        numpyro.sample("y", dist.Normal(mu, 2), obs=y)
        numpyro.factor("far", jnp.where(mu > limit, 0.0, -jnp.inf))

    asked = cc.adopt(numpyro=nowhere, data={"limit": 5.5, "y": Y}).likelihood_problem
    assert "which part of far is likelihood?" in asked


def decay(t, y) -> None:
    rate = numpyro.sample("rate", dist.HalfNormal(1))
    level = odeint(lambda z, t, r: -r * z, jnp.asarray(9.0), jnp.asarray(t), rate)
    numpyro.sample("y", dist.Normal(level, 1), obs=y)


def test_a_solver_of_differential_equations_has_second_derivatives() -> None:
    """JAX's solver can be differentiated in reverse alone."""
    t = np.linspace(0, 2, 8)
    y = 9 * np.exp(-0.5 * t) + RNG.normal(size=8)
    model = cc.adopt(numpyro=decay, data={"t": t, "y": y})
    target, u = density(model, model.data), jnp.asarray([-0.5])
    rate = np.exp(-0.5)
    mean = 9 * np.exp(-rate * t)
    slope = -t * mean * rate  # of the mean, by log rate
    np.testing.assert_allclose(scores(target)(u)[:, 0], (y - mean) * slope, atol=1e-5)
    curvature = ((y - mean) * (slope - t * rate * slope) - slope**2).sum()
    found = derivatives(target, "likelihood").hessian(u)
    np.testing.assert_allclose(found, [[curvature]], rtol=1e-5)
    assert not model.likelihood_problem


def coins(group, y) -> None:
    sd = numpyro.sample("sd", dist.HalfNormal(3))
    z = numpyro.sample("z", dist.Normal(0, 1).expand([16]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=sd * z[group]), obs=y)


def test_laplaces_integral_has_no_kink_where_logits_are_0_and_no_posterior_rests_on_it() -> None:
    data = {"group": np.repeat(np.arange(16), 3), "y": np.repeat(np.arange(16) % 2, 3)}
    model = cc.adopt(numpyro=coins, data=data, latent=("z",))
    target = density(model, model.data)
    found = target.log_likelihood(target.unconstrain({"sd": jnp.asarray(2.0)}))
    z = np.linspace(-8, 8, 4001)
    exact = np.log(
        np.sum(np.exp(-(z**2) / 2) / (1 + np.exp(2 * z)) ** 3) * 0.004 / np.sqrt(2 * np.pi)
    )
    # groups are one up to a sign, and Laplace's method is off by 0.023 nats for each of them
    np.testing.assert_allclose(found.sum(), 16 * exact, atol=16 * 0.025)
    points = {"sd": np.linspace(0.2, 5, 8)}
    assert "Laplace's approximation over z is off" in model.distortion(points, model.data)
    assert not model.distortion({"sd": np.linspace(0.2, 0.25, 8)}, model.data)


def test_scales_of_several_outcomes_bound_a_likelihood() -> None:
    def total_and_parts(total, y) -> None:
        sd = numpyro.sample("sd", dist.HalfNormal(1))
        numpyro.sample("total", dist.Normal(0, 0.01), obs=total)
        numpyro.sample("y", dist.Normal(0, sd), obs=y)

    y = RNG.normal(0, 1e-4, 200)
    fit = cc.MaximumLikelihood()
    model = cc.adopt(numpyro=total_and_parts, data={"total": 0.002, "y": y})
    found = fit.fit(model, model.data, np.random.default_rng(0))
    assert not found.problems
    assert float(found.location.value["sd"]) == pytest.approx(np.sqrt(np.mean(y**2)), rel=1e-4)


def test_equal_data_of_a_law_without_a_scale_have_a_maximum() -> None:
    def waiting(y) -> None:
        rate = numpyro.sample("rate", dist.HalfNormal(5))
        numpyro.sample("y", dist.Exponential(rate), obs=y)

    model = cc.adopt(numpyro=waiting, data={"y": np.array([2.0, 2.0, 2.0])})
    found = cc.MaximumLikelihood().fit(model, model.data, np.random.default_rng(0))
    assert float(found.location.value["rate"]) == pytest.approx(0.5, rel=1e-5)


def test_labels_of_a_scan_are_summed_out() -> None:
    kind = SERIES["HMM, enumerated"]
    model = cc.adopt(numpyro=kind.numpyro, data=kind.data)
    program = model.adopted.named
    terms = program.at(jnp.zeros(program.size))
    forward = cc.adopt(numpyro=SERIES["HMM, scan and potential"].numpyro, data=kind.data)
    other = forward.adopted.named.at(jnp.zeros(program.size))
    ours, theirs = ({**t.likelihood, **t.factors}.values() for t in (terms, other))
    assert sum(map(jnp.sum, ours)) == pytest.approx(float(sum(map(jnp.sum, theirs))), rel=1e-12)


def test_categories_are_numbered_in_their_own_order() -> None:
    def trend(dose, y) -> None:
        slope = numpyro.sample("slope", dist.Normal(0, 5))
        numpyro.sample("y", dist.Normal(slope * dose, 1), obs=y)

    order = ["low", "mid", "high"]
    dose = RNG.choice(order, 30)
    for column in (
        pd.Series(pd.Categorical(dose, categories=order, ordered=True)),
        pl.Series(dose, dtype=pl.Enum(order)),
    ):
        model = cc.adopt(numpyro=trend, data={"dose": column, "y": Y})
        assert model.data["dose"].values.tolist() == [order.index(one) for one in dose]
        assert model.data.coords["dose_label"].values.tolist() == order


def test_outcomes_that_one_program_draws_and_the_other_leaves_out_are_told() -> None:
    import pymc as pm

    y = np.where(np.arange(30) < 2, np.nan, Y)

    def left_out(y) -> None:
        kept = y[~np.isnan(y)]
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 10)), 1), obs=kept)

    def drawn(y) -> pm.Model:
        with pm.Model() as model:
            pm.Normal("y", pm.Normal("mu", 0, 10), 1, observed=y)
        return model

    with (
        pytest.warns(UserWarning, match="missing values"),
        pytest.raises(
            cc.ConfigError, match=r"y_unobserved .* has no counterpart .* missing outcomes"
        ),
    ):
        cc.adopt(drawn, left_out, {"y": y})


def test_a_density_that_is_finite_near_the_prior_alone_has_starts() -> None:
    low = np.floor(np.random.default_rng(0).normal(50, 10, 40) / 5) * 5

    def intervals(low) -> None:
        mu = numpyro.sample("mu", dist.Normal(50, 20))
        law = dist.Normal(mu, numpyro.sample("sd", dist.HalfNormal(20)))
        numpyro.factor("interval", jnp.log(law.cdf(low + 5) - law.cdf(low)))

    model = cc.adopt(numpyro=intervals, data={"low": low})
    assert len(model.adopted.named.starts(np.random.default_rng(0)))  # else it raises


def test_a_file_imports_what_is_beside_it(tmp_path: Path, concord) -> None:
    (tmp_path / "beside_port.py").write_text(PORT)
    (tmp_path / "port.py").write_text("from beside_port import model\n")
    (tmp_path / "mine.csv").write_text("k\n6\n4\n5\n")
    code, _, told = concord("check", "--numpyro", "port.py:model", "--data", "mine.csv")
    assert code == 0, told


def test_methods_are_named_as_on_the_command_line() -> None:
    def level(y) -> None:
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0, 10)), 1), obs=y)

    given: Any = {"numpyro": level, "data": {"y": Y}, "progress": False, "claims": ("label_free",)}
    found = cc.compare(**given, methods=("maximum_likelihood[numpyro]",))
    assert [method.name for method in found.case.methods] == ["maximum_likelihood"]
    with pytest.raises(cc.ConfigError, match="unknown method 'nutz'"):
        cc.compare(**given, methods="nutz")


def test_weights_are_told_beside_the_answer() -> None:
    def survey(weight, y) -> None:
        mu = numpyro.sample("mu", dist.Normal(0, 10))
        with numpyro.handlers.scale(scale=weight), numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    data = {"weight": RNG.uniform(0.5, 2, 30), "y": Y}
    given: Any = {"methods": ("maximum_likelihood[numpyro]",), "claims": ("label_free",)}
    found = cc.compare(numpyro=survey, data=data, **given, progress=False)
    assert any("weighted" in note and "sandwich" in note for note in found.first_screen.notes)


def test_a_packed_factor_is_asked_for_as_a_matrix() -> None:
    def factor(y) -> None:
        numpyro.sample("sd", dist.HalfNormal(1).expand([3]).to_event(1))
        numpyro.sample("corr", dist.LKJCholesky(3, 2.0))
        numpyro.sample("y", dist.Normal(0, 1), obs=y)

    kind = HIERARCHIES["covariance, packed"]
    with pytest.raises(cc.ConfigError, match=r"add a deterministic of that name, the triangular"):
        cc.adopt(kind.pymc, factor, kind.data)
