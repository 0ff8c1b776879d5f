"""Counts: x_i ~ Poisson(λ) with the conjugate prior λ ~ Gamma(a, b).

Reference: McCullagh & Nelder (1989), Generalized Linear Models, ch. 6.
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
from models.settings import Positive
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

    shape: Positive = 2.0
    rate: Positive = 0.5

    name: ClassVar[str] = "poisson"
    equivariances: ClassVar[tuple[Equivariance, ...]] = ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("lam", "positive"),)

    @property
    def truth(self) -> Values:
        return {"lam": jnp.asarray(4.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return xr.Dataset({"x": ("obs", rng.poisson(float(values["lam"]), n).astype(float))})

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
            pm.Poisson("x", lam, observed=data["x"].data.astype(int), dims="obs")
        return program
