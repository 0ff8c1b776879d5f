"""Models for tests: one that knows nothing but its programs, and one that is not identified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import xarray as xr

from models.data.dataset import coords
from models.spec import Model, Parameter

if TYPE_CHECKING:
    import numpy as np

    from models.spec import Values


@final
@dataclass(frozen=True)
class Wrapped(Model):
    """Another model without its capabilities, and with another PyMC program if one is given."""

    inner: Model
    program: Callable[[xr.Dataset], Any] | None = None

    name: ClassVar[str] = "wrapped"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.inner.parameters

    @property
    def truth(self) -> Values:
        return self.inner.truth

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        return self.inner.simulate(rng, values, n)

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return self.inner.start(rng, data)

    def numpyro(self, data: xr.Dataset) -> None:
        self.inner.numpyro(data)

    def pymc(self, data: xr.Dataset) -> Any:
        return self.inner.pymc(data) if self.program is None else self.program(data)


@final
@dataclass(frozen=True)
class TwoInOne(Model):
    """y ~ N(a + sign·b, 1): the data know one number, the parameters are two."""

    sign: float = 1.0

    name: ClassVar[str] = "two_in_one"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return Parameter("a", "real"), Parameter("b", "real")

    @property
    def truth(self) -> Values:
        return {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        mean = float(values["a"]) + self.sign * float(values["b"])
        return xr.Dataset({"y": ("obs", rng.normal(mean, 1.0, n))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        a, b = rng.standard_normal(2)
        return {"a": jnp.asarray(a), "b": jnp.asarray(b)}

    def numpyro(self, data: xr.Dataset) -> None:
        a = numpyro.sample("a", dist.Normal(0.0, 3.0))
        b = numpyro.sample("b", dist.Normal(0.0, 3.0))
        y = jnp.asarray(data["y"].data)
        with numpyro.plate("obs", y.shape[0]):
            numpyro.sample("y", dist.Normal(a + self.sign * b, 1.0), obs=y)

    def pymc(self, data: xr.Dataset) -> Any:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            a, b = pm.Normal("a", 0.0, 3.0), pm.Normal("b", 0.0, 3.0)
            pm.Normal("y", a + self.sign * b, 1.0, observed=data["y"].data, dims="obs")
        return program
