"""`pm.find_MAP()`: PyMC's maximum a posteriori on the natural scale, without the Jacobian."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import xarray as xr

from inference.engines._shipped import Engine, seed_of
from inference.estimate import Estimate
from inference.method import Kind, Profile
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class PymcFindMAP(Engine):
    """PyMC's own MAP, `pm.find_MAP()`: L-BFGS-B from its initial point."""

    name: ClassVar[str] = "pymc_find_map"
    kind: ClassVar[Kind] = "optimum"
    library: ClassVar[str] = "pymc"
    language: ClassVar[Literal["numpyro", "pymc"]] = "pymc"
    begins: ClassVar[Profile | None] = "standard"

    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Estimate:
        import pymc as pm

        began = time.perf_counter()
        with model.pymc(data):
            sites, ended = pm.find_MAP(
                start=start, return_raw=True, progressbar=False, seed=seed_of(rng)
            )
        claims = "success of its optimiser" if getattr(ended, "success", False) else ""
        return self.at(model, data, sites, began, claims)
