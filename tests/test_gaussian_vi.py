"""Variational inference reaches the optimum that closed forms and quadrature give.

References: `tests/reference/posterior_exact.json` (R: Gaussian variational optima whose ELBO is in
closed form; the same model, priors and data).  The ELBO here averages over 512 fixed points, whose
error for this nearly Gaussian posterior is below 1e-3 of a posterior sd; it falls with more points.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from scipy.special import gammaln
from scipy.stats import multivariate_normal

from inference.estimate import Estimate
from inference.information.derivatives import derivatives
from inference.methods import gaussian_vi
from inference.methods.gaussian_vi import GaussianVI
from inference.methods.laplace import Laplace
from inference.optimisation import newton
from inference.optimisation.elbo import maximise, neighbours, standard_points
from inference.posterior.importance import over_gaussian
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.errors import ConfigError, FitError
from models.programs.adopt import adopt
from models.programs.density import Density, density

MODEL = Gaussian()
FAMILIES = ("mean_field", "full_rank")
REFERENCE = json.loads((Path(__file__).parent / "reference" / "posterior_exact.json").read_text())
EXACT = REFERENCE["cases"]["normal_faithful_eruptions"]


@cache
def eruptions() -> xr.Dataset:
    return as_dataset(bundled("faithful"), MODEL, ("eruptions",))


@cache
def fitted(engine: Any = "numpyro", family: Any = "mean_field") -> Estimate:
    method = GaussianVI(engine=engine, family=family, restarts=2)
    return method.fit(MODEL, eruptions(), np.random.default_rng(0))


def _deviation(fit: Estimate, optimum: dict[str, Any]) -> float:
    """The largest distance of location and scale from the optimum, in units of the scale."""
    wanted = [optimum["q_mu"], optimum["q_log_sigma"]]
    scale = np.array([part["scale"] for part in wanted])
    loc = fit.record["q_loc"].values - [part["loc"] for part in wanted]
    width = np.sqrt(np.diag(fit.record["q_covariance"].values)) - scale
    return float(np.max(np.abs([loc / scale, width / scale])))


@pytest.mark.parametrize("engine", ["numpyro", "pymc"])
@pytest.mark.parametrize(
    ("family", "key"),
    [("mean_field", "vi_meanfield_gaussian"), ("full_rank", "vi_fullrank_gaussian")],
)
def test_optimum_is_that_of_the_reference(engine: str, family: str, key: str) -> None:
    fit = fitted(engine, family)
    assert fit.problems == ()
    assert fit.record.attrs["reached"] == fit.record.attrs["restarts"] == 2
    assert _deviation(fit, EXACT[key]) < 1e-3
    assert fit.record["elbo"].values[-1] == pytest.approx(EXACT[key]["elbo"], abs=1e-3)
    assert abs(fit.record.attrs["elbo"] - EXACT[key]["elbo"]) < 4 * fit.record.attrs["elbo_error"]
    covariance = fit.record["q_covariance"].values
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert correlation == pytest.approx(EXACT[key]["corr"], abs=1e-3)


def test_a_dropped_jacobian_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(model: Gaussian, data: xr.Dataset, language: Literal["numpyro", "pymc"]) -> Density:
        return dataclasses.replace(density(model, data, language), log_jacobian=lambda u: 0 * u[0])

    monkeypatch.setattr(gaussian_vi, "density", without)
    fit = GaussianVI(restarts=1).fit(MODEL, eruptions(), np.random.default_rng(0))
    assert _deviation(fit, EXACT["vi_meanfield_gaussian"]) > 0.01


@pytest.mark.statistical
def test_moments_are_those_of_the_approximation() -> None:
    fit, optimum = fitted(), EXACT["vi_meanfield_gaussian"]
    wanted = {"mu": optimum["q_mu"]["loc"], "sigma": optimum["implied_sigma_mean"]}
    for name, mean in wanted.items():
        assert abs(float(fit.location.value[name]) - mean) <= 4 * float(fit.location.error[name])
    mu = optimum["q_mu"]["scale"]
    assert abs(float(fit.sd.value["mu"]) - mu) <= 4 * float(fit.sd.error["mu"])


def test_elbo_climbs_and_stays_below_the_evidence() -> None:
    for family in FAMILIES:
        fit = fitted("numpyro", family)
        path = fit.record["elbo"].values
        assert np.all(np.diff(path) >= 0)
        assert path[-1] < EXACT["exact"]["log_evidence"] + 1e-3
    assert fitted("numpyro", "full_rank").record["elbo"].values[-1] >= path[-1] - 1e-6


def test_same_seed_same_estimate() -> None:
    again = GaussianVI(restarts=2).fit(MODEL, eruptions(), np.random.default_rng(0))
    xr.testing.assert_identical(again.location.value, fitted().location.value)
    other = GaussianVI(restarts=2).fit(MODEL, eruptions(), np.random.default_rng(1))
    assert not other.location.value.identical(again.location.value)


# --- a Gaussian posterior, where the optimum is a formula -----------------------------------------


PRECISION = np.array([[4.0, 1.5, 0.0], [1.5, 2.0, -0.6], [0.0, -0.6, 1.0]])
MEAN = np.array([1.0, -2.0, 0.5])


def _gaussian(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    off = points - MEAN
    return -0.5 * np.einsum("si,ij,sj->s", off, PRECISION, off), -off @ PRECISION


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gaussian_is_recovered_exactly(family: str) -> None:
    z = standard_points(np.random.default_rng(0), 64, 3)
    fit = maximise(_gaussian, z, MEAN + 0.3, family)
    inverse = np.linalg.inv(PRECISION)
    # the mean field has variances 1/Λ_jj: MacKay (2003), §33.5
    wanted = inverse if family == "full_rank" else np.diag(1 / np.diag(PRECISION))
    np.testing.assert_allclose(fit.loc, MEAN, atol=1e-5)
    np.testing.assert_allclose(fit.factor @ fit.factor.T, wanted, atol=1e-5)
    shortfall = 0.5 * (np.linalg.slogdet(inverse)[1] - np.linalg.slogdet(wanted)[1])
    evidence = 1.5 * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(inverse)[1]
    assert fit.elbo == pytest.approx(evidence - shortfall, abs=1e-8)


def test_points_have_the_moments_of_a_standard_normal() -> None:
    z = standard_points(np.random.default_rng(0), 256, 5)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(z.T @ z / 256, np.eye(5), atol=1e-12)
    np.testing.assert_allclose((z**4).mean(axis=0), 3, rtol=0.1)


def counts(y: Any) -> None:
    numpyro.sample("y", dist.Poisson(numpyro.sample("rate", dist.Gamma(2, 1))), obs=y)


@pytest.mark.parametrize("n", [20, 60])
def test_khat_of_the_best_law_for_a_nearly_normal_posterior_is_small(n: int) -> None:
    y = np.random.default_rng(5).poisson(1.3, n)
    model = adopt(numpyro=counts, data={"y": y})
    fit = GaussianVI("numpyro", "full_rank").fit(model, model.data, np.random.default_rng(0))
    assert fit.record.attrs["khat"] < 0.7  # of 4,000 draws it is above 1
    # the KL divergence of the best Gaussian in log λ from a Gamma law is 1 / 12 a + O(a⁻³)
    shape, elbo, error = 2 + y.sum(), fit.record.attrs["elbo"], fit.record.attrs["elbo_error"]
    evidence = gammaln(shape) - shape * np.log(1 + n) - gammaln(y + 1).sum()
    assert error < 1e-3
    assert abs(evidence - elbo - 1 / (12 * shape)) < 4.4 * error  # false alarm: 1 in 100,000


def two_means(x: Any, y: Any) -> None:
    b = numpyro.sample("b", dist.Normal(0, 1).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ b, 1), obs=y)


def test_the_posterior_over_itself_is_the_evidence_at_every_draw() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 12, 2))
    model = adopt(numpyro=two_means, data={"x": x, "y": y[:, 0]})
    covariance = np.linalg.inv(np.eye(2) + x.T @ x)
    law = density(model, model.data), covariance @ x.T @ y[:, 0], covariance
    with jax.enable_x64():
        ratio, _ = over_gaussian(*law, np.random.default_rng(2))
        degenerate, khat = over_gaussian(*law[:2], 0 * covariance, np.random.default_rng(2))
    evidence = multivariate_normal(np.zeros(12), np.eye(12) + x @ x.T).logpdf(y[:, 0])
    np.testing.assert_allclose(ratio, evidence, rtol=0, atol=1e-10)
    assert np.isnan(degenerate).all()
    assert khat == np.inf


@pytest.mark.parametrize(("width", "bad"), [(1.0, False), (1.3, False), (0.5, True)])
def test_khat_tells_an_approximation_that_is_too_narrow(width: float, bad: bool) -> None:
    data = MODEL.simulate(np.random.default_rng(0), MODEL.truth, 400)
    fit = Laplace("numpyro").fit(MODEL, data, np.random.default_rng(1))
    mode, covariance = (fit.record[name].values for name in ("mode", "mode_covariance"))
    law = density(MODEL, data), mode, width**2 * covariance
    with jax.enable_x64():
        ratio, khat = over_gaussian(*law, np.random.default_rng(2))
    assert np.isfinite(ratio).all()
    assert (khat > 0.7) == bad


# --- the error of the optimum ---------------------------------------------------------------------


def _skewed(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian times exp(−e^{0.3 Σ u}): bounded, log-concave and not symmetric."""
    value, gradient = _gaussian(points)
    term = np.exp(0.3 * points.sum(axis=1))
    return value - term, gradient - 0.3 * term[:, None]


