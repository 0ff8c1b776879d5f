"""`AutoDelta`: NumPyro's maximum a posteriori on the natural scale, where Adam stops."""

import time
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import xarray as xr

from inference.engine import NumpyroEngine, flat
from inference.engines._numpyro import Climb
from inference.estimate import Estimate
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

    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Estimate:
        climb = Climb(model, data, "AutoDelta", "adam", start)
        began = time.perf_counter()
        (sites,), losses = climb.runs(key_of(rng)[None], 0)
        return self.at(model, data, sites, began, flat(losses))
