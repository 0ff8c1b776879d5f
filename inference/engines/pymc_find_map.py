"""`pm.find_MAP()`: PyMC's maximum a posteriori on the natural scale, without the Jacobian."""

from dataclasses import dataclass
from typing import ClassVar, final

import xarray as xr
from numpy.random import Generator

from inference.engine import Found, PymcEngine, library_call
from inference.method import Kind, Profile
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class PymcFindMAP(PymcEngine):
    """PyMC's own MAP, `pm.find_MAP()`: L-BFGS-B from its initial point."""

    name: ClassVar[str] = "pymc_find_map"
    kind: ClassVar[Kind] = "optimum"
    begins: ClassVar[Profile | None] = "standard"

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        import pymc as pm

        with library_call(), model.pymc(data):
            sites, ended = pm.find_MAP(
                start=start, return_raw=True, progressbar=False, seed=self.seed(rng)
            )
        claims = "success of its optimiser" if getattr(ended, "success", False) else ""
        return Found([sites], claims=claims)