def test_further_points_leave_a_gaussian_as_it_is() -> None:
    rng = np.random.default_rng(0)
    z, *further = (standard_points(rng, 64, 3) for _ in range(5))
    for family in FAMILIES:
        fit = maximise(_gaussian, z, MEAN + 0.3, family)
        locs, factors = neighbours(_gaussian, fit, further, family)
        np.testing.assert_allclose(locs, np.tile(fit.loc, (5, 1)), atol=1e-5)
        np.testing.assert_allclose(factors, np.tile(fit.factor, (5, 1, 1)), atol=1e-5)


@pytest.mark.statistical
@pytest.mark.parametrize("family", FAMILIES)
def test_the_error_of_an_optimum_is_its_spread_over_points(family: str) -> None:
    """Sd over 100 sets of points against the root of the mean square predicted from 8 each.

    A sd of 100 is known to 7 % and the predicted one, of 100 × 8, to 2.5 %: at 4 errors, a
    false-alarm rate of 6e-5 each, their ratio is within 1.35.  The next order, left out by the
    Newton step, is given 0.05.
    """
    rng = np.random.default_rng(0)
    optima, predicted = [], []
    for _ in range(100):
        z, *further = (standard_points(rng, 32, 3) for _ in range(9))
        fit = maximise(_skewed, z, MEAN, family)
        optima.append(_law(fit.loc, fit.factor))
        moved = [_law(*law) for law in zip(*neighbours(_skewed, fit, further, family), strict=True)]
        predicted.append(np.var(moved, axis=0, ddof=1))
    ratio = np.sqrt(np.mean(predicted, axis=0)) / np.std(optima, axis=0, ddof=1)
    assert np.abs(np.log(ratio)).max() < np.log(1.4), ratio


