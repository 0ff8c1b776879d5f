"""Two models that only the theory needs: x_i ~ Poisson(λ), and y_i ~ N(x_iᵀβ, σ²) with known σ.

Written like those of the catalogue, once in each language, so that whatever is said of them is read
off the same programs.
Reference: McCullagh & Nelder (1989), Generalized Linear Models, ch. 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.data.dataset import coords
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm


@final
@dataclass(frozen=True)
class Poisson(Model):
    """Counts with one rate.

    Attributes:
        shape, rate: prior Gamma of λ.
    """

    shape: float = 2.0
    rate: float = 0.5

    name: ClassVar[str] = "poisson"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("lam", "positive", ()),)

    @property
    def truth(self) -> Values:
        return {"lam": jnp.asarray(4.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"x": ("obs", rng.poisson(float(values["lam"]), n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        mean = float(data["x"].data.mean())
        return {"lam": jnp.asarray((mean + 0.5) * np.exp(0.3 * rng.standard_normal()))}

    def numpyro(self, data: xr.Dataset) -> None:
        x = jnp.asarray(data["x"].data)
        lam = numpyro.sample("lam", dist.Gamma(self.shape, self.rate))
        with numpyro.plate("obs", x.shape[0]):
            numpyro.sample("x", dist.Poisson(lam), obs=x)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            lam = pm.Gamma("lam", alpha=self.shape, beta=self.rate)
            pm.Poisson("x", lam, observed=data["x"].data, dims="obs")
        return program


@final
@dataclass(frozen=True)
class NormalRegression(Model):
    """Linear regression with a known error.

    Attributes:
        predictors: number of columns of x.
        sigma: standard deviation of y about its mean, units of y.
        slope_scale: prior Normal scale τ of each slope.
    """

    predictors: int = 6
    sigma: float = 0.7
    slope_scale: float = 1.3

    name: ClassVar[str] = "normal_regression"
    free_dims: ClassVar[tuple[str, ...]] = ("predictor",)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("beta", "real", ("predictor",)),)

    @property
    def truth(self) -> Values:
        return {"beta": jnp.linspace(-self.slope_scale, self.slope_scale, self.predictors)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        x = rng.standard_normal((n, self.predictors))
        y = x @ np.asarray(values["beta"]) + rng.normal(0.0, self.sigma, n)
        return xr.Dataset({"x": (("obs", "predictor"), x), "y": ("obs", y)})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"beta": jnp.asarray(rng.standard_normal(self.predictors))}

    def numpyro(self, data: xr.Dataset) -> None:
        x, y = jnp.asarray(data["x"].data), jnp.asarray(data["y"].data)
        with numpyro.plate("predictor", self.predictors):
            beta = numpyro.sample("beta", dist.Normal(0.0, self.slope_scale))
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(x @ beta, self.sigma), obs=y)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        import pymc as pm

        labels = {**coords(data), "predictor": np.arange(self.predictors)}
        with pm.Model(coords=labels) as program:
            beta = pm.Normal("beta", 0.0, self.slope_scale, dims="predictor")
            mean = pm.math.dot(data["x"].data, beta)
            pm.Normal("y", mean, self.sigma, observed=data["y"].data, dims="obs")
        return program
