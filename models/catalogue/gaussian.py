"""The Gaussian: x_i ~ N(μ, σ²), or x_i ~ N_D(μ, Σ) with Σ = diag(σ) L Lᵀ diag(σ).

The maximum of the likelihood is μ̂ = x̄, Σ̂ = (1/N) Σ_i (x_i − x̄)(x_i − x̄)ᵀ; the information per
observation is diag(1/σ², 2/σ²) about (μ, σ), and Σ⁻¹ ⊕ ½ Dᵀ(Σ⁻¹ ⊗ Σ⁻¹)D about (μ, vech Σ).
Reference: Lehmann & Casella (1998), Theory of Point Estimation, §2.5-2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from jax import Array
from jax.scipy.stats import multivariate_normal

from models.capabilities import Equivariance
from models.catalogue._correlation import pymc_cholesky_correlation
from models.catalogue._normal import normal_information, spread, vech
from models.data.dataset import coords
from models.settings import Finite, Positive, Size
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm


@final
@dataclass(frozen=True)
class Gaussian(Model):
    """Gaussian with independent priors on location, scale and correlation.

    Attributes:
        dim: number of columns D; 1 is the univariate model in (mu, sigma).
        mean_loc, mean_scale: prior Normal of each location, units of the data.
        scale_scale: prior HalfNormal scale of each standard deviation, units of the data.
        concentration: prior LKJ concentration of the correlation matrix; 1 is uniform.
    """

    dim: Size = 1
    mean_loc: Finite = 0.0
    mean_scale: Positive = 10.0
    scale_scale: Positive = 10.0
    concentration: Positive = 1.0

    name: ClassVar[str] = "gaussian"
    equivariances: ClassVar[tuple[Equivariance, ...]] = (
        Equivariance("y", ("y", "mu", "mean"), {"sigma": 1, "scale": 1}),
    )
    referee_refusal: ClassVar[str] = ""

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return (
            (cls(), "faithful", ("eruptions",)),
            (cls(dim=2, mean_scale=100.0, scale_scale=20.0), "faithful", ("eruptions", "waiting")),
            (cls(dim=4), "iris", ("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width")),
        )

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        if self.dim == 1:
            return Parameter("mu", "real"), Parameter("sigma", "positive")
        return (
            Parameter("mean", "real", ("variable",)),
            Parameter("scale", "positive", ("variable",)),
            Parameter("correlation_cholesky", "correlation_cholesky", ("variable", "variable_")),
        )

    @property
    def truth(self) -> Values:
        if self.dim == 1:
            return {"mu": jnp.asarray(3.0), "sigma": jnp.asarray(2.0)}
        correlation = 0.5 * np.eye(self.dim) + 0.5
        return {
            "mean": jnp.linspace(-1.0, 2.0, self.dim),
            "scale": jnp.linspace(1.0, 2.0, self.dim),
            "correlation_cholesky": jnp.asarray(np.linalg.cholesky(correlation)),
        }

    @property
    def quantity_table(self) -> tuple[Parameter, ...]:
        if self.dim == 1:
            return self.parameters
        covariance = Parameter("covariance", "covariance", ("variable", "variable_"))
        return self.parameters[0], covariance

    def quantities(self, values: Values) -> Values:
        if self.dim == 1:
            return values
        return {"mean": values["mean"], "covariance": _covariance(values)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        if self.dim == 1:
            y = rng.normal(float(values["mu"]), float(values["sigma"]), n)
            return xr.Dataset({"y": ("obs", y)})
        mean, factor = np.asarray(values["mean"]), np.asarray(_factor(values))
        y = mean + rng.standard_normal((n, self.dim)) @ factor.T
        return xr.Dataset({"y": (("obs", "variable"), y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Any:
        y = np.asarray(data["y"].data)
        scale = spread(y) * np.exp(0.3 * rng.standard_normal(y.shape[1:]))
        mean = y.mean(axis=0) + 0.3 * spread(y) * rng.standard_normal(y.shape[1:])
        # plain arrays: to make JAX ones would cost as much as all of the above
        if self.dim == 1:
            return {"mu": np.asarray(mean), "sigma": np.asarray(scale)}
        return {"mean": mean, "scale": scale, "correlation_cholesky": np.eye(self.dim)}

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        if self.dim == 1:
            mu = numpyro.sample("mu", dist.Normal(self.mean_loc, self.mean_scale))
            sigma = numpyro.sample("sigma", dist.HalfNormal(self.scale_scale))
            with numpyro.plate("obs", y.shape[0]):
                numpyro.sample("y", dist.Normal(mu, sigma), obs=y)
            return
        with numpyro.plate("variable", self.dim):
            mean = numpyro.sample("mean", dist.Normal(self.mean_loc, self.mean_scale))
            scale = numpyro.sample("scale", dist.HalfNormal(self.scale_scale))
        correlation = dist.LKJCholesky(self.dim, self.concentration)
        cholesky = numpyro.sample("correlation_cholesky", correlation)
        with numpyro.plate("obs", y.shape[0]):
            factor = scale[:, None] * cholesky
            numpyro.sample("y", dist.MultivariateNormal(mean, scale_tril=factor), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            if self.dim == 1:
                mu = pm.Normal("mu", self.mean_loc, self.mean_scale)
                sigma = pm.HalfNormal("sigma", self.scale_scale)
                pm.Normal("y", mu, sigma, observed=data["y"].data, dims="obs")
                return program
            mean = pm.Normal("mean", self.mean_loc, self.mean_scale, dims="variable")
            scale = pm.HalfNormal("scale", self.scale_scale, dims="variable")
            name = "correlation_cholesky"
            factor = scale[:, None] * pymc_cholesky_correlation(name, self.dim, self.concentration)
            pm.MvNormal("y", mean, chol=factor, observed=data["y"].data, dims=("obs", "variable"))
        return program

    def maximum_likelihood(self, data: xr.Dataset) -> Values:
        """Sample mean and 1/N (co)variance."""
        y = data["y"].data
        numbers = y.__array_namespace__()  # of plain arrays plain ones, without compilation
        mean = y.mean(axis=0)
        if self.dim == 1:
            return {"mu": mean, "sigma": y.std()}
        covariance = (y - mean).T @ (y - mean) / y.shape[0]
        scale = numbers.sqrt(numbers.diagonal(covariance))
        cholesky = numbers.linalg.cholesky(covariance / (scale[:, None] * scale))
        return {"mean": mean, "scale": scale, "correlation_cholesky": cholesky}

    def sampling_moments(self, values: Values, n: int) -> tuple[Values, Values]:
        """σ̂ is σ/√n times a chi variable, and Σ̂ is Wishart(n − 1, Σ)/n."""
        from scipy.stats import chi

        if self.dim == 1:
            mu, sigma = values["mu"], values["sigma"]
            share = float(chi.mean(n - 1)) / jnp.sqrt(n)
            sd = {"mu": sigma / jnp.sqrt(n), "sigma": sigma * jnp.sqrt(1 - 1 / n - share**2)}
            return {"mu": mu, "sigma": share * sigma}, sd
        covariance = _covariance(values)
        variance = jnp.diag(covariance)
        square = covariance**2 + jnp.outer(variance, variance)
        mean = {"mean": values["mean"], "covariance": (1 - 1 / n) * covariance}
        return mean, {"mean": jnp.sqrt(variance / n), "covariance": jnp.sqrt((n - 1) * square) / n}

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array:
        if self.dim == 1:
            return jnp.stack([values["mu"], values["sigma"]])
        return jnp.concatenate([values["mean"], vech(_covariance(values))])

    def expected_information(self, values: Values, data: xr.Dataset) -> Array:
        n = data.sizes["obs"]
        if self.dim == 1:
            return n * jnp.diag(jnp.array([1.0, 2.0])) / values["sigma"] ** 2
        return n * normal_information(_covariance(values))

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """statsmodels: one least-squares regression on a constant per column."""
        import statsmodels.api as sm

        y = np.asarray(data["y"].data).reshape(data.sizes["obs"], -1)
        fits = [sm.OLS(column, np.ones_like(column)).fit() for column in y.T]
        mean = jnp.stack([fit.params[0] for fit in fits])
        residuals = np.stack([fit.resid for fit in fits])
        covariance = jnp.asarray(residuals @ residuals.T / y.shape[0])
        error = jnp.sqrt(jnp.diag(covariance) / y.shape[0])
        if self.dim == 1:
            sigma = jnp.sqrt(covariance[0, 0])
            return {"mu": mean[0], "sigma": sigma}, {"mu": error[0]}, float(fits[0].llf)
        log_likelihood = float(jnp.sum(multivariate_normal.logpdf(y, mean, covariance)))
        return {"mean": mean, "covariance": covariance}, {"mean": error}, log_likelihood


@final
@dataclass(frozen=True)
class ConjugateGaussian(Model):
    """Gaussian with its conjugate prior: σ² ~ InvGamma(a, b), μ | σ² ~ N(m, σ²/κ).

    Posterior κ' = κ + N, m' = (κm + Nx̄)/κ', a' = a + N/2,
    b' = b + ½Σ(x_i − x̄)² + κN(x̄ − m)²/(2κ').
    Reference: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution, §6.

    Attributes:
        loc: m, prior location of μ, units of the data.
        precision: κ, prior sample size of μ.
        shape: a, prior shape of σ².
        rate: b, prior scale of σ², units of the data squared.
    """

    loc: Finite = 3.0
    precision: Positive = 0.1
    shape: Positive = 2.0
    rate: Positive = 1.0

    name: ClassVar[str] = "conjugate_gaussian"
    equivariances: ClassVar[tuple[Equivariance, ...]] = (
        Equivariance("y", ("y", "mu"), {"sigma2": 2}),
    )

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return ((cls(), "faithful", ("eruptions",)),)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return Parameter("sigma2", "positive"), Parameter("mu", "real")

    @property
    def truth(self) -> Values:
        return {"sigma2": jnp.asarray(4.0), "mu": jnp.asarray(3.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        y = rng.normal(float(values["mu"]), np.sqrt(float(values["sigma2"])), n)
        return xr.Dataset({"y": ("obs", y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        y = np.asarray(data["y"].data)
        sigma2 = spread(y) ** 2 * np.exp(0.5 * rng.standard_normal())
        mu = y.mean() + 0.3 * spread(y) * rng.standard_normal()
        return {"sigma2": jnp.asarray(sigma2), "mu": jnp.asarray(mu)}

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        sigma2 = numpyro.sample("sigma2", dist.InverseGamma(self.shape, self.rate))
        sigma = jnp.sqrt(sigma2)
        mu = numpyro.sample("mu", dist.Normal(self.loc, sigma / self.precision**0.5))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(mu, sigma), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            sigma2 = pm.InverseGamma("sigma2", alpha=self.shape, beta=self.rate)
            sigma = pm.math.sqrt(sigma2)
            mu = pm.Normal("mu", self.loc, sigma / self.precision**0.5)
            pm.Normal("y", mu, sigma, observed=data["y"].data, dims="obs")
        return program

    def maximum_likelihood(self, data: xr.Dataset) -> Values:
        """Sample mean and 1/N variance."""
        y = data["y"].data
        return {"sigma2": y.var(), "mu": y.mean()}

    def sampling_moments(self, values: Values, n: int) -> tuple[Values, Values]:
        """σ̂² is σ²/n times a chi-squared variable with n − 1 degrees of freedom."""
        sigma2 = values["sigma2"]
        mean = {"sigma2": (1 - 1 / n) * sigma2, "mu": values["mu"]}
        return mean, {"sigma2": sigma2 * jnp.sqrt(2 * (n - 1)) / n, "mu": jnp.sqrt(sigma2 / n)}

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array:
        return jnp.stack([values["mu"], values["sigma2"]])

    def expected_information(self, values: Values, data: xr.Dataset) -> Array:
        variance = values["sigma2"]
        return data.sizes["obs"] * jnp.diag(jnp.stack([1 / variance, 0.5 / variance**2]))

    def exact_posterior(self, data: xr.Dataset) -> Mapping[str, Any]:
        """Marginals: σ² is inverse gamma, μ is Student t with 2a' degrees of freedom."""
        from scipy.stats import invgamma, t

        m, kappa, a, b = self._posterior(data)
        return {"sigma2": invgamma(a, scale=b), "mu": t(2 * a, m, np.sqrt(b / (a * kappa)))}

    def exact_log_evidence(self, data: xr.Dataset) -> float:
        from scipy.special import gammaln

        _, kappa, a, b = self._posterior(data)
        prior = self.shape * np.log(self.rate) - gammaln(self.shape) + 0.5 * np.log(self.precision)
        posterior = a * np.log(b) - gammaln(a) + 0.5 * np.log(kappa)
        return float(prior - posterior - 0.5 * data.sizes["obs"] * np.log(2 * np.pi))

    def _posterior(self, data: xr.Dataset) -> tuple[float, float, float, float]:
        y = np.asarray(data["y"].data)
        n, mean = y.size, y.mean()
        kappa = self.precision + n
        shift = self.precision * n * (mean - self.loc) ** 2 / kappa
        b = self.rate + 0.5 * n * y.var() + 0.5 * shift
        return (self.precision * self.loc + n * mean) / kappa, kappa, self.shape + n / 2, b


def _factor(values: Values) -> Array:
    return values["scale"][:, None] * values["correlation_cholesky"]


def _covariance(values: Values) -> Array:
    factor = _factor(values)
    return factor @ factor.T
