"""Numbers of independent software and of exact quadrature are reproduced.

Source of every number: `tests/reference/*.json`, which names the software, the call and the data
of each; `tests/reference/README.md` states how closely each must be met.

* gaussian_univariate, gaussian_multivariate: R 4.2.2, MASS, mvtnorm, lavaan, numDeriv, sandwich;
* gaussian_mixture_univariate, gaussian_mixture_multivariate: R, mclust 6.0.0, numDeriv;
* ppca, factor_analysis: R (eigen, factanal with a Newton polish), lavaan;
* random_effects: R, metafor 3.8.1;
* posterior_exact: quadrature in R;
* posterior_gaussian_mixture_stan: rstan 2.21.7, its modes with and without the Jacobian.

Numbers that need draws are held where draws are made.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from comparisons._case import Case
from comparisons.bic import _criteria
from comparisons.fisher_standard_errors import four_corners
from inference._information import derivatives, expected, invert, observed, outer_product
from inference._optimum import fit_optimum
from inference.closed_form import ClosedForm
from inference.exact_posterior import ExactPosterior
from inference.expectation_maximisation import ExpectationMaximisation
from inference.maximum_a_posteriori import MaximumAPosteriori
from inference.maximum_likelihood import MaximumLikelihood
from models._data import as_dataset, bundled
from models._density import density, numpyro_terms
from models.factor_analysis import FactorAnalysis, ProbabilisticPCA
from models.gaussian import ConjugateGaussian, Gaussian
from models.gaussian_mixture import GaussianMixture
from models.random_effects import RandomEffects

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference._estimate import Estimate, Method
    from models._spec import Model, Values

IRIS = ("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width")
ITEMS = tuple(f"v{i}" for i in range(1, 7))
MAXIMUM = MaximumLikelihood(restarts=3)
CLOSED = ClosedForm()
EM = ExpectationMaximisation(restarts=2)
STAN = GaussianMixture(k=2, mean_loc=3, mean_scale=2, scale_scale=1, weight_concentration=2)


@cache
def reference(name: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "reference" / f"{name}.json").read_text())


@cache
def case(model: Model, source: str, columns: tuple[str, ...], method: Method) -> Case:
    data = as_dataset(bundled(source), model, columns)
    return Case(model, data, methods=(method,))


def fitted(model: Model, source: str, columns: tuple[str, ...], method: Method) -> Estimate:
    estimate = case(model, source, columns, method).fit(method)
    assert estimate.problems == ()
    return estimate


def criteria(of: Case) -> dict[str, float]:
    return {row.criterion: row.value for row in _criteria(of)}


def close(ours: Any, theirs: Any, relative: float, absolute: float = 0.0) -> None:
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(theirs, float), rtol=relative, atol=absolute
    )


def corner_errors(
    of: Case, estimate: Estimate, function: Callable[[Values], Any]
) -> dict[str, np.ndarray]:
    """Standard errors of any function of the parameters in each corner, by the delta method."""
    density_ = density(of.model, of.data)
    u = density_.unconstrain({str(n): jnp.asarray(a.data) for n, a in estimate.point.items()})
    jacobian = np.asarray(jax.jacfwd(lambda v: function(density_.constrain(v)))(u))
    scores = outer_product(density_, u)
    matrices = {
        "observed": observed(density_, u),
        "expected": expected(of.model, of.data, density_, u, np.random.default_rng(0))[0],
        "opg": scores,
    }
    found = {
        name: invert(of.model, density_, u, matrix).covariance for name, matrix in matrices.items()
    }
    found["sandwich"] = found["observed"] @ scores @ found["observed"]
    return {
        name: np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
        for name, covariance in found.items()
    }


# --- Gaussian -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [CLOSED, MAXIMUM], ids=lambda m: m.name)
def test_univariate_gaussian(method: Method) -> None:
    theirs = reference("gaussian_univariate")["cases"]["faithful_eruptions"]
    args = (Gaussian(), "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for name in ("mu", "sigma"):
        close(estimate.center.value[name], theirs["mle"][name], 1e-8)
        close(estimate.spread.value[name], theirs["analytic"][f"se_{name}"], 1e-6)
    found = criteria(of)
    close(estimate.log_likelihood, theirs["loglik"], 1e-8)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    corners, problem = four_corners(of, estimate)
    assert problem == ""
    pair = ("mu", "sigma")
    close(corners["observed"][0], [theirs["se_obs"][name] for name in pair], 1e-6)
    close(corners["expected"][0], [theirs["analytic"][f"se_{name}"] for name in pair], 1e-8)
    close(
        corners["expected"][0] ** 2,
        [theirs["analytic"][f"cramer_rao_bound_var_{name}"] for name in pair],
        1e-8,
    )
    close(corners["opg"][0], [theirs["se_opg"][name] for name in pair], 1e-6)
    close(corners["sandwich"][0], [theirs["se_sandwich"][name] for name in pair], 1e-6)


def test_univariate_gaussian_in_other_coordinates() -> None:
    theirs = reference("gaussian_univariate")["cases"]["faithful_eruptions"]
    args = (Gaussian(), "faithful", ("eruptions",), CLOSED)
    of, estimate = case(*args), fitted(*args)
    log = corner_errors(of, estimate, lambda v: jnp.stack([v["mu"], jnp.log(v["sigma"])]))
    close(log["observed"], [theirs["se_obs"][n] for n in ("mu", "log_sigma")], 1e-6)
    close(log["sandwich"], [theirs["se_sandwich"][n] for n in ("mu", "log_sigma")], 1e-6)
    square = corner_errors(of, estimate, lambda v: v["sigma"][None] ** 2)
    close(square["expected"][0] ** 2, theirs["analytic"]["cramer_rao_bound_var_sigma2"], 1e-8)
    conjugate = fitted(ConjugateGaussian(), "faithful", ("eruptions",), CLOSED)
    close(conjugate.center.value["sigma2"], theirs["mle"]["sigma2"], 1e-8)
    close(
        conjugate.spread.value["sigma2"] ** 2,
        theirs["analytic"]["cramer_rao_bound_var_sigma2"],
        1e-8,
    )


def test_multivariate_gaussian() -> None:
    theirs = reference("gaussian_multivariate")["cases"]["faithful"]
    args = (Gaussian(dim=2, mean_scale=100.0), "faithful", ("eruptions", "waiting"), CLOSED)
    of, estimate = case(*args), fitted(*args)
    close(estimate.center.value["mean"], theirs["mle"]["mean"], 1e-8)
    close(estimate.center.value["covariance"], theirs["mle"]["cov"], 1e-8)
    found = criteria(of)
    close(estimate.log_likelihood, theirs["loglik"], 1e-8)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    corners, problem = four_corners(of, estimate)
    assert problem == ""
    names = [str(name) for name in estimate.covariance["quantity"].data]
    order = [names.index(f"mean[{i}]") for i in (0, 1)]
    order += [names.index(f"covariance[{i}, {j}]") for i, j in ((0, 0), (1, 0), (1, 1))]
    close(corners["expected"][0][order], theirs["se_analytic_expected"], 1e-8)
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich"), ("opg", "opg")):
        close(corners[corner][0][order], theirs[f"se_{key}"], 1e-6)

    def transformed(values: Values) -> Any:
        correlation = values["correlation_cholesky"] @ values["correlation_cholesky"].T
        return jnp.append(jnp.log(values["scale"]), correlation[1, 0])

    errors = corner_errors(of, estimate, transformed)
    close(errors["observed"], theirs["transformed"]["se_obs"], 1e-6)
    close(errors["sandwich"], theirs["transformed"]["se_sandwich"], 1e-6)


# --- Gaussian mixture -----------------------------------------------------------------------------


def test_univariate_mixture() -> None:
    theirs = reference("gaussian_mixture_univariate")["cases"]["faithful_eruptions_V"]
    natural = theirs["natural"]
    args = (STAN, "faithful", ("eruptions",), MAXIMUM)
    of, estimate = case(*args), fitted(*args)
    value = estimate.center.value
    ours = [float(value["weights"][0]), *value["mu"].data, *value["sigma"].data]
    close(ours, natural["est"], 1e-5)
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic_standard"]], 0, 2e-5)
    corners, problem = four_corners(of, estimate)
    assert problem == ""
    names = [str(name) for name in estimate.covariance["quantity"].data]
    wanted = ("weights[0]", "mu[0]", "mu[1]", "sigma[0]", "sigma[1]")
    order = [names.index(name) for name in wanted]
    for corner, key, relative in (
        ("observed", "obs", 1e-4),
        ("opg", "opg", 1e-4),
        ("sandwich", "sandwich", 1e-4),
        ("expected", "expected", 1e-3),
    ):
        close(corners[corner][0][order], natural[f"se_{key}"], relative)


def test_univariate_mixture_in_unconstrained_coordinates() -> None:
    theirs = reference("gaussian_mixture_univariate")["cases"]["faithful_eruptions_V"]
    args = (STAN, "faithful", ("eruptions",), MAXIMUM)
    of, estimate = case(*args), fitted(*args)

    def unconstrained(values: Values) -> Any:
        logit = jnp.log(values["weights"][0] / values["weights"][1])
        return jnp.concatenate([logit[None], values["mu"], jnp.log(values["sigma"])])

    errors = corner_errors(of, estimate, unconstrained)
    for corner, key, relative in (
        ("observed", "obs", 1e-4),
        ("opg", "opg", 1e-4),
        ("sandwich", "sandwich", 1e-4),
        ("expected", "expected", 1e-3),
    ):
        close(errors[corner], theirs["unconstrained"][f"se_{key}"], relative)


@pytest.mark.parametrize(
    ("key", "k", "covariance"),
    [
        ("VVV_K1", 1, "full"),
        ("VVV_K2", 2, "full"),
        ("EEE_K2", 2, "tied"),
        ("VVI_K2", 2, "diagonal"),
        ("EII_K2", 2, "spherical"),
    ],
)
def test_multivariate_mixture(key: str, k: int, covariance: Any) -> None:
    theirs = reference("gaussian_mixture_multivariate")["cases"]["faithful"]["fits"][key]
    args = (GaussianMixture(k, 2, covariance), "faithful", ("eruptions", "waiting"), EM)
    of, estimate = case(*args), fitted(*args)
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic_standard"]], 0, 2e-5)
    value, parameters = estimate.center.value, theirs["parameters"]
    if k > 1:
        close(value["weights"], parameters["pro"], 1e-4)
    close(value["mean"], parameters["mean"], 1e-4)
    ours = np.broadcast_to(value["covariance"].data, (k, 2, 2))
    close(ours, np.reshape(parameters["cov"], (k, 2, 2)), 1e-4, 1e-9)


# --- latent variables -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "source", "columns", "method"),
    [
        ("iris_q2", "iris", IRIS, CLOSED),
        ("iris_q2", "iris", IRIS, EM),
        ("fa_sim6_q2", "fa_sim6", ITEMS, CLOSED),
    ],
)
def test_probabilistic_pca(key: str, source: str, columns: tuple[str, ...], method: Method) -> None:
    theirs = reference("ppca")["cases"][key]
    args = (ProbabilisticPCA(factors=2), source, columns, method)
    of, estimate = case(*args), fitted(*args)
    exact = 1e-8 if method is CLOSED else 1e-6
    value = estimate.center.value
    close(estimate.log_likelihood, theirs["loglik"], 1e-8)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    close(value["sigma2"], theirs["sigma2"], exact)
    close(value["mean"], theirs["mean"], exact)
    close(value["covariance"], theirs["implied_cov"], exact, exact)
    close(value["eigenvalue"], theirs["eigenvalues_n_divisor"][:2], exact)


@pytest.mark.parametrize(("factors", "method"), [(1, MAXIMUM), (2, EM)])
def test_factor_analysis(factors: int, method: Method) -> None:
    theirs = reference("factor_analysis")["cases"][f"fa_sim6_q{factors}"]
    args = (FactorAnalysis(factors=factors), "fa_sim6", ITEMS, method)
    of, estimate = case(*args), fitted(*args)
    value = estimate.center.value
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 0, 2e-5)
    close(value["uniqueness"], theirs["psi_raw_scale"], 1e-5)
    close(value["covariance"], theirs["implied_cov_raw_scale"], 1e-5)
    correlation_scale = value["uniqueness"].data / np.diag(value["covariance"].data)
    close(correlation_scale, list(theirs["uniquenesses_correlation_scale"].values()), 1e-5)


def test_standard_errors_of_factor_analysis() -> None:
    theirs = reference("factor_analysis")["cases"]["fa_sim6_q1"]["lavaan"]
    place = {term: i for i, term in enumerate(theirs["term"])}
    args = (FactorAnalysis(factors=1), "fa_sim6", ITEMS, MAXIMUM)
    of, estimate = case(*args), fitted(*args)
    corners, problem = four_corners(of, estimate)
    assert problem == ""
    names = [str(name) for name in estimate.covariance["quantity"].data]
    for variable, term in (("mean", "{0}~1"), ("uniqueness", "{0}~~{0}")):
        rows = [place[term.format(item)] for item in ITEMS]
        ours = [names.index(f"{variable}[{i}]") for i in range(6)]
        for corner, key in (
            ("observed", "observed"),
            ("expected", "expected"),
            ("sandwich", "robust_MLR"),
        ):
            # lavaan's optimum is within 1e-5 of the exact one
            close(corners[corner][0][ours], np.asarray(theirs[f"se_{key}"])[rows], 1e-5)


@pytest.mark.parametrize("method", [MAXIMUM, EM], ids=lambda m: m.name)
def test_random_effects_on_the_boundary(method: Method) -> None:
    theirs = reference("random_effects")["cases"]["eight_schools_ML"]
    args = (RandomEffects(), "eight_schools", ("y", "sigma"), method)
    of = case(*args)
    estimate = of.fit(method)
    # EM crawls towards a boundary (its rate there is 1), so it only bounds the maximum
    relative = 1e-5 if method is MAXIMUM else 1e-3
    close(estimate.center.value["mu"], theirs["mu"], relative)
    close(estimate.log_likelihood, theirs["loglik"], relative)
    if method is EM:
        return
    close(estimate.spread.value["mu"], theirs["se_mu"], 1e-5)
    assert np.isnan(estimate.spread.value["tau"])
    assert any("undefined: boundary" in problem for problem in estimate.problems)
    found = criteria(of)
    close(found["aic"], theirs["fitstats"]["AIC:"], 1e-5)
    close(found["bic"], theirs["fitstats"]["BIC:"], 1e-5)


def test_profile_likelihood_of_random_effects() -> None:
    theirs = reference("random_effects")["cases"]["eight_schools_profile_loglik_ML"]
    model = RandomEffects()
    data = as_dataset(bundled("eight_schools"), model)
    y, sigma = np.asarray(data["y"].data), np.asarray(data["sigma"].data)
    tau = np.asarray(theirs["tau"], float)
    weight = 1 / (tau[:, None] ** 2 + sigma**2)
    mu = (weight * y).sum(axis=1) / weight.sum(axis=1)
    with np.errstate(divide="ignore"):  # τ = 0 has a likelihood, at the end of the log scale
        points = np.stack([mu, np.log(tau)], axis=1)
    ours = jax.jit(jax.vmap(density(model, data).log_likelihood))(jnp.asarray(points)).sum(axis=1)
    close(ours, theirs["profile_loglik"], 1e-10)


# --- posteriors -----------------------------------------------------------------------------------


def test_conjugate_posterior() -> None:
    theirs = reference("posterior_exact")["cases"]["conjugate_nig_faithful_eruptions"]
    model = ConjugateGaussian(loc=3.0, precision=0.1, shape=2.0, rate=1.0)
    args = (model, "faithful", ("eruptions",), ExactPosterior())
    of, estimate = case(*args), fitted(*args)
    close(estimate.record.attrs["log_evidence"], theirs["log_evidence"], 0, 1e-8)
    marginal = model.exact_posterior(of.data)
    for name in ("mu", "sigma2"):
        close(estimate.center.value[name], theirs[name]["mean"], 1e-10)
        close(estimate.spread.value[name], theirs[name]["sd"], 1e-10)
        for percent in (5, 25, 50, 75, 95):
            close(marginal[name].ppf(percent / 100), theirs[name][f"q{percent}"], 1e-9)


def grid_posterior(
    model: Model, data: xr.Dataset, first: np.ndarray, second: np.ndarray
) -> tuple[float, np.ndarray, Values]:
    """log Z, the weights and the values on a grid of the two coordinates, trapezoidal rule."""
    of = density(model, data)
    points = jnp.asarray(np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1))
    points = points.reshape(-1, 2)

    @jax.jit
    def height(u: Any) -> Any:
        return jax.lax.map(
            lambda v: jnp.sum(of.log_likelihood(v)) + of.log_prior(v) + of.log_jacobian(v),
            u,
            batch_size=1000,
        )

    heights = np.asarray(height(points))
    weights = np.exp(heights - heights.max())
    cell = (first[1] - first[0]) * (second[1] - second[0])
    log_evidence = float(np.log(weights.sum() * cell) + heights.max())
    return log_evidence, weights / weights.sum(), jax.vmap(of.constrain)(points)


def assert_moments(values: np.ndarray, weights: np.ndarray, theirs: Any, relative: float) -> None:
    mean = float(weights @ values)
    close(mean, theirs["mean"], relative)
    close(np.sqrt(weights @ (values - mean) ** 2), theirs["sd"], relative)


def test_posterior_of_a_gaussian_by_quadrature() -> None:
    theirs = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]["exact"]
    model = Gaussian()
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    log_evidence, weights, values = grid_posterior(
        model, data, np.linspace(2.9, 4.1, 121), np.linspace(-0.25, 0.55, 121)
    )
    close(log_evidence, theirs["log_evidence"], 0, 1e-8)
    mu, sigma = np.asarray(values["mu"]), np.asarray(values["sigma"])
    assert_moments(mu, weights, theirs["mu"], 1e-8)
    assert_moments(sigma, weights, theirs["sigma"], 1e-8)
    assert_moments(np.log(sigma), weights, theirs["log_sigma"], 1e-8)
    together = weights @ ((mu - weights @ mu) * (np.log(sigma) - weights @ np.log(sigma)))
    close(together, theirs["cov_mu_logsigma"], 1e-5)


def test_posterior_of_random_effects_by_quadrature() -> None:
    theirs = reference("posterior_exact")["cases"]["eight_schools"]
    model = RandomEffects(mean_scale=5.0, between_scale=5.0)
    data = as_dataset(bundled("eight_schools"), model)
    log_evidence, weights, values = grid_posterior(
        model, data, np.linspace(-45, 50, 191), np.linspace(-20, 12, 641)
    )
    close(log_evidence, theirs["log_evidence"], 0, 1e-6)
    mu, tau = np.asarray(values["mu"]), np.asarray(values["tau"])
    assert_moments(mu, weights, theirs["mu"], 1e-6)
    assert_moments(tau, weights, theirs["tau"], 1e-4)
    assert_moments(np.log(tau), weights, theirs["log_tau"], 1e-4)
    effect, variance = jax.vmap(lambda v: model.group_effects(v, data))(values)
    effect, variance = np.asarray(effect), np.asarray(variance)
    for j, school in enumerate(theirs["theta"]):
        mean = float(weights @ effect[:, j])
        total = weights @ (variance[:, j] + (effect[:, j] - mean) ** 2)
        close([mean, np.sqrt(total)], [school["mean"], school["sd"]], 1e-4)


def test_mode_of_a_gaussian_on_the_natural_scale() -> None:
    theirs = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]["map_no_jacobian"]
    method = MaximumAPosteriori(restarts=3)
    args = (Gaussian(), "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for name in ("mu", "sigma"):
        close(estimate.center.value[name], theirs[name], 1e-7)
    prior = numpyro_terms(of.model, of.data, _point(estimate))[0]
    joint = estimate.log_likelihood + sum(float(jnp.sum(term)) for term in prior.values())
    close(joint, theirs["log_joint"], 0, 1e-8)


def test_laplace_of_a_gaussian() -> None:
    case_ = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]
    theirs = case_["map_logsigma_with_jacobian"]
    model = Gaussian()
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    values, hessian, height = unconstrained_mode(model, data)
    close(values["mu"], theirs["mu"], 1e-7)
    close(values["sigma"], theirs["sigma"], 1e-7)
    close(height, theirs["log_joint_plus_jac"], 0, 1e-8)
    # their Hessian is by differences
    close(np.sqrt(np.diag(np.linalg.inv(hessian))), theirs["laplace_sd"], 1e-5)
    evidence = height + np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(hessian)[1]
    close(evidence, theirs["laplace_log_evidence"], 0, 1e-5)


def test_stan_mode_on_the_natural_scale() -> None:
    theirs = reference("posterior_gaussian_mixture_stan")["map_no_jacobian"]
    method = MaximumAPosteriori(restarts=3)
    args = (STAN, "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for ours, name in (("mu", "mu"), ("sigma", "sigma"), ("weights", "w")):
        close(estimate.center.value[ours], theirs["params"][name], 1e-6)
    prior = numpyro_terms(of.model, of.data, _point(estimate))[0]
    joint = estimate.log_likelihood + sum(float(jnp.sum(term)) for term in prior.values())
    close(joint, theirs["log_density_at_map"], 0, 1e-7)
    of_ = density(of.model, of.data)
    hessian = -np.asarray(derivatives(of_, "joint").hessian(of_.unconstrain(_point(estimate))))
    assert_stan_chart(hessian, theirs)


def test_stan_mode_on_the_unconstrained_scale() -> None:
    theirs = reference("posterior_gaussian_mixture_stan")["map_unconstrained_with_jacobian"]
    data = as_dataset(bundled("faithful"), STAN, ("eruptions",))
    values, hessian, height = unconstrained_mode(STAN, data)
    for ours, name in (("mu", "mu"), ("sigma", "sigma"), ("weights", "w")):
        close(values[ours], theirs["params"][name], 1e-6)
    close(height, theirs["log_density_at_map"], 0, 1e-7)
    assert_stan_chart(hessian, theirs)
    evidence = height + 2.5 * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(hessian)[1]
    close(evidence, theirs["laplace_log_evidence"], 0, 1e-5)


def _point(estimate: Estimate) -> Values:
    return {str(name): jnp.asarray(array.data) for name, array in estimate.point.items()}


def unconstrained_mode(model: Model, data: xr.Dataset) -> tuple[Values, np.ndarray, float]:
    """The mode with the Jacobian, minus the Hessian there and the height."""
    values, hessian, problems, _ = fit_optimum(
        model, data, np.random.default_rng(1), language="numpyro", objective="posterior", restarts=3
    )
    assert problems == ()
    of = density(model, data)
    height = derivatives(of, "posterior").value_and_gradient(of.unconstrain(values))[0]
    return values, hessian, float(height)


def assert_stan_chart(hessian: np.ndarray, theirs: Any) -> None:
    """Stan puts the logit of the weight last; the charts agree otherwise."""
    order = [1, 2, 3, 4, 0]
    ours = hessian[np.ix_(order, order)]
    scale = np.abs(theirs["unconstrained_hessian"]).max()
    close(ours, theirs["unconstrained_hessian"], 1e-6, 1e-7 * scale)
    close(np.sqrt(np.diag(np.linalg.inv(ours))), theirs["laplace_sd_unconstrained"], 1e-6)
