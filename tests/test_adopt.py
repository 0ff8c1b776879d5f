"""A user's own programs, adopted: arguments by name, likelihood, latent variables, refusals.

Pairs of every kind of model are in the other `test_adopted_*` files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import norm

import concord as cc
from models.programs.density import density

if TYPE_CHECKING:
    from pathlib import Path

    import pymc as pm

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"x": RNG.normal(size=60), "age": RNG.normal(size=60)})
FRAME["y"] = 1 + 2 * FRAME.x - FRAME.age + RNG.normal(size=60)
SCHOOLS = {
    "se": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
}
FIELDS = ("a", "b", "c", "sigma")


def regression(x, age, y=None) -> None:
    a = numpyro.sample("a", dist.Normal(0, 10))
    b = numpyro.sample("b", dist.Normal(0, 5))
    c = numpyro.sample("c", dist.Normal(0, 5))
    sigma = numpyro.sample("sigma", dist.Exponential(1.0))
    numpyro.sample("y", dist.Normal(a + b * x + c * age, sigma), obs=y)


def build_regression(x, age, y, scale=5.0) -> pm.Model:
    import pymc as pm

    with pm.Model() as model:
        a = pm.Normal("a", 0, 10)
        b = pm.Normal("b", 0, scale)
        c = pm.Normal("c", 0, 5)
        sigma = pm.Exponential("sigma", 1)
        pm.Normal("y", a + b * x + c * age, sigma, observed=y)
    return model


def schools(se, y=None) -> None:
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", len(se)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, se), obs=y)


def build_schools(se, y) -> pm.Model:
    import pymc as pm

    with pm.Model(coords={"school": list("ABCDEFGH")}) as model:
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        theta = pm.Normal("theta", mu, tau, dims="school")
        pm.Normal("y", theta, se, observed=y, dims="school")
    return model


# --- programs as they are -------------------------------------------------------------------------


def test_a_regression_in_both_languages_has_the_least_squares_estimate() -> None:
    methods = tuple(cc.MaximumLikelihood(one, restarts=3) for one in ("numpyro", "pymc"))
    found = cc.compare(
        pymc=build_regression,
        numpyro=regression,
        data=FRAME,
        methods=methods,
        claims=("same_maximum",),
    )
    ols = sm.OLS(FRAME.y, sm.add_constant(FRAME[["x", "age"]])).fit()
    expected = [*ols.params, np.sqrt(ols.ssr / len(FRAME))]
    for method in methods:
        estimate = found[method].location.value
        # a polished optimum is within 1e-6 standard errors of the maximum
        np.testing.assert_allclose([float(estimate[n]) for n in FIELDS], expected, rtol=1e-6)
    assert set(found.verdicts().verdict) == {"AGREE"}


@pytest.mark.parametrize("language", ["pymc", "numpyro"])
def test_one_program_alone_is_enough(language: str) -> None:
    program = {"pymc": build_regression, "numpyro": regression}[language]
    found = cc.compare(
        **{language: program}, data=FRAME, methods=(cc.Laplace(language),), claims=("same_model",)
    )
    assert found.case.model.languages == (language,)
    assert np.isfinite(found.table().sd).all()
    other = {"pymc": "numpyro", "numpyro": "pymc"}[language]
    case = cc.Case(found.case.model, FRAME, methods=(cc.NUTS(other),))
    assert case.refusals == {cc.NUTS(other): f"there is no {other} program"}


def test_a_built_model_needs_no_data() -> None:
    model = build_regression(FRAME.x.values, FRAME.age.values, FRAME.y.values)
    assert cc.check(pymc=model, numpyro=regression, data=FRAME).passed


@pytest.mark.parametrize("scale", [5 * (1 + 1e-6), 4.0])
def test_a_prior_scale_that_is_off_is_named(scale: float) -> None:
    def build(x, age, y):
        return build_regression(x, age, y, scale)

    found = cc.check(pymc=build, numpyro=regression, data=FRAME)
    assert not found.passed
    stage, status, text, _ = found.rows[-1]
    assert (stage, status) == ("same model", "failed")
    assert "log prior b" in text


def test_a_row_that_one_program_drops_is_named() -> None:
    def build(x, age, y):
        return build_regression(x[:-1], age[:-1], y[:-1])

    text = cc.check(pymc=build, numpyro=regression, data=FRAME).rows[-1][2]
    assert "y is observed with shape (60,) by the numpyro program and (59,)" in text


def test_assertions_for_other_peoples_suites_take_programs() -> None:
    cc.testing.assert_same_model(pymc=build_regression, numpyro=regression, data=FRAME)
    with pytest.raises(cc.ConfigError, match="nothing to compare"):
        cc.testing.assert_same_model(numpyro=regression, data=FRAME)


# --- arguments ------------------------------------------------------------------------------------


def test_a_missing_argument_lists_the_names_of_the_data() -> None:
    with pytest.raises(cc.ConfigError, match="asks for age, which the data do not have; they have"):
        cc.adopt(numpyro=regression, data={"x": FRAME.x, "y": FRAME.y})


def test_text_becomes_indices_of_its_labels_and_numbers_stay_numbers() -> None:
    seen = {}

    def model(county, count, y=None):
        seen.update(county=county, count=count)
        level = numpyro.sample("level", dist.Normal(0, 5).expand([3]))
        numpyro.sample("y", dist.Poisson(jnp.exp(level[county]) * count), obs=y)

    data = {"county": ["b", "a", "c", "a"], "count": [10, 40, 90, 5], "y": [3, 1, 7, 18]}
    adopted = cc.adopt(numpyro=model, data=data)
    np.testing.assert_array_equal(seen["county"], [1, 0, 2, 0])
    np.testing.assert_array_equal(seen["count"], [10, 40, 90, 5])
    np.testing.assert_array_equal(adopted.data["y"], [3, 1, 7, 18])
    assert list(adopted.data["county_label"].values) == ["a", "b", "c"]


def test_what_a_column_of_labels_indexes_has_its_labels_whatever_the_plate_is_called() -> None:
    def model(x, county, y):
        with numpyro.plate("J", 3):
            level = numpyro.sample("level", dist.Normal(0, 5))
            slopes = numpyro.sample("slopes", dist.Normal(0, 1).expand([2]).to_event(1))
        other = numpyro.sample("other", dist.Normal(0, 1).expand([3]).to_event(1))
        mean = level[county] + x[:, 0] * slopes[county, 1] + x @ other
        numpyro.sample("y", dist.Normal(mean, 1), obs=y)

    rng = np.random.default_rng(1)
    county = np.repeat(["b", "a", "c"], 5)
    data = {"x": rng.normal(size=(15, 3)), "county": county, "y": rng.normal(size=15)}
    coords = cc.adopt(numpyro=model, data=data).data.coords
    assert list(coords["J"].values) == ["a", "b", "c"]
    assert "other_dim_0" not in coords  # of as many entries, each in every row


def test_names_are_for_two_programs() -> None:
    for given in ({"numpyro": regression}, {"model": cc.Gaussian()}):
        with pytest.raises(cc.ConfigError, match="names= is for two programs of your own"):
            cc.compare(**given, data=FRAME, names={"b": "beta"})


def test_dates_are_refused_by_name() -> None:
    days = pd.date_range("2026-01-01", periods=60)
    with pytest.raises(cc.DataError, match="x holds dates"):
        cc.adopt(numpyro=regression, data={**FRAME, "x": days})


# --- likelihood, prior and latent variables -------------------------------------------------------


def test_a_factor_is_likelihood_if_it_depends_on_the_data() -> None:
    def model(y):
        a = numpyro.sample("a", dist.Normal(0, 1).expand([3]))
        numpyro.factor("sum_to_zero", dist.Normal(0, 0.01).log_prob(a.sum()))
        numpyro.factor("seen", dist.Normal(a[jnp.arange(6) % 3], 1).log_prob(y))

    adopted = cc.adopt(numpyro=model, data={"y": np.arange(6.0)})
    assert adopted.adopted.likelihood == {"numpyro": ("seen",)}


def test_latent_variables_are_named_and_no_half_likelihood_is_maximised() -> None:
    adopted = cc.adopt(pymc=build_schools, numpyro=schools, data=SCHOOLS)
    method = cc.MaximumLikelihood("numpyro")
    case = cc.Case(adopted, SCHOOLS, methods=(method, cc.NUTS("numpyro")))
    assert case.refusals == {
        method: "theta is a latent variable: 8 values for 8 rows; integrate it out with "
        "latent=('theta',)"
    }


@pytest.mark.parametrize("language", ["numpyro", "pymc"])
def test_gaussian_latent_variables_are_integrated_out_exactly(language: str) -> None:
    from models.programs.density import density

    with jax.enable_x64():
        adopted = cc.adopt(pymc=build_schools, numpyro=schools, data=SCHOOLS, latent=("theta",))
        target = density(adopted, adopted.data, language)
        for mu, tau in ((0.0, 1.0), (5.0, 7.0), (-3.0, 0.2)):
            u = target.unconstrain({"mu": jnp.asarray(mu), "tau": jnp.asarray(tau)})
            law = norm(mu, np.hypot(tau, SCHOOLS["se"]))
            value, gradient = jax.value_and_grad(lambda v: target.log_likelihood(v).sum())(u)
            np.testing.assert_allclose(value, law.logpdf(SCHOOLS["y"]).sum(), rtol=1e-12)
            residual = SCHOOLS["y"] - mu
            slope = (residual / law.var()).sum()
            np.testing.assert_allclose(gradient[list(target.coordinates).index("mu")], slope)


def test_factors_of_the_prior_stay_where_latent_variables_are_integrated_out() -> None:
    from models.programs.density import density

    y, tied = np.array([1.2, -0.4, 2.1, 0.3]), 0.1

    def model(y):
        tau = numpyro.sample("tau", dist.HalfNormal(2))
        z = numpyro.sample("z", dist.Normal(0, tau).expand([4]))
        numpyro.factor("sum_to_zero", dist.Normal(0, tied).log_prob(z.sum()))
        numpyro.factor("smaller", -tau)
        numpyro.sample("y", dist.Normal(z, 1), obs=y)

    with jax.enable_x64():
        adopted = cc.adopt(numpyro=model, data={"y": y}, latent=("z",))
        target = density(adopted, adopted.data, "numpyro")
        for tau in (0.3, 2.0):
            u = target.unconstrain({"tau": jnp.asarray(tau)})
            kept = tau**2 / (1 + tau**2)  # mean and variance of z_i given y_i: kept · y_i, kept
            right = norm(0, np.sqrt(1 + tau**2)).logpdf(y).sum()
            right += norm(0, np.sqrt(4 * kept + tied**2)).logpdf(kept * y.sum())
            np.testing.assert_allclose(target.log_likelihood(u).sum(), right, rtol=1e-10)
            prior = norm(0, 2).logpdf(tau) + np.log(2) - tau
            np.testing.assert_allclose(target.log_prior(u), prior, rtol=1e-10)


def test_expected_information_is_at_the_design_of_the_data() -> None:
    def model(x, y=None):
        b = numpyro.sample("b", dist.Normal(0, 5).expand([2]))
        numpyro.sample("y", dist.Poisson(jnp.exp(b[0] + b[1] * x)), obs=y)

    x = np.linspace(-1, 1, 40)
    b = np.array([0.5, 0.8])
    adopted = cc.adopt(numpyro=model, data={"x": x, "y": np.random.default_rng(1).poisson(2, 40)})
    found = cc.fisher_information(adopted, adopted.data, {"b": b}, estimator="expected")
    design = np.stack([np.ones(40), x], axis=1)
    exact = design.T @ (np.exp(design @ b)[:, None] * design)
    # of 20,000 simulated scores: 0.02 relative is over four standard errors of each entry
    np.testing.assert_allclose(found, exact, rtol=0.05, atol=0.05 * exact.max())


# --- the command line -----------------------------------------------------------------------------

PORT = """
import numpyro, numpyro.distributions as dist, pymc as pm

