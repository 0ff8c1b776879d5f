"""Ridge regression: y_i ~ N(x_iᵀβ, σ²) with σ known and β_j ~ N(0, τ²).

The posterior mode is the ridge estimate argmin ‖y − Xβ‖² + (σ²/τ²)‖β‖².
Reference: Hoerl & Kennard (1970), Technometrics 12; Hsiang (1975), The Statistician 24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.capabilities import Equivariance
from models.data.dataset import coords
from models.settings import Positive, Size
from models.spec import Model, Parameter, Values

if TYPE_CHECKING:
    import pymc as pm


@final
@dataclass(frozen=True)
class RidgeRegression(Model):
    """Linear regression with known error and a normal prior on the slopes.

    Attributes:
        predictors: number of columns of x.
        sigma: standard deviation of y about its mean, units of y.
        slope_scale: prior Normal scale τ of each slope.
    """

    predictors: Size = 6
    sigma: Positive = 0.7
    slope_scale: Positive = 1.3

    name: ClassVar[str] = "ridge_regression"
    equivariances: ClassVar[tuple[Equivariance, ...]] = (
        Equivariance("y", scales={"x": 1, "beta": -1}),
    )

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
