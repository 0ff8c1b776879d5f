"""Numbers of independent software and of exact quadrature are reproduced.

Source of every number: `tests/reference/*.json`, which names the software, the call and the data
of each; `tests/reference/README.md` states how closely each must be met.

* gaussian_univariate, gaussian_multivariate: R 4.2.2, MASS, mvtnorm, lavaan, numDeriv, sandwich;
* gaussian_mixture_univariate, gaussian_mixture_multivariate: R, mclust 6.0.0, numDeriv;
* ppca, factor_analysis: R (eigen, factanal with a Newton polish), lavaan;
* random_effects: R, metafor 3.8.1;
* posterior_exact: quadrature in R;
* posterior_gaussian_mixture_stan: rstan 2.21.7, its modes with and without the Jacobian.

Numbers that need draws are held in `test_references_posterior.py`, variational optima in
`test_gaussian_vi.py`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.stats import chi2, invgamma, norm

from comparisons.case import Case
from comparisons.claims.bic import fit_criteria
from comparisons.claims.fisher_standard_errors import standard_errors
from inference.information.derivatives import derivatives
from inference.information.inversion import invert
from inference.information.matrices import expected, louis, observed, outer_product
from inference.methods.closed_form import ClosedForm
from inference.methods.exact_posterior import ExactPosterior
from inference.methods.expectation_maximisation import ExpectationMaximisation
from inference.methods.laplace import Laplace
from inference.methods.maximum_a_posteriori import MaximumAPosteriori
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.factor_analysis import FactorAnalysis, ProbabilisticPCA, loading_matrix
from models.catalogue.gaussian import ConjugateGaussian, Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.catalogue.random_effects import RandomEffects
from models.data.dataset import as_dataset
from models.data.files import bundled
from models.programs.density import density, units
from models.programs.numpyro import numpyro_terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.estimate import Estimate
    from inference.method import Method
    from models.spec import Model, Values

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
    return {row.criterion: row.value for row in fit_criteria(of)}


def sizes(of: Case) -> tuple[int, int]:
    """Free parameters and units."""
    return density(of.model, of.data).size, units(of.model, of.data)


def close(ours: Any, theirs: Any, relative: float, absolute: float = 0.0) -> None:
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(theirs, float), rtol=relative, atol=absolute
    )


def corner_covariances(
    of: Case, estimate: Estimate, function: Callable[[Values], Any]
) -> dict[str, np.ndarray]:
    """Covariance of any function of the parameters in each corner, by the delta method."""
    density_ = density(of.model, of.data)
    u = density_.unconstrain({str(n): jnp.asarray(a.data) for n, a in estimate.point.items()})
    jacobian = np.asarray(jax.jacfwd(lambda v: function(density_.constrain(v)))(u))
    scores = outer_product(density_, u)
    matrices = {
        "observed": observed(density_, u),
        "expected": expected(of.model, density_, u, np.random.default_rng(0))[0],
        "opg": scores,
    }
    found = {
        name: invert(of.model, density_, u, matrix).covariance for name, matrix in matrices.items()
    }
    found["sandwich"] = found["observed"] @ scores @ found["observed"]
    return {name: jacobian @ covariance @ jacobian.T for name, covariance in found.items()}


def errors(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.diag(covariance))


def close_matrix(ours: np.ndarray, theirs: Any, relative: float) -> None:
    """Every entry, in units of the two standard errors."""
    theirs = np.asarray(theirs)
    unit = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
    close(ours / unit, theirs / unit, 0.0, relative)


# --- Gaussian -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [CLOSED, MAXIMUM], ids=lambda m: m.name)
def test_univariate_gaussian(method: Method) -> None:
    theirs = reference("gaussian_univariate")["cases"]["faithful_eruptions"]
    args = (Gaussian(), "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for name in ("mu", "sigma"):
        close(estimate.location.value[name], theirs["mle"][name], 1e-8)
        close(estimate.sd.value[name], theirs["analytic"][f"se_{name}"], 1e-6)
    found = criteria(of)
    close(estimate.log_likelihood, theirs["loglik"], 1e-8)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    close([found["aic"], found["bic"]], [theirs["R_AIC"], theirs["R_BIC"]], 1e-8)
    assert sizes(of) == (theirs["n_params"], theirs["n"])
    corners, problem = standard_errors(of, estimate)
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
    sigma = float(estimate.location.value["sigma"])
    close(np.log(sigma), theirs["mle"]["log_sigma"], 1e-8)
    same = corner_covariances(of, estimate, lambda v: jnp.stack([v["mu"], v["sigma"]]))
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich"), ("opg", "opg")):
        close_matrix(same[corner], theirs[f"cov_{key}_mu_sigma"], 1e-6)
    close_matrix(same["sandwich"], theirs["analytic"]["sandwich_cov_mu_sigma"], 1e-8)
    by_corner = {corner: errors(covariance) for corner, covariance in same.items()}
    close(by_corner["expected"], list(theirs["fitdistr_se"].values()), 1e-8)
    ratio = by_corner["sandwich"][1] / by_corner["observed"][1]
    close(ratio, theirs["sandwich_over_obs_se_ratio_sigma"], 1e-6)
    # lm divides by n − 1
    robust, n = theirs["sandwich_pkg_se_mu"], theirs["n"]
    close(by_corner["sandwich"][0], robust["HC0_via_sandwich"], 1e-8)
    close(by_corner["observed"][0] * np.sqrt(n / (n - 1)), robust["vcov_lm"], 1e-8)
    close(sigma * np.sqrt(n / (n - 1)), theirs["sd_unbiased"], 1e-8)
    # E s_μ s_σ = γ₁/σ² and E s_σ² = (γ₂ + 2)/σ²: the scores tell skewness and kurtosis
    close(same["sandwich"][0, 1] * 2 * n / sigma**2, theirs["skewness"], 1e-6)
    close(same["sandwich"][1, 1] * 4 * n / sigma**2 - 2, theirs["excess_kurtosis"], 1e-6)

    log = corner_covariances(of, estimate, lambda v: jnp.stack([v["mu"], jnp.log(v["sigma"])]))
    close_matrix(log["observed"], theirs["cov_obs_mu_logsigma"], 1e-6)
    close_matrix(log["sandwich"], theirs["cov_sandwich_mu_logsigma"], 1e-6)
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich")):
        wanted = [theirs[f"se_{key}"][n] for n in ("mu", "log_sigma")]
        close(errors(log[corner]), wanted, 1e-6)
    close(errors(log["expected"])[1], theirs["analytic"]["se_log_sigma"], 1e-8)
    square = corner_covariances(of, estimate, lambda v: v["sigma"][None] ** 2)
    close(square["expected"], [[theirs["analytic"]["cramer_rao_bound_var_sigma2"]]], 1e-8)
    conjugate = fitted(ConjugateGaussian(), "faithful", ("eruptions",), CLOSED)
    close(conjugate.location.value["sigma2"], theirs["mle"]["sigma2"], 1e-8)
    close(
        conjugate.sd.value["sigma2"] ** 2,
        theirs["analytic"]["cramer_rao_bound_var_sigma2"],
        1e-8,
    )


def test_multivariate_gaussian() -> None:
    theirs = reference("gaussian_multivariate")["cases"]["faithful"]
    args = (Gaussian(dim=2, mean_scale=100.0), "faithful", ("eruptions", "waiting"), CLOSED)
    of, estimate = case(*args), fitted(*args)
    close(estimate.location.value["mean"], theirs["mle"]["mean"], 1e-8)
    covariance, n = estimate.location.value["covariance"].data, theirs["n"]
    close(covariance, theirs["mle"]["cov"], 1e-8)
    close(covariance * n / (n - 1), theirs["mle"]["cov_unbiased"], 1e-8)
    close(np.linalg.slogdet(covariance)[1], theirs["mle"]["logdet_cov"], 1e-8)
    found = criteria(of)
    close(estimate.log_likelihood, [theirs["loglik"], theirs["lavaan"]["loglik"]], 1e-8)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    close(-found["bic"], theirs["mclust_bic"], 1e-8)
    assert sizes(of) == (theirs["n_params"], n)
    corners, problem = standard_errors(of, estimate)
    assert problem == ""
    names = [str(name) for name in estimate.covariance["quantity"].data]
    columns = ("eruptions", "waiting")
    order = [names.index(f"mean[{columns[i]}]") for i in (0, 1)]
    pairs = ((0, 0), (1, 0), (1, 1))
    order += [names.index(f"covariance[{columns[i]}, {columns[j]}]") for i, j in pairs]
    close(corners["expected"][0][order], theirs["se_analytic_expected"], 1e-8)
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich"), ("opg", "opg")):
        close(corners[corner][0][order], theirs[f"se_{key}"], 1e-6)
    lavaan, order = theirs["lavaan"], [*order[2:], *order[:2]]
    ours = [*covariance[np.tril_indices(2)], *estimate.location.value["mean"].data]
    close(ours, lavaan["est"], 1e-8)
    close(corners["observed"][0][order], lavaan["se_observed"], 1e-6)
    close(corners["sandwich"][0][order], lavaan["se_robust_MLR"], 1e-6)

    def correlation(values: Values) -> Any:
        return values["correlation_cholesky"] @ values["correlation_cholesky"].T

    def natural(values: Values) -> Any:
        full = jnp.outer(values["scale"], values["scale"]) * correlation(values)
        return jnp.concatenate([values["mean"], full[np.tril_indices(2)]])

    def transformed(values: Values) -> Any:
        return jnp.append(jnp.log(values["scale"]), correlation(values)[1, 0])

    # their Hessian is by differences, which leaves 1e-7 between mean and covariance
    same = corner_covariances(of, estimate, natural)
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich")):
        close_matrix(same[corner], theirs[f"cov_{key}"], 1e-6)
    close(transformed(_point(estimate)), theirs["transformed"]["est"], 1e-8)
    other = corner_covariances(of, estimate, transformed)
    for corner, key in (("observed", "obs"), ("sandwich", "sandwich")):
        close(errors(other[corner]), theirs["transformed"][f"se_{key}"], 1e-6)


# --- Gaussian mixture -----------------------------------------------------------------------------


def test_univariate_mixture() -> None:
    theirs = reference("gaussian_mixture_univariate")["cases"]["faithful_eruptions_V"]
    natural = theirs["natural"]
    args = (STAN, "faithful", ("eruptions",), MAXIMUM)
    of, estimate = case(*args), fitted(*args)
    value = estimate.location.value
    ours = [float(value["weights"][0]), *value["mu"].data, *value["sigma"].data]
    close(ours, natural["est"], 1e-5)
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic_standard"]], 0, 2e-5)
    assert sizes(of) == (theirs["df"], theirs["n"])
    check = theirs["crosscheck"]
    close(estimate.log_likelihood, check["mixtools_loglik"], 0, 1e-5)
    # flexmix stops early
    assert 0 <= estimate.log_likelihood - check["flexmix"]["loglik"] < 1e-3
    corners, problem = standard_errors(of, estimate)
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

    def natural(values: Values) -> Any:
        return jnp.concatenate([values["weights"][:1], values["mu"], values["sigma"]])

    close(unconstrained(_point(estimate)), theirs["unconstrained"]["est"], 1e-5)
    found = corner_covariances(of, estimate, unconstrained)
    for corner, key, relative in (
        ("observed", "obs", 1e-4),
        ("opg", "opg", 1e-4),
        ("sandwich", "sandwich", 1e-4),
        ("expected", "expected", 1e-3),
    ):
        close(errors(found[corner]), theirs["unconstrained"][f"se_{key}"], relative)
        if corner != "opg":
            close_matrix(found[corner], theirs["unconstrained"][f"cov_{key}"], relative)
    same = corner_covariances(of, estimate, natural)
    close_matrix(same["observed"], theirs["natural"]["cov_obs"], 1e-4)


def test_complete_data_standard_errors_of_the_univariate_mixture() -> None:
    theirs = reference("gaussian_mixture_univariate")["cases"]["faithful_eruptions_V"]
    args = (STAN, "faithful", ("eruptions",), MAXIMUM)
    of, estimate = case(*args), fitted(*args)
    of_ = density(of.model, of.data)
    u = of_.unconstrain(_point(estimate))
    inverse = np.linalg.inv(louis(of.model, of_, u).complete)
    jacobian = np.asarray(
        jax.jacfwd(
            lambda v: jnp.append(of_.constrain(v)["mu"], of_.constrain(v)["weights"][0]),
        )(u)
    )
    naive = theirs["naive_complete_data_se"]
    close(errors(jacobian @ inverse @ jacobian.T), [*naive["mu"], naive["w1"]], 1e-4)


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
    close(-found["bic"], theirs["bic_mclust"], 0, 2e-5)
    # mclust's own stopping rule ends below the maximum
    assert -1e-5 < estimate.log_likelihood - theirs["loglik_default_tol"] < 1e-3
    assert -2e-5 < -found["bic"] - theirs["bic_mclust_default_tol"] < 2e-3
    assert sizes(of) == (theirs["df"], 272)
    value, parameters = estimate.location.value, theirs["parameters"]
    if k > 1:
        close(value["weights"], parameters["pro"], 1e-4)
    close(value["mean"], parameters["mean"], 1e-4)
    ours = np.broadcast_to(value["covariance"].data, (k, 2, 2))
    close(ours, np.reshape(parameters["cov"], (k, 2, 2)), 1e-4, 1e-9)
    if "multi_start" in theirs:
        best = theirs["multi_start"]
        order = np.argsort(np.asarray(best["mean"])[:, 0])
        close(estimate.log_likelihood, best["best_loglik"], 0, 1e-5)
        close(value["weights"], np.asarray(best["pro"])[order], 1e-4)
        close(value["mean"], np.asarray(best["mean"])[order], 1e-4)
        close(ours, np.asarray(best["var"])[order], 1e-4)
        close(value["weights"].data.min() * 272, best["min_component_n"], 1e-4)
        close(np.linalg.eigvalsh(ours).min(), best["min_sd_or_min_eig"], 1e-4)


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
    value = estimate.location.value
    close(estimate.log_likelihood, theirs["loglik"], 1e-8)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 1e-8)
    close(value["sigma2"], theirs["sigma2"], exact)
    close(value["mean"], theirs["mean"], exact)
    close(value["covariance"], theirs["implied_cov"], exact, exact)
    eigenvalue = theirs["eigenvalues_n_divisor"]
    close(value["eigenvalue"], eigenvalue[:2], exact)
    close(value["sigma2"], np.mean(eigenvalue[2:]), exact)
    k, n = sizes(of)
    assert (k, n) == (theirs["n_params"], theirs["n"])
    close(estimate.log_likelihood / n, theirs["loglik_per_obs"], 1e-8)
    ours = np.asarray(loading_matrix(_point(estimate)["loading"], theirs["d"], theirs["q"]))
    # loadings are unique up to rotation
    close(ours @ ours.T, np.asarray(theirs["W"]) @ np.transpose(theirs["W"]), exact, exact)
    if method is CLOSED:
        of_, point = density(of.model, of.data), _point(estimate)
        u = of_.unconstrain(point)
        information = expected(of.model, of_, u, np.random.default_rng(0))[0]
        # σ is a coordinate of its own, log σ: ∂σ²/∂u = 2σ²
        place = of_.coordinates.index("sigma")
        variance = invert(of.model, of_, u, information).covariance[place, place]
        close(2 * value["sigma2"] * np.sqrt(variance), theirs["se_sigma2_asymptotic"], exact)


@pytest.mark.parametrize(("factors", "method"), [(1, MAXIMUM), (2, EM)])
def test_factor_analysis(factors: int, method: Method) -> None:
    theirs = reference("factor_analysis")["cases"][f"fa_sim6_q{factors}"]
    args = (FactorAnalysis(factors=factors), "fa_sim6", ITEMS, method)
    of, estimate = case(*args), fitted(*args)
    value = estimate.location.value
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    found = criteria(of)
    close([found["aic"], found["bic"]], [theirs["aic"], theirs["bic"]], 0, 2e-5)
    close(value["uniqueness"], theirs["psi_raw_scale"], 1e-5)
    close(value["covariance"], theirs["implied_cov_raw_scale"], 1e-5)
    correlation_scale = value["uniqueness"].data / np.diag(value["covariance"].data)
    close(correlation_scale, list(theirs["uniquenesses_correlation_scale"].values()), 1e-5)
    close(correlation_scale, list(theirs["uniquenesses_factanal"].values()), 1e-5)
    close(1 - correlation_scale, theirs["communalities"], 1e-5)
    # Λ with ΛᵀΨ⁻¹Λ diagonal, largest first, and columns of positive sum
    loading = np.asarray(loading_matrix(_point(estimate)["loading"], 6, factors))
    loading = loading / np.sqrt(np.diag(value["covariance"].data))[:, None]
    _, rotation = np.linalg.eigh(loading.T @ (loading / correlation_scale[:, None]))
    canonical = loading @ rotation[:, ::-1]
    canonical = canonical * np.sign(canonical.sum(axis=0))
    close(canonical, theirs["loadings_unrotated_correlation_scale"], 0, 1e-5)
    if factors > 1:
        varimax = np.asarray(theirs["loadings_varimax_correlation_scale"])
        close(canonical @ canonical.T, varimax @ varimax.T, 1e-5)


def test_likelihood_ratio_of_factor_analysis() -> None:
    saturated = Gaussian(dim=6)
    data = as_dataset(bundled("fa_sim6"), saturated, ITEMS)
    of = density(saturated, data)
    maximum = of.unconstrain(saturated.maximum_likelihood(data))
    above, k_above, n = float(jax.jit(of.log_likelihood)(maximum).sum()), of.size, 500
    for factors, method in ((1, MAXIMUM), (2, EM)):
        theirs = reference("factor_analysis")["cases"][f"fa_sim6_q{factors}"]
        args = (FactorAnalysis(factors=factors), "fa_sim6", ITEMS, method)
        below, k = fitted(*args).log_likelihood, sizes(case(*args))[0]
        assert sizes(case(*args)) == (theirs["n_params_with_means"], theirs["n"])
        assert k_above - k == theirs["factanal_dof"]
        close(above, theirs["loglik_saturated"], 1e-8)
        ratio = 2 * (above - below)
        close(ratio, theirs["LR_stat_uncorrected"], 0, 2e-5)
        close(ratio / n, theirs["factanal_criteria_objective"], 0, 2e-5 / n)
        # Bartlett's correction
        corrected = (n - 1 - (2 * 6 + 5) / 6 - 2 * factors / 3) * ratio / n
        close(corrected, theirs["factanal_chisq_bartlett"], 0, 2e-5)
        # the p-value changes by a factor of exp(½ · 2e-5) at most
        close(chi2.sf(corrected, k_above - k), theirs["factanal_pvalue"], 2e-5)


def test_standard_errors_of_factor_analysis() -> None:
    theirs = reference("factor_analysis")["cases"]["fa_sim6_q1"]["lavaan"]
    args = (FactorAnalysis(factors=1), "fa_sim6", ITEMS, MAXIMUM)
    of, estimate = case(*args), fitted(*args)
    close(estimate.log_likelihood, theirs["loglik"], 0, 1e-5)
    close(criteria(of)["bic"], theirs["bic"], 0, 2e-5)
    assert sizes(of)[0] == theirs["npar"]
    place = {term: i for i, term in enumerate(theirs["term"])}
    terms = ("F=~{0}", "{0}~~{0}", "{0}~1")
    rows = [place[term.format(item)] for term in terms for item in ITEMS]

    def parameters(values: Values) -> Any:
        # the sign of a factor is free; theirs loads the first item positively
        loading = values["loading"] * jnp.sign(values["loading"][0])
        return jnp.concatenate([loading, values["scale"] ** 2, values["mean"]])

    # lavaan's optimum is within 1e-5 of the exact one, in units of the standard errors
    se = np.asarray(theirs["se_observed"])[rows]
    close(parameters(_point(estimate)) / se, np.asarray(theirs["est"])[rows] / se, 0, 1e-5)
    found = corner_covariances(of, estimate, parameters)
    for corner, key in (
        ("observed", "observed"),
        ("expected", "expected"),
        ("sandwich", "robust_MLR"),
    ):
        close(errors(found[corner]), np.asarray(theirs[f"se_{key}"])[rows], 1e-5)
    corners, problem = standard_errors(of, estimate)
    assert problem == ""
    names = [str(name) for name in estimate.covariance["quantity"].data]
    columns = of.data["variable"].data
    reported = [names.index(f"{v}[{c}]") for v in ("uniqueness", "mean") for c in columns]
    for corner in ("observed", "expected", "sandwich"):
        close(corners[corner][0][reported], errors(found[corner])[6:], 1e-8)


@pytest.mark.parametrize("method", [MAXIMUM, EM], ids=lambda m: m.name)
def test_random_effects_on_the_boundary(method: Method) -> None:
    theirs = reference("random_effects")["cases"]["eight_schools_ML"]
    args = (RandomEffects(), "eight_schools", ("y", "sigma"), method)
    of = case(*args)
    estimate = of.fit(method)
    # EM crawls towards a boundary (its rate there is 1), so it only bounds the maximum
    relative = 1e-5 if method is MAXIMUM else 1e-3
    close(estimate.location.value["mu"], theirs["mu"], relative)
    close(estimate.log_likelihood, theirs["loglik"], relative)
    if method is EM:
        return
    close(estimate.sd.value["mu"], theirs["se_mu"], 1e-5)
    assert np.isnan(estimate.sd.value["tau"])
    assert any("undefined: boundary" in problem for problem in estimate.problems)
    assert criteria(of) == {}  # the report has none of a fit on a boundary
    stats, (k, n) = theirs["fitstats"], sizes(of)
    deviance = -2 * estimate.log_likelihood
    found = {"aic": deviance + 2 * k, "bic": deviance + k * np.log(n)}
    close(found["aic"], stats["AIC:"], 1e-5)
    close(found["bic"], [stats["BIC:"], theirs["bic"]], 1e-5)
    close(found["aic"] + 2 * k * (k + 1) / (n - k - 1), stats["AICc:"], 1e-5)
    # deviance from the saturated model θ_j = y_j, which is Cochran's Q where τ = 0
    sigma = np.asarray(of.data["sigma"].data)
    saturated = -0.5 * np.log(2 * np.pi * sigma**2).sum()
    close(2 * (saturated - estimate.log_likelihood), [stats["deviance:"], theirs["QE"]], 1e-5)
    # expected information about τ² alone: v_j = σ_j² + τ² in our coordinates
    point = _point(estimate)
    own = np.diag(np.asarray(RandomEffects().expected_information(point, of.data)))
    close(own[1:].sum() ** -0.5, theirs["se_tau2"], 1e-5)
    tau2 = float(point["tau"]) ** 2
    typical = (n - 1) * (sigma**-2).sum() / ((sigma**-2).sum() ** 2 - (sigma**-4).sum())
    # both are 0 up to where an optimiser stops
    close([tau2, 100 * tau2 / (tau2 + typical)], [theirs["tau2"], theirs["I2"]], 0, 1e-4)
    close(point["tau"], theirs["tau"], 0, 1e-2)
    # the common-effect model and DerSimonian-Laird's τ² = 0 are the same point
    for key, fewer in (("eight_schools_DL", 0), ("eight_schools_EE", 1)):
        other = reference("random_effects")["cases"][key]
        close(estimate.location.value["mu"], other["mu"], 1e-5)
        close(estimate.sd.value["mu"], other["se_mu"], 1e-5)
        close(estimate.log_likelihood, other["loglik"], 1e-5)
        close(found["aic"] - 2 * fewer, other["fitstats"]["AIC:"], 1e-5)
        close(found["bic"] - fewer * np.log(n), other["fitstats"]["BIC:"], 1e-5)


def test_restricted_likelihood_of_random_effects() -> None:
    theirs = reference("random_effects")["cases"]["eight_schools_REML"]
    model = RandomEffects()
    data = as_dataset(bundled("eight_schools"), model)
    mu = np.linspace(-60.0, 75.0, 2_001)
    tau = np.array([0.0, 0.1, 1.0, 10.0])
    with np.errstate(divide="ignore"):
        points = np.stack(np.meshgrid(mu, np.log(tau)), axis=-1).reshape(-1, 2)
    heights = jax.jit(jax.vmap(density(model, data).log_likelihood))(jnp.asarray(points))
    likelihood = np.exp(np.asarray(heights.sum(axis=1)).reshape(tau.size, mu.size))
    # restricted likelihood = ∫ L(μ, τ) dμ · |XᵀX|^½, whose maximum is at τ = 0; p = 1, n − p = 7
    area = likelihood.sum(axis=1) * (mu[1] - mu[0])
    restricted = np.log(area) + 0.5 * np.log(8)
    assert restricted.argmax() == 0
    close(restricted[0], theirs["loglik"], 1e-10)
    stats = theirs["fitstats"]
    close(-2 * restricted[0], stats["deviance:"], 1e-10)
    close(-2 * restricted[0] + 4, stats["AIC:"], 1e-10)
    close(-2 * restricted[0] + 2 * np.log(7), [stats["BIC:"], theirs["bic"]], 1e-10)
    close(-2 * restricted[0] + 4 + 12 / 4, stats["AICc:"], 1e-10)
    mean = likelihood[0] @ mu / likelihood[0].sum()
    deviation = np.sqrt(likelihood[0] @ (mu - mean) ** 2 / likelihood[0].sum())
    close([mean, deviation], [theirs["mu"], theirs["se_mu"]], 1e-10)


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
        close(estimate.location.value[name], theirs[name]["mean"], 1e-10)
        close(estimate.sd.value[name], theirs[name]["sd"], 1e-10)
        for percent in (5, 25, 50, 75, 95):
            close(marginal[name].ppf(percent / 100), theirs[name][f"q{percent}"], 1e-9)
    own, inverse_gamma, student = theirs["posterior"], marginal["sigma2"], marginal["mu"]
    close(inverse_gamma.args[0], own["a_n"], 1e-10)
    close(inverse_gamma.kwds["scale"], own["b_n"], 1e-10)
    close(student.args[1], own["m_n"], 1e-10)
    close(student.args[2] ** -2 * own["b_n"] / own["a_n"], own["kappa_n"], 1e-10)


def test_mean_field_bound_of_a_conjugate_model() -> None:
    """max ELBO over q(μ) q(σ²), normal times inverse gamma, with the log joint of our program."""
    theirs = reference("posterior_exact")["cases"]["conjugate_nig_faithful_eruptions"]
    optimum = theirs["meanfield_normal_gamma"]
    model = ConjugateGaussian(loc=3.0, precision=0.1, shape=2.0, rate=1.0)
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    grid = np.linspace(-9, 9, 61)
    mu = optimum["m"] + optimum["q_mu_sd"] * grid
    level = np.log(optimum["b"] / optimum["a"]) + optimum["a"] ** -0.5 * grid
    height = log_joint_on_a_grid(model, data, level, mu, jacobian=False)[0].reshape(61, 61)

    def bound(m: float, width: float, a: float, b: float) -> float:
        """E_q[log p(y, θ) − log q(θ)] by the trapezoidal rule in (μ, log σ²)."""
        of_mu, of_level = norm(m, width), invgamma(a, scale=b)
        first = of_mu.pdf(mu) * (mu[1] - mu[0])
        second = of_level.pdf(np.exp(level)) * np.exp(level) * (level[1] - level[0])
        return float(second @ height @ first + of_mu.entropy() + of_level.entropy())

    at = (optimum["m"], optimum["q_mu_sd"], optimum["a"], optimum["b"])
    best = bound(*at)
    close(best, optimum["elbo"], 0, 1e-8)
    close(model.exact_log_evidence(data) - best, optimum["gap"], 0, 1e-8)
    close(optimum["lambda"] ** -0.5, optimum["q_mu_sd"], 1e-10)
    close(optimum["a"] / optimum["b"], optimum["E_precision"], 1e-10)
    # a maximum in each of its four numbers
    for i in range(4):
        for factor in (0.999, 1.001):
            moved = np.array(at)
            moved[i] *= factor
            assert bound(*moved) < best


def grid_posterior(
    model: Model, data: xr.Dataset, first: np.ndarray, second: np.ndarray
) -> tuple[float, np.ndarray, Values]:
    """log Z, the weights and the values on a grid of the two coordinates, trapezoidal rule."""
    heights, values = log_joint_on_a_grid(model, data, first, second)
    weights = np.exp(heights - heights.max())
    cell = (first[1] - first[0]) * (second[1] - second[0])
    log_evidence = float(np.log(weights.sum() * cell) + heights.max())
    return log_evidence, weights / weights.sum(), values


def log_joint_on_a_grid(
    model: Model, data: xr.Dataset, first: np.ndarray, second: np.ndarray, *, jacobian: bool = True
) -> tuple[np.ndarray, Values]:
    """log p(y, θ), with the log-Jacobian of the chart if wanted, and θ, by rows of `first`."""
    of = density(model, data)
    points = jnp.asarray(np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1))
    points = points.reshape(-1, 2)

    @jax.jit
    def height(u: Any) -> Any:
        return jax.lax.map(
            lambda v: (
                jnp.sum(of.log_likelihood(v)) + of.log_prior(v) + jacobian * of.log_jacobian(v)
            ),
            u,
            batch_size=1000,
        )

    return np.asarray(height(points)), jax.vmap(of.constrain)(points)


def assert_moments(values: np.ndarray, weights: np.ndarray, theirs: Any, relative: float) -> None:
    mean = float(weights @ values)
    close(mean, theirs["mean"], relative)
    close(np.sqrt(weights @ (values - mean) ** 2), theirs["sd"], relative)


def assert_quantiles(grid: np.ndarray, weights: np.ndarray, theirs: Any, absolute: float) -> None:
    """Our distribution function at their quantiles, from the weights at an equidistant grid."""
    below = CubicSpline(grid, weights / (grid[1] - grid[0])).antiderivative()
    for percent in (5, 25, 50, 75, 95):
        close(below(theirs[f"q{percent}"]) - below(grid[0]), percent / 100, 0, absolute)


def test_posterior_of_a_gaussian_by_quadrature() -> None:
    case_ = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]
    theirs = case_["exact"]
    model = Gaussian()
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    first, second = np.linspace(2.9, 4.1, 121), np.linspace(-0.25, 0.55, 121)
    log_evidence, weights, values = grid_posterior(model, data, first, second)
    close(log_evidence, [theirs["log_evidence"], case_["grid_check_logZ_coarser"]], 0, 1e-8)
    mu, sigma = np.asarray(values["mu"]), np.asarray(values["sigma"])
    assert_moments(mu, weights, theirs["mu"], 1e-8)
    assert_moments(sigma, weights, theirs["sigma"], 1e-8)
    assert_moments(np.log(sigma), weights, theirs["log_sigma"], 1e-8)
    together = weights @ ((mu - weights @ mu) * (np.log(sigma) - weights @ np.log(sigma)))
    close(together, theirs["cov_mu_logsigma"], 1e-5)
    marginal = weights.reshape(121, 121)
    assert_quantiles(first, marginal.sum(axis=1), theirs["mu"], 1e-6)
    assert_quantiles(second, marginal.sum(axis=0), theirs["log_sigma"], 1e-6)
    log_of = {name: np.log(x) for name, x in theirs["sigma"].items()}
    assert_quantiles(second, marginal.sum(axis=0), log_of, 1e-6)
    maximum = fitted(model, "faithful", ("eruptions",), CLOSED)
    ratio = theirs["post_sd_over_mle_se"]
    for name in ("mu", "sigma"):
        ours = theirs[name]["sd"] / float(maximum.sd.value[name])
        close(ours, ratio[name], 1e-6)
    relative = float(maximum.sd.value["sigma"] / maximum.location.value["sigma"])
    close(theirs["log_sigma"]["sd"] / relative, ratio["log_sigma"], 1e-6)


def test_posterior_of_random_effects_by_quadrature() -> None:
    theirs = reference("posterior_exact")["cases"]["eight_schools"]
    model = RandomEffects(mean_scale=5.0, between_scale=5.0)
    data = as_dataset(bundled("eight_schools"), model)
    first, second = np.linspace(-45, 50, 191), np.linspace(-20, 12, 641)
    log_evidence, weights, values = grid_posterior(model, data, first, second)
    check = theirs["grid_check"]
    close(log_evidence, [theirs["log_evidence"], check["logZ"]], 0, 1e-6)
    mu, tau = np.asarray(values["mu"]), np.asarray(values["tau"])
    assert_moments(mu, weights, theirs["mu"], 1e-6)
    assert_moments(tau, weights, theirs["tau"], 1e-4)
    assert_moments(np.log(tau), weights, theirs["log_tau"], 1e-4)
    close([weights @ mu, weights @ tau], [check["mu"], check["tau"]], 1e-4)
    marginal = weights.reshape(first.size, second.size)
    of_log_tau = marginal.sum(axis=0)
    assert_quantiles(first, marginal.sum(axis=1), theirs["mu"], 1e-6)
    assert_quantiles(second, of_log_tau, theirs["log_tau"], 1e-6)
    assert_quantiles(
        second, of_log_tau, {name: np.log(x) for name, x in theirs["tau"].items()}, 1e-6
    )
    below = CubicSpline(second, of_log_tau / (second[1] - second[0])).antiderivative()
    # theirs counts whole cells of a grid: its own q95 and density at 10 give 0.047431 as well
    close(below(second[-1]) - below(np.log(10)), theirs["prob_tau_gt_10"], 0, 1e-4)
    # θ_j is normal given τ, μ integrated out: a mixture of normals over the grid of τ
    effect, variance = jax.vmap(lambda v: model.group_effects(v, data))(values)
    shape = (first.size, second.size, 8)
    effect, variance = np.asarray(effect).reshape(shape), np.asarray(variance).reshape(shape)
    share = marginal / np.where(of_log_tau > 0, of_log_tau, 1.0)
    location = np.einsum("ij,ijk->jk", share, effect)
    width = np.einsum("ij,ijk->jk", share, variance + (effect - location) ** 2) ** 0.5
    for j, school in enumerate(theirs["theta"]):
        mean = float(of_log_tau @ location[:, j])
        total = of_log_tau @ (width[:, j] ** 2 + (location[:, j] - mean) ** 2)
        close([mean, np.sqrt(total)], [school["mean"], school["sd"]], 1e-4)
        for percent in (5, 25, 50, 75, 95):
            standard = (school[f"q{percent}"] - location[:, j]) / width[:, j]
            close(of_log_tau @ norm.cdf(standard), percent / 100, 0, 1e-5)


def test_mode_of_a_gaussian_on_the_natural_scale() -> None:
    theirs = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]["map_no_jacobian"]
    method = MaximumAPosteriori(restarts=3)
    args = (Gaussian(), "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for name in ("mu", "sigma"):
        close(estimate.location.value[name], theirs[name], 1e-7)
    prior = numpyro_terms(of.model, of.data, _point(estimate))[0]
    joint = estimate.log_likelihood + sum(float(jnp.sum(term)) for term in prior.values())
    close(joint, theirs["log_joint"], 0, 1e-8)


def test_laplace_of_a_gaussian() -> None:
    case_ = reference("posterior_exact")["cases"]["normal_faithful_eruptions"]
    theirs = case_["map_logsigma_with_jacobian"]
    model = Gaussian()
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    found = laplace(model, data)
    close(found.values["mu"], theirs["mu"], 1e-7)
    close(found.values["sigma"], theirs["sigma"], 1e-7)
    close(found.u[1], theirs["log_sigma"], 0, 1e-7)
    close(found.height, theirs["log_joint_plus_jac"], 0, 1e-8)
    # their Hessian is by differences
    close(errors(np.linalg.inv(found.hessian)), theirs["laplace_sd"], 1e-5)
    close(found.log_evidence, theirs["laplace_log_evidence"], 0, 1e-5)


def test_stan_mode_on_the_natural_scale() -> None:
    theirs = reference("posterior_gaussian_mixture_stan")["map_no_jacobian"]
    method = MaximumAPosteriori(restarts=3)
    args = (STAN, "faithful", ("eruptions",), method)
    of, estimate = case(*args), fitted(*args)
    for ours, name in (("mu", "mu"), ("sigma", "sigma"), ("weights", "w")):
        close(estimate.location.value[ours], theirs["params"][name], 1e-6)
    prior = numpyro_terms(of.model, of.data, _point(estimate))[0]
    joint = estimate.log_likelihood + sum(float(jnp.sum(term)) for term in prior.values())
    close(joint, theirs["log_density_at_map"], 0, 1e-7)
    of_ = density(of.model, of.data)
    u = of_.unconstrain(_point(estimate))
    assert_stan_chart(np.asarray(u), -np.asarray(derivatives(of_, "joint").hessian(u)), theirs)


def test_stan_mode_on_the_unconstrained_scale() -> None:
    theirs = reference("posterior_gaussian_mixture_stan")["map_unconstrained_with_jacobian"]
    data = as_dataset(bundled("faithful"), STAN, ("eruptions",))
    found = laplace(STAN, data)
    for ours, name in (("mu", "mu"), ("sigma", "sigma"), ("weights", "w")):
        close(found.values[ours], theirs["params"][name], 1e-6)
    close(found.height, theirs["log_density_at_map"], 0, 1e-7)
    assert_stan_chart(found.u, found.hessian, theirs)
    close(found.log_evidence, theirs["laplace_log_evidence"], 0, 1e-5)


def _point(estimate: Estimate) -> Values:
    return {str(name): jnp.asarray(array.data) for name, array in estimate.point.items()}


class Normal(NamedTuple):
    """A Laplace approximation: its mode, minus the Hessian and the height there, log Z."""

    values: Values
    u: np.ndarray
    hessian: np.ndarray
    height: float
    log_evidence: float


def laplace(model: Model, data: xr.Dataset) -> Normal:
    estimate = Laplace(restarts=3, draws=50).fit(model, data, np.random.default_rng(1))
    assert estimate.problems == ()
    of, record = density(model, data), estimate.record
    u = record["mode"].data
    height = float(derivatives(of, "posterior").value_and_gradient(jnp.asarray(u))[0])
    hessian = np.linalg.inv(record["mode_covariance"].data)
    return Normal(of.constrain(jnp.asarray(u)), u, hessian, height, record.attrs["log_evidence"])


def assert_stan_chart(u: np.ndarray, hessian: np.ndarray, theirs: Any) -> None:
    """Stan puts the logit of the weight last; the charts agree otherwise."""
    order = [1, 2, 3, 4, 0]
    close(u[order], theirs["unconstrained_point"], 0, 1e-6)
    ours = hessian[np.ix_(order, order)]
    scale = np.abs(theirs["unconstrained_hessian"]).max()
    close(ours, theirs["unconstrained_hessian"], 1e-6, 1e-7 * scale)
    close(np.linalg.eigvalsh(ours)[0], theirs["min_hessian_eig"], 1e-6)
    close(errors(np.linalg.inv(ours)), theirs["laplace_sd_unconstrained"], 1e-6)