def model(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 5))
    numpyro.sample("y", dist.Normal(b * x, 1.0), obs=y)

def build(x, y):
    with pm.Model() as built:
        beta = pm.Normal("beta", 0, 5)
        pm.Normal("y", beta * x, 1.0, observed=y)
    return built
"""


def test_columns_that_are_numbered_are_read_and_replaced() -> None:
    def line(data: dict[int, np.ndarray]) -> None:
        b = numpyro.sample("b", dist.Normal(0.0, 3.0))
        x = np.asarray(data[0])
        numpyro.sample("y", dist.Normal(b * x, 1.0), obs=np.asarray(data[1]))

    x, rng = np.arange(1.0, 5.0), np.random.default_rng(0)
    for given in (pd.DataFrame({0: x, 1: 2 * x}), {0: x, 1: 2 * x}):
        model = cc.adopt(numpyro=line, data=given)
        assert set(model.data) == {"0", "1"}
        other = model.simulate(rng, {"b": np.asarray(50.0)}, 4)
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model.numpyro, 0)).get_trace(other)
        np.testing.assert_array_equal(trace["y"]["value"], other["1"])
        assert other["1"].max() > 100  # about 200


def test_of_equal_columns_a_site_observes_that_of_its_name() -> None:
    x = np.arange(4.0)
    adopted = cc.adopt(numpyro=regression, data={"x": x, "age": x, "y": x})
    assert next(iter(adopted.data)) == "y"
    made = adopted.simulate(np.random.default_rng(0), dict.fromkeys(FIELDS, np.asarray(9.0)), 4)
    np.testing.assert_array_equal(made["x"], x)


def test_the_command_line_checks_programs_of_a_file(tmp_path: Path, concord) -> None:
    (tmp_path / "port.py").write_text(PORT)
    FRAME[["x", "y"]].to_csv(tmp_path / "mine.csv", index=False)
    programs = ["--pymc", "port.py:build", "--numpyro", "port.py:model"]
    code, output, _ = concord("check", *programs, "--names", "b=beta", "--data", "mine.csv")
    assert code == 0, output
    assert "ok  same model: all" in output


def test_a_samplers_draws_of_what_is_integrated_out_are_kept_and_fits_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Given μ and τ, E θ_j = μ + w_j (y_j − μ) with w_j = τ² / (τ² + se_j²)."""
    given = {"numpyro": schools, "data": SCHOOLS, "latent": ("theta",), "claims": ("label_free",)}
    nuts = cc.NumpyroNUTS(warm_up=200, draws=200)
    found = cc.compare(**given, methods=(nuts,))
    assert capsys.readouterr().err.startswith("numpyro_nuts: ")
    cc.compare(**given, methods=(), progress=False)
    assert not capsys.readouterr().err
    posterior = found.idata(nuts)["posterior"]
    mu, tau = (posterior[name].data[..., None] for name in ("mu", "tau"))
    weight = tau**2 / (tau**2 + SCHOOLS["se"] ** 2)
    away = posterior["theta"].data - mu - weight * (SCHOOLS["y"] - mu)
    standard = away / (SCHOOLS["se"] * np.sqrt(weight))
    assert standard.shape == (4, 200, 8)
    assert np.abs(standard.mean(axis=(0, 1))).max() < 5 / np.sqrt(100)  # of that many independent
    assert "theta" not in found.table().index.get_level_values("parameter")


