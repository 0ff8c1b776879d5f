"""`AutoLaplaceApproximation`: NumPyro's Laplace approximation, whose mode is where Adam stops.

Reference: Tierney & Kadane (1986), JASA 81.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import xarray as xr
from numpy.random import Generator

from inference.engine import Found, NumpyroEngine
from inference.engines._numpyro import climbs
from inference.method import Kind, Profile
from models.programs.keys import key_of
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class NumpyroLaplace(NumpyroEngine):
    """NumPyro's own Laplace approximation, `AutoLaplaceApproximation`, by Adam(0.01)."""

    name: ClassVar[str] = "numpyro_laplace"
    kind: ClassVar[Kind] = "laplace"
    begins: ClassVar[Profile | None] = "standard"

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        guide, key = "AutoLaplaceApproximation", key_of(rng)[None]
        return climbs(model, data, guide, start, key, draws=10_000)
