"""`AutoLaplaceApproximation`: NumPyro's Laplace approximation, whose mode is where Adam stops.

Reference: Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.engines._numpyro import Climb
from inference.engines._shipped import Engine
from inference.estimate import Estimate
from inference.method import Kind, Profile
from inference.posterior.draws import CHAINS
from models.programs.keys import key_of
from models.settings import Count, check_settings
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class NumpyroLaplace(Engine):
    """NumPyro's own Laplace approximation, `AutoLaplaceApproximation`, by Adam(0.01).

    Attributes:
        draws: draws per pseudo-chain, of which there are four.
    """

    draws: Count = 2_500

    name: ClassVar[str] = "numpyro_laplace"
    kind: ClassVar[Kind] = "laplace"
    library: ClassVar[str] = "numpyro"
    language: ClassVar[Literal["numpyro", "pymc"]] = "numpyro"
    begins: ClassVar[Profile | None] = "standard"

    def __post_init__(self) -> None:
        check_settings(self)

    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Estimate:
        climb = Climb(model, data, "AutoLaplaceApproximation", "adam", start)
        began = time.perf_counter()
        drawn, losses = climb.runs(key_of(rng)[None], CHAINS * self.draws)
        return self.drawn(model, data, drawn, began, losses)
