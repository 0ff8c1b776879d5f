"""Models for tests: of programs alone, not identified, of two observed variables."""

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


@final
@dataclass(frozen=True)
class Chain(Model):
    """x ~ N(mu, 1), y ~ N(x, 1): one observed variable depends on another, and x has no plate."""

    name: ClassVar[str] = "chain"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("mu", "real"),)

    @property
    def truth(self) -> Values:
        return {"mu": jnp.asarray(1.0)}

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        x = rng.normal(float(values["mu"]), 1.0, n)
        return xr.Dataset({"x": ("obs", x), "y": ("obs", rng.normal(x, 1.0))})

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        return {"mu": jnp.asarray(data["x"].values.mean() + rng.standard_normal())}

    def numpyro(self, data: xr.Dataset) -> None:
        mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
        x = numpyro.sample("x", dist.Normal(mu, 1.0), obs=jnp.asarray(data["x"].data))
        numpyro.sample("y", dist.Normal(x, 1.0), obs=jnp.asarray(data["y"].data))

    def pymc(self, data: xr.Dataset) -> Any:
        import pymc as pm

        with pm.Model(coords=coords(data)) as program:
            mu = pm.Normal("mu", 0.0, 3.0)
            x = pm.Normal("x", mu, 1.0, observed=data["x"].data, dims="obs")
            pm.Normal("y", x, 1.0, observed=data["y"].data, dims="obs")
        return program
