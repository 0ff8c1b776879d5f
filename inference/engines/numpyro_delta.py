"""`AutoDelta`: NumPyro's maximum a posteriori on the natural scale, where Adam stops."""

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
class NumpyroDelta(NumpyroEngine):
    """NumPyro's own MAP, `AutoDelta`, by Adam(0.01)."""

    name: ClassVar[str] = "numpyro_delta"
    kind: ClassVar[Kind] = "optimum"
    begins: ClassVar[Profile | None] = "standard"

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        return climbs(model, data, "AutoDelta", start, key_of(rng)[None], draws=0)
