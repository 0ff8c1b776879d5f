"""Normal random effects, marginalised: θ_j ~ N(μ, τ²), y_ij | θ_j ~ N(θ_j, σ_j²).

Known within-group variance (a meta-analysis, as in eight schools): y_j ~ N(μ, τ² + σ_j²).
Unknown within-group variance (a one-way design): the n_j rows of group j are jointly normal with
covariance σ²I + τ²11ᵀ.  Helmert contrasts, an orthonormal map of those rows whose Jacobian is 1,
turn them into independent normals: z_j1 = √n_j ȳ_j ~ N(√n_j μ, σ² + n_j τ²) and z_ji ~ N(0, σ²),
which is how both programs write the density.
References: Rubin (1981), J. Educ. Stat. 6; Searle, Casella & McCulloch (1992), Variance
Components, ch. 3-4; Lancaster (1965), Am. Math. Monthly 72 (Helmert matrices).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.capabilities import Equivariance
from models.catalogue._normal import spread
from models.data.dataset import coords
from models.settings import Finite, Positive
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm
    from jax import Array


@final
@dataclass(frozen=True)
class RandomEffects(Model):
    """Normal group effects; N counts groups, the exchangeable units.

    Attributes:
        within: `known`: one row y per group with its standard error sigma; `unknown`: rows y with
            a column group, and sigma is a parameter.
        mean_loc, mean_scale: prior Normal of mu, units of the data.
        between_scale: prior HalfCauchy scale of tau, units of the data.
        within_scale: prior HalfNormal scale of sigma where it is unknown.
    """

    within: Literal["known", "unknown"] = "known"
    mean_loc: Finite = 0.0
    mean_scale: Positive = 5.0
    between_scale: Positive = 5.0
    within_scale: Positive = 10.0

    name: ClassVar[str] = "random_effects"
    equivariances: ClassVar[tuple[Equivariance, ...]] = (
        Equivariance("y", ("y", "mu"), {"tau": 1, "sigma": 1}),
    )

    @classmethod
    def examples(cls) -> tuple[tuple[Model, str, tuple[str, ...]], ...]:
        return ((cls(), "eight_schools", ("y", "sigma")),)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        shared = (Parameter("mu", "real"), Parameter("tau", "positive"))
        return shared if self.within == "known" else (*shared, Parameter("sigma", "positive"))

    @property
    def truth(self) -> Values:
        shared = {"mu": jnp.asarray(4.0), "tau": jnp.asarray(3.0)}
        return shared if self.within == "known" else {**shared, "sigma": jnp.asarray(2.0)}

    @property
    def group_variables(self) -> tuple[str, ...]:
        return () if self.within == "known" else ("group",)

    def unusable(self, data: xr.Dataset) -> str:
        sigma = np.asarray(data["sigma"].data) if self.within == "known" else np.ones(1)
        row = int(np.argmin(sigma))
        told = f"sigma is {sigma[row]:g} in row {row}; expected standard errors above 0"
        return "" if sigma[row] > 0 else told

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        """`n` groups; known: standard errors 1 … 3 in turn; unknown: 2 … 6 rows in turn."""
        effect = rng.normal(float(values["mu"]), float(values["tau"]), n)
        if self.within == "known":
            sigma = 1.0 + np.arange(n) % 5 / 2
            y = rng.normal(effect, sigma)
            return xr.Dataset({"y": ("group", y), "sigma": ("group", sigma)})
        group = np.repeat(np.arange(n), 2 + np.arange(n) % 5)
        y = rng.normal(effect[group], float(values["sigma"]))
        return xr.Dataset({"y": ("obs", y), "group": ("obs", group)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        y = np.asarray(data["y"].data)
        sd = spread(y)
        values = {
            "mu": jnp.asarray(y.mean() + 0.3 * sd * rng.standard_normal()),
            "tau": jnp.asarray(0.5 * sd * np.exp(0.5 * rng.standard_normal())),
        }
        if self.within == "unknown":
            values["sigma"] = jnp.asarray(0.7 * sd * np.exp(0.3 * rng.standard_normal()))
        return values

    def numpyro(self, data: xr.Dataset) -> None:
        mu = numpyro.sample("mu", dist.Normal(self.mean_loc, self.mean_scale))
        tau = numpyro.sample("tau", dist.HalfCauchy(self.between_scale))
        if self.within == "known":
            name, dim, sigma = "y", "group", jnp.asarray(data["sigma"].data)
        else:
            name, dim = "contrast", "obs"
            sigma = numpyro.sample("sigma", dist.HalfNormal(self.within_scale))
        observed, weight = self._independent(data)
        with numpyro.plate(dim, observed.shape[0]):
            normal = dist.Normal(jnp.sqrt(weight) * mu, jnp.sqrt(sigma**2 + weight * tau**2))
            numpyro.sample(name, normal, obs=observed)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            mu = pm.Normal("mu", self.mean_loc, self.mean_scale)
            tau = pm.HalfCauchy("tau", self.between_scale)
            if self.within == "known":
                name, dim, sigma = "y", "group", np.asarray(data["sigma"].data)
            else:
                name, dim, sigma = "contrast", "obs", pm.HalfNormal("sigma", self.within_scale)
            observed, weight = map(np.asarray, self._independent(data))
            total = pm.math.sqrt(sigma**2 + weight * tau**2)
            pm.Normal(name, np.sqrt(weight) * mu, total, observed=observed, dims=dim)
        return program

    def _independent(self, data: xr.Dataset) -> tuple[Array, Array]:
        """Independent normals z_i ~ N(√w_i μ, σ_i² + w_i τ²) that the data are, and w."""
        if self.within == "unknown":
            return _helmert(data)
        y = jnp.asarray(data["y"].data)
        return y, jnp.ones(y.shape)

    def _sigma(self, values: Values, data: xr.Dataset) -> Array:
        return jnp.asarray(data["sigma"].data) if self.within == "known" else values["sigma"]

    def units(self, data: xr.Dataset) -> np.ndarray:
        """The group of each row."""
        if self.within == "known":
            return np.arange(data.sizes["group"])
        return np.asarray(data["group"].data)

    def group_effects(self, values: Values, data: xr.Dataset) -> tuple[Array, Array]:
        """Mean and variance of θ_j given the data and the parameters, each shape (groups,)."""
        index = self.units(data)
        count = np.bincount(index).astype(float)
        total = jax.ops.segment_sum(jnp.asarray(data["y"].data), index, num_segments=count.size)
        # precision-weighted, in a form that stays finite at τ = 0
        ratio = values["tau"] ** 2 * count / self._sigma(values, data) ** 2
        shrink = ratio / (1 + ratio)
        effect = values["mu"] + shrink * (total / count - values["mu"])
        return effect, values["tau"] ** 2 * (1 - shrink)

    def information_coordinates(self, values: Values, data: xr.Dataset) -> Array:
        return jnp.concatenate([values["mu"][None], self._variances(values, data)])

    def expected_information(self, values: Values, data: xr.Dataset) -> Array:
        """About (μ, v_1, …), v the variances of the independent normals: Σ w/v and diag(½/v²)."""
        variance, weight = self._variances(values, data), self._independent(data)[1]
        of_mean = jnp.sum(weight / variance)
        return jnp.diag(jnp.concatenate([of_mean[None], 0.5 / variance**2]))

    def _variances(self, values: Values, data: xr.Dataset) -> Array:
        weight = self._independent(data)[1]
        return self._sigma(values, data) ** 2 + weight * values["tau"] ** 2

    def e_step(self, values: Values, data: xr.Dataset) -> dict[str, Array]:
        """Conditional mean and variance of every group effect."""
        mean, variance = self.group_effects(values, data)
        return {"mean": mean, "variance": variance}

    def m_step(self, statistics: dict[str, Array], data: xr.Dataset) -> Values:
        effect, variance = statistics["mean"], statistics["variance"]
        mu = jnp.mean(effect)
        values = {"mu": mu, "tau": jnp.sqrt(jnp.mean((effect - mu) ** 2 + variance))}
        if self.within == "unknown":
            values["sigma"] = jnp.sqrt(jnp.mean(self._squared_residuals(statistics, data)))
        return values

    def complete_log_likelihood(
        self, values: Values, statistics: dict[str, Array], data: xr.Dataset
    ) -> Array:
        between = (statistics["mean"] - values["mu"]) ** 2 + statistics["variance"]
        tau2 = values["tau"] ** 2
        total = -0.5 * jnp.sum(jnp.log(2 * jnp.pi * tau2) + between / tau2)
        within = self._squared_residuals(statistics, data)
        sigma = self._sigma(values, data)
        return total - 0.5 * jnp.sum(jnp.log(2 * jnp.pi * sigma**2) + within / sigma**2)

    def _squared_residuals(self, statistics: dict[str, Array], data: xr.Dataset) -> Array:
        index = self.units(data)
        residual = jnp.asarray(data["y"].data) - statistics["mean"][index]
        return residual**2 + statistics["variance"][index]

    @property
    def referee_refusal(self) -> str:
        told = "statsmodels has no maximum-likelihood fit with known within-group variances"
        return told if self.within == "known" else ""

    def referee(self, data: xr.Dataset) -> tuple[Values, Values, float]:
        """statsmodels: MixedLM with a random intercept, maximum likelihood."""
        from statsmodels.regression.mixed_linear_model import MixedLM

        y, group = np.asarray(data["y"].data), self.units(data)
        fit = MixedLM(y, np.ones((y.size, 1)), groups=group).fit(reml=False)
        estimate = {
            "mu": jnp.asarray(fit.fe_params[0]),
            "tau": jnp.sqrt(jnp.asarray(fit.cov_re)[0, 0]),
            "sigma": jnp.sqrt(jnp.asarray(fit.scale)),
        }
        return estimate, {"mu": jnp.asarray(fit.bse_fe[0])}, float(fit.llf)


def _helmert(data: xr.Dataset) -> tuple[Array, Array]:
    """Helmert contrasts of each group's rows, and n_j where the row is its group's mean, else 0.

    Row 1 of a group becomes √n ȳ, row i > 1 becomes √((i−1)/i) (y_i − mean of the rows before).
    """
    y, group = jnp.asarray(data["y"].data), np.asarray(data["group"].data)
    order, count = np.argsort(group, kind="stable"), np.bincount(group)
    starts = np.cumsum(count) - count
    first, rank = order[starts], np.empty(group.size, int)
    rank[order] = np.arange(group.size) - starts[group[order]]
    sums = jax.ops.segment_sum(y, group, num_segments=count.size)
    running = jnp.zeros(y.shape).at[order].set(jnp.cumsum(y[order]))
    before = running - y - (running[first] - y[first])[group]
    contrast = np.sqrt(rank / (rank + 1.0)) * (y - before / np.maximum(rank, 1))
    leading = rank == 0
    contrast = jnp.where(leading, (sums / np.sqrt(count))[group], contrast)
    return contrast, jnp.where(leading, count[group].astype(float), 0.0)