def test_a_normal_tail_in_pymc_has_second_derivatives() -> None:
    import pymc as pm

    y = np.array([0.3, 1.4, 2.0, 2.0, -0.7])
    with pm.Model() as censored:
        mu, sigma = pm.Normal("mu", 0, 5), pm.HalfNormal("sigma", 2)
        pm.Censored("y", pm.Normal.dist(mu, sigma), lower=None, upper=2.0, observed=y)
    model = cc.adopt(pymc=censored)

    def by_hand(u):
        mu, sigma = u[0], jnp.exp(u[1])
        within = jax.scipy.stats.norm.logpdf(y, mu, sigma)
        return jnp.where(y < 2, within, jax.scipy.stats.norm.logsf(2.0, mu, sigma)).sum()

    with jax.enable_x64():
        target = density(model, model.data, "pymc")
        for u in ([0.5, 0.1], [-3.0, -0.5]):  # in the second the tail is beyond one sd
            found = jax.hessian(lambda u: target.log_likelihood(u).sum())(jnp.array(u))
            np.testing.assert_allclose(found, jax.hessian(by_hand)(jnp.array(u)), rtol=1e-8)


def test_laplace_s_integral_is_said_to_be_approximate_and_by_how_much() -> None:
    r = np.random.default_rng(61)
    g = np.repeat(np.arange(12), 6)
    p = 1 / (1 + np.exp(0.3 - 0.9 * r.normal(size=12)[g]))
    y = r.binomial(1, p)

    def binary(g, y):
        a = numpyro.sample("a", dist.Normal(0, 5))
        tau = numpyro.sample("tau", dist.HalfNormal(3))
        with numpyro.plate("groups", 12):
            u = numpyro.sample("u", dist.Normal(0, tau))
        with numpyro.plate("rows", len(g)):
            numpyro.sample("y", dist.Bernoulli(logits=a + u[g]), obs=y)

    model = cc.adopt(numpyro=binary, data={"g": g, "y": y}, latent=("u",))
    estimate = cc.MaximumLikelihood(restarts=2).fit(model, model.data, r)
    a, tau = (float(estimate.location.value[name]) for name in ("a", "tau"))
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    sign = 2 * y[:, None] - 1
    rows = -np.logaddexp(0, -sign * (a + tau * node))
    each = np.stack([rows[g == j].sum(axis=0) for j in range(12)])
    exact = np.log(np.exp(each) @ weight / np.sqrt(2 * np.pi)).sum()
    note = estimate.record.attrs["note"]
    told = re.search(r"adds (\S+) ± (\S+) nats to Laplace's", note)
    assert told, note
    off, error = map(float, told.groups())
    # Gauss–Hermite quadrature; four standard errors and the digits that are shown
    assert abs(exact - estimate.log_likelihood - off) < 4 * error + 0.05 * off
    assert 0 < error < 0.2 * off
