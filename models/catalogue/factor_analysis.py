"""Linear factor models, factors marginalised: x = μ + Wz + ε, z ~ N_q(0, I), ε ~ N_D(0, Ψ).

Hence x ~ N_D(μ, WWᵀ + Ψ), with Ψ diagonal (factor analysis) or σ²I (probabilistic PCA).  W is
identified up to rotation; it is taken lower triangular with a diagonal of free sign (a positive
one makes optimisers stick and chains mix badly), and everything is compared through WWᵀ + Ψ, its
eigenvalues and the uniquenesses, which no rotation or sign changes.
References: Rubin & Thayer (1982), Psychometrika 47; Tipping & Bishop (1999), JRSS B 61.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from jax.scipy.stats import multivariate_normal

from models.capabilities import Equivariance
from models.catalogue._normal import normal_information, spread, vech
from models.data.dataset import coords
from models.errors import DataError
from models.settings import Finite, Positive, Size
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm
    from jax import Array


@dataclass(frozen=True)
class _LinearFactors(Model):
    """Both models, whose unique variances are one for each variable or the same for all.

    Attributes:
        factors: q, number of factors.
        mean_loc, mean_scale: prior Normal of each mean, units of the data.
        loading_scale: prior Normal scale of each free loading, units of the data.
        scale_scale: prior HalfNormal scale of each unique standard deviation.
    """

    factors: Size = 1
    mean_loc: Finite = 0.0
    mean_scale: Positive = 10.0
    loading_scale: Positive = 5.0
    scale_scale: Positive = 5.0

    free_dims: ClassVar[tuple[str, ...]] = ("variable",)

    _sd: ClassVar[Parameter]
    """The unique standard deviations."""
    _variance: ClassVar[Parameter]
    """Their squares, as they are reported."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        mean = Parameter("mean", "real", ("variable",))
        return mean, Parameter("loading", "real", ("entry",)), self._sd

    @property
    def quantity_table(self) -> tuple[Parameter, ...]:
        covariance = Parameter("covariance", "covariance", ("variable", "variable_"))
        eigenvalue = Parameter("eigenvalue", "positive", ("rank",))
        return self.parameters[0], covariance, eigenvalue, self._variance

    def quantities(self, values: Values) -> Values:
        covariance = self._covariance(values)
        # where the last D − q eigenvalues are all σ², only the first q are smooth functions
        smooth = None if self._sd.dims else self.factors
        return {
            "mean": values["mean"],
            "covariance": covariance,
            "eigenvalue": jnp.linalg.eigvalsh(covariance)[..., ::-1][..., :smooth],
            self._variance.name: values[self._sd.name] ** 2,
        }

    @property
    def truth(self) -> Values:
        d, q = max(6, 2 * self.factors + 2), self.factors
        # each factor marks its own variables and leaks into the others
        row, column = np.indices((d, q))
        w = np.where(row % q == column, 1.2, 0.3) * (1 + 0.1 * row) * (-1.0) ** (row // q * column)
        return {
            "mean": jnp.linspace(-1.0, 2.0, d),
            "loading": jnp.asarray(w[np.tril_indices(d, m=q)]),
            self._sd.name: jnp.linspace(0.6, 1.0, d) if self._sd.dims else jnp.asarray(0.8),
        }

    @property
    def equivariances(self) -> tuple[Equivariance, ...]:
        return (Equivariance("y", ("y", "mean"), {"loading": 1, self._sd.name: 1}),)

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        d, q = values["mean"].shape[0], self.factors
        # plain arrays: to make JAX ones would cost ten times as much as all else
        w = np.zeros((d, q))
        w[np.tril_indices(d, m=q)] = values["loading"]
        noise = rng.standard_normal((n, d)) * np.asarray(values[self._sd.name])
        y = np.asarray(values["mean"]) + rng.standard_normal((n, q)) @ w.T + noise
        return xr.Dataset({"y": (("obs", "variable"), y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        """Perturbed principal axes."""
        y = np.asarray(data["y"].data)
        d, q = y.shape[1], self.factors
        if q >= d:
            raise DataError(f"{q} factors need more than {q} columns; the data have {d}")
        scale = spread(y)
        off = (y - y.mean(axis=0)) / scale
        _, axes = np.linalg.eigh(off.T @ off / len(y))
        rotation, _ = np.linalg.qr(axes[:q, d - q :].T)
        w = axes[:, d - q :] @ rotation * scale[:, None] * np.sqrt(0.5 * d / q)
        w = w + 0.2 * scale[:, None] * rng.standard_normal((d, q))
        unique = scale * np.exp(0.2 * rng.standard_normal(d)) * 0.7
        mean: Any = y.mean(axis=0) + 0.1 * scale * rng.standard_normal(d)
        sd: Any = unique if self._sd.dims else unique.mean()
        return {"mean": mean, "loading": w[np.tril_indices(d, m=q)], self._sd.name: sd}

    def numpyro(self, data: xr.Dataset) -> None:
        y = jnp.asarray(data["y"].data)
        d = y.shape[1]
        unique = dist.HalfNormal(self.scale_scale)
        with numpyro.plate("variable", d):
            mean = numpyro.sample("mean", dist.Normal(self.mean_loc, self.mean_scale))
            scale = numpyro.sample("scale", unique) if self._sd.dims else None
        with numpyro.plate("loading_index", np.tril_indices(d, m=self.factors)[0].size):
            loading = numpyro.sample("loading", dist.Normal(0.0, self.loading_scale))
        sd = numpyro.sample("sigma", unique) if scale is None else scale
        w = loading_matrix(loading, d, self.factors)
        noise = jnp.broadcast_to(sd**2, (d,))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.LowRankMultivariateNormal(mean, w, noise), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm
        import pytensor.tensor as pt

        d = data.sizes["variable"]
        rows, columns = np.tril_indices(d, m=self.factors)
        entries = [f"{row},{column}" for row, column in zip(rows, columns, strict=True)]
        with pm.Model(coords={**coords(data), "entry": entries}) as program:
            mean = pm.Normal("mean", self.mean_loc, self.mean_scale, dims="variable")
            loading = pm.Normal("loading", 0.0, self.loading_scale, dims="entry")
            sd = pm.HalfNormal(self._sd.name, self.scale_scale, dims=self._sd.dims)
            w = pt.zeros((d, self.factors))[rows, columns].set(loading)
            covariance = w @ w.T + (pt.diag(sd**2) if self._sd.dims else sd**2 * pt.eye(d))
            dims = ("obs", "variable")
            pm.MvNormal("y", mean, cov=covariance, observed=data["y"].data, dims=dims)
        return program

    def _noise(self, values: Values) -> Array:
        """Every variable's unique variance, shape (D,)."""
        return jnp.broadcast_to(values[self._sd.name] ** 2, values["mean"].shape)

    def _loadings(self, values: Values) -> Array:
        return loading_matrix(values["loading"], values["mean"].shape[0], self.factors)

    def _covariance(self, values: Values) -> Array:
        w = self._loadings(values)
        return w @ w.T + jnp.diag(self._noise(values))

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array:
        return jnp.concatenate([values["mean"], vech(self._covariance(values))])

    def expected_information(self, values: Values, data: xr.Dataset) -> Array:
        return data.sizes["obs"] * normal_information(self._covariance(values))

    @property
    def signs(self) -> int:
        return self.factors

    def fold(self, values: Values) -> Values:
        """The same point with the diagonal of the loadings positive: WWᵀ ignores their signs."""
        _, columns = np.tril_indices(values["mean"].shape[0], m=self.factors)
        sign = jnp.where(jnp.diagonal(self._loadings(values)) < 0, -1.0, 1.0)
        return {**values, "loading": values["loading"] * sign[columns]}

    @property
    def order(self) -> int:
        return self.factors

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(sorted({1, 2, 3, self.factors}))

    def with_order(self, order: int) -> Self:
        return replace(self, factors=order)

    def e_step(self, values: Values, data: xr.Dataset) -> dict[str, Array]:
        """Moments of (x, z̃), z̃ = (1, z), with z | x ~ N(β(x − μ), I − βW), β = WᵀΣ⁻¹."""
        y = jnp.asarray(data["y"].data)
        n, q = y.shape[0], self.factors
        w = self._loadings(values)
        beta = jnp.linalg.solve(self._covariance(values), w).T
        z = (y - values["mean"]) @ beta.T
        extended = jnp.concatenate([jnp.ones((n, 1)), z], axis=1)
        conditional = jnp.zeros((q + 1, q + 1)).at[1:, 1:].set(jnp.eye(q) - beta @ w)
        return {
            "count": jnp.asarray(float(n)),
            "square": jnp.sum(y**2, axis=0),
            "cross": y.T @ extended,
            "factor": extended.T @ extended + n * conditional,
        }

    def m_step(self, statistics: dict[str, Array], data: xr.Dataset) -> Values:
        """Regress each variable on (1, z_1, …, z_m), its free factors; noise from residuals."""
        d, q = statistics["cross"].shape[0], self.factors
        free = jnp.concatenate([jnp.ones((d, 1)), jnp.tril(jnp.ones((d, q)))], axis=1)

        def regress(cross: Array, mask: Array) -> Array:
            gram = statistics["factor"] * jnp.outer(mask, mask) + jnp.diag(1 - mask)
            return jnp.linalg.solve(gram, cross * mask)

        coefficient = jax.vmap(regress)(statistics["cross"], free)
        residual = _squared_residuals(coefficient, statistics)
        residual = residual if self._sd.dims else jnp.mean(residual)
        return {
            "mean": coefficient[:, 0],
            "loading": coefficient[:, 1:][np.tril_indices(d, m=q)],
            self._sd.name: jnp.sqrt(residual / statistics["count"]),
        }

    def complete_log_likelihood(
        self, values: Values, statistics: dict[str, Array], data: xr.Dataset
    ) -> Array:
        """E[log p(x, z)] up to the terms in z alone, which no parameter enters."""
        noise = self._noise(values)
        coefficient = jnp.concatenate([values["mean"][:, None], self._loadings(values)], axis=1)
        residual = _squared_residuals(coefficient, statistics)
        return -0.5 * jnp.sum(statistics["count"] * jnp.log(2 * jnp.pi * noise) + residual / noise)


@final
@dataclass(frozen=True)
class FactorAnalysis(_LinearFactors):
    """Factor analysis with `factors` common factors and a unique variance per variable."""

    name: ClassVar[str] = "factor_analysis"
    referee_refusal: ClassVar[str] = ""

    _sd: ClassVar[Parameter] = Parameter("scale", "positive", ("variable",))
    _variance: ClassVar[Parameter] = Parameter("uniqueness", "positive", ("variable",))

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return ((cls(factors=2), "fa_sim6", tuple(f"v{i}" for i in range(1, 7))),)

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """statsmodels: maximum-likelihood factoring of the correlation matrix, rescaled."""
        from statsmodels.multivariate.factor import Factor

        y = np.asarray(data["y"].data)
        factor = Factor(y, n_factor=self.factors, method="ml")

        def log_likelihood_of(seed: int) -> tuple[float, bool]:
            factor.fit(rng=seed, opt=options)
            return round(-factor.mle_retvals.fun, 9), factor.mle_retvals.success

        # its `maxiter` and `tol` are those of principal axes; the slope is per row and variable
        options = {"gtol": 1e-8}
        with warnings.catch_warnings():
            # statsmodels warns of every start; only the one that is kept is judged
            warnings.simplefilter("ignore")
            best = max(range(8), key=log_likelihood_of)
        fit = factor.fit(rng=best, opt=options)
        deviation = y.std(axis=0)
        # its eigenvalue solver answers in complex numbers, imaginary parts 0
        loadings, unique = np.real_if_close(fit.loadings), np.real_if_close(fit.uniqueness)
        correlation = loadings @ loadings.T + np.diag(unique)
        covariance = correlation * np.outer(deviation, deviation)
        estimate = {
            "mean": jnp.asarray(y.mean(axis=0)),
            "covariance": jnp.asarray(covariance),
            "eigenvalue": jnp.asarray(np.linalg.eigvalsh(covariance)[::-1]),
            "uniqueness": jnp.asarray(unique * deviation**2),
        }
        each = multivariate_normal.logpdf(y, estimate["mean"], estimate["covariance"])
        return estimate, {}, float(jnp.sum(each))


@final
@dataclass(frozen=True)
class ProbabilisticPCA(_LinearFactors):
    """Probabilistic PCA: factor analysis whose unique variances are all σ²."""

    name: ClassVar[str] = "probabilistic_pca"

    _sd: ClassVar[Parameter] = Parameter("sigma", "positive")
    _variance: ClassVar[Parameter] = Parameter("sigma2", "positive")

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        columns = ("Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width")
        return ((cls(factors=2), "iris", columns),)

    def maximum_likelihood(self, data: xr.Dataset) -> Values:
        """W = U_q(Λ_q − σ²I)^½ R, σ² the mean of the other eigenvalues, R making W triangular."""
        y = data["y"].data
        numbers = y.__array_namespace__()  # of plain arrays plain ones, without compilation
        d, q = y.shape[1], self.factors
        mean = y.mean(axis=0)
        eigenvalue, vector = numbers.linalg.eigh((y - mean).T @ (y - mean) / y.shape[0])
        sigma2 = eigenvalue[: d - q].mean()
        w = vector[:, d - q :] * numbers.sqrt(numbers.maximum(eigenvalue[d - q :] - sigma2, 0.0))
        rotation, _ = numbers.linalg.qr(w[:q].T)
        lower = w @ rotation
        # where the data lie in q dimensions the likelihood is unbounded: rounding is no noise
        noise = numbers.where(sigma2 > 1e-14 * eigenvalue[-1], sigma2, 0.0)
        loading = lower[np.tril_indices(d, m=q)]
        return {"mean": mean, "loading": loading, "sigma": numbers.sqrt(noise)}


def _squared_residuals(coefficient: Array, statistics: dict[str, Array]) -> Array:
    """Expected Σ_i (x_id − c_d z̃_i)² of every variable d, shape (D,)."""
    fitted = jnp.einsum("di,ij,dj->d", coefficient, statistics["factor"], coefficient)
    return statistics["square"] - 2 * (coefficient * statistics["cross"]).sum(axis=1) + fitted


def loading_matrix(loading: Array, d: int, q: int) -> Array:
    """The lower-triangular loadings W, shape (d, q), from their free entries, row by row."""
    return jnp.zeros((d, q)).at[np.tril_indices(d, m=q)].set(loading)
