"""`SVI(program, guide, Adam)`: stochastic variational inference as NumPyro's users call it.

A guide is fitted to the posterior by noisy gradients of the ELBO.  `adam` is what tutorials do, a
fixed rate of 0.01 for 10,000 steps; `decayed` goes on to 20,000 and lets the rate fall a
thousandfold over 10,000 more.  Several runs with keys of their own tell the optimiser's noise.
References: Hoffman, Blei, Wang & Paisley (2013), JMLR 14; Kingma & Ba (2015), ICLR.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import xarray as xr
from jax import random
from numpy.random import Generator

from inference.engine import Found, Law, NumpyroEngine
from inference.engines._numpyro import climbs
from inference.method import derived
from inference.posterior.draws import CHAINS
from models.programs.keys import key_of
from models.spec import Model, Values

_FAMILIES = {"AutoNormal": "mean_field", "AutoMultivariateNormal": "full_rank"}
"""Of the guides whose best member is known; the others run in the profile `thorough`."""
_FIRST = ("AutoNormal", "adam")  # what the profile `quick` runs


@final
@dataclass(frozen=True)
class NumpyroSVI(NumpyroEngine, Law):
    """NumPyro's own SVI, `SVI(program, AutoNormal(program), Adam(0.01), Trace_ELBO())`; see `Law`.

    Attributes:
        guide: the class of the guide, of `numpyro.infer.autoguide`.
        schedule: `adam`, a fixed rate for 10,000 steps, or `decayed`, for 30,000.
    """

    guide: Literal[
        "AutoNormal", "AutoMultivariateNormal", "AutoLowRankMultivariateNormal", "AutoIAFNormal"
    ] = "AutoNormal"
    schedule: Literal["adam", "decayed"] = "adam"

    name: ClassVar[str] = "numpyro_svi"
    family = derived(lambda self: _FAMILIES.get(self.guide, ""))
    begins = derived(
        lambda self: (
            "quick"
            if (self.guide, self.schedule) == _FIRST
            else "standard"
            if self.family
            else "thorough"
        )
    )

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        keys, draws = random.split(key_of(rng), self.runs), CHAINS * self.draws
        decayed = self.schedule == "decayed"
        return climbs(model, data, self.guide, start, keys, draws=draws, decayed=decayed)