def _law(loc: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Locations and log scales."""
    return np.concatenate([loc, 0.5 * np.log((factor**2).sum(axis=1))])


# --- more than one mode, and what can go wrong ----------------------------------------------------


def test_the_best_of_several_modes_is_taken() -> None:
    model = GaussianMixture(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0)
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    fit = GaussianVI(restarts=4, points=256).fit(model, data, np.random.default_rng(0))
    assert fit.problems == ()
    np.testing.assert_allclose(fit.location.value["mu"], [2.02, 4.28], atol=0.02)


def test_an_unfinished_climb_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    minimize = newton.minimize

    def two_steps(*args: Any, **options: Any) -> Any:
        return minimize(*args, **{**options, "options": {"maxiter": 1}})

    monkeypatch.setattr(newton, "minimize", two_steps)
    fit = GaussianVI(restarts=1).fit(MODEL, eruptions(), np.random.default_rng(0))
    climb, restarts = fit.problems
    assert climb.startswith("the ELBO has not converged: its gradient is")
    assert restarts == "only 1 of 1 restarts reached the mode of the reported optimum"
    assert fit.record.attrs["reached"] == fit.record.attrs["restarts"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"restarts": 0}, "gaussian_vi.restarts is 0; expected an integer of at least 1"),
        ({"draws": 3}, "gaussian_vi.draws is 3; expected an integer of at least 4"),
        ({"points": 300}, "gaussian_vi.points is 300; expected a power of 2"),
    ],
)
def test_settings_are_checked(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GaussianVI(**settings)


def test_too_few_points_for_the_parameters_fail() -> None:
    with pytest.raises(FitError, match="at least four times the 2 free parameters"):
        GaussianVI(points=4).fit(MODEL, eruptions(), np.random.default_rng(0))


def test_a_posterior_that_is_nowhere_finite_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Gaussian, data: xr.Dataset, language: Literal["numpyro", "pymc"]) -> Density:
        return dataclasses.replace(
            density(model, data, language), log_prior=lambda u: jnp.nan * u[0]
        )

    monkeypatch.setattr(gaussian_vi, "density", broken)
    with pytest.raises(FitError, match="none of 6 restarts found a finite ELBO"):
        GaussianVI().fit(MODEL, eruptions(), np.random.default_rng(0))


# --- Laplace --------------------------------------------------------------------------------------


def test_laplace_keeps_the_shape_of_the_tail_of_its_weights() -> None:
    shapes = []
    for n in (400, 2):  # near its limit, and with the heavy tail of few data
        data = MODEL.simulate(np.random.default_rng(0), MODEL.truth, n)
        fit = Laplace("numpyro").fit(MODEL, data, np.random.default_rng(1))
        shapes.append(fit.record.attrs["khat"])
    assert shapes[0] < 0.5 < shapes[1]


def test_laplace_is_about_the_mode_in_the_chart_of_its_engine() -> None:
    model = GaussianMixture(3)  # its weights have other coordinates in the two languages
    data = model.simulate(np.random.default_rng(0), model.truth, 300)
    fit = Laplace("pymc", restarts=2, draws=100).fit(model, data, np.random.default_rng(1))
    mode, covariance = (fit.record[name].values for name in ("mode", "mode_covariance"))

    at = jnp.asarray(mode)
    own, other = (
        derivatives(density(model, data, one), "posterior") for one in ("pymc", "numpyro")
    )
    np.testing.assert_allclose(-np.asarray(own.hessian(at)) @ covariance, np.eye(8), atol=1e-6)
    gradients = (np.asarray(one.value_and_gradient(at)[1]) for one in (own, other))
    off, wrong = (np.sqrt(g @ covariance @ g) for g in gradients)  # in standard deviations
    assert off < 1e-3
    assert wrong > 0.1
