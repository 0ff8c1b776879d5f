"""`pm.sample(nuts_sampler="pymc")`: PyMC's No-U-Turn sampler as its users call it.

Compiled by Numba, as PyMC ships it: a warm compile cache gives other draws of the same seed.
Reference: Abril-Pla et al. (2023), PeerJ Comput. Sci. 9.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import xarray as xr
from numpy.random import Generator

from inference.engine import Found, PymcEngine, Sampler, library_call
from inference.method import Profile
from models.spec import Model, Values

_STATS = ("energy", "diverging", "n_steps", "tree_depth", "acceptance_rate")


@final
@dataclass(frozen=True)
class PymcNUTS(PymcEngine, Sampler):
    """PyMC's own NUTS: `pm.sample(nuts_sampler="pymc", cores=1)`; settings as of `Sampler`."""

    name: ClassVar[str] = "pymc_nuts"
    begins: ClassVar[Profile | None] = "standard"

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        import pymc as pm

        with library_call(), model.pymc(data):
            tree = pm.sample(
                self.draws,
                tune=self.warm_up,
                chains=self.chains,
                cores=1,
                nuts_sampler="pymc",
                random_seed=self.seed(rng),
                initvals=start,
                progressbar=False,
                compute_convergence_checks=False,
            )
        stats = tree["sample_stats"]
        kept = {name: np.asarray(stats[name]) for name in _STATS if name in stats}
        return Found([{str(n): x.values for n, x in tree["posterior"].items()}], stats=kept)
