"""`pymc_extras.fit_pathfinder()`: Gaussians along four paths of L-BFGS, resampled by importance.

Its k̂ is the library's own, of the weights of the posterior over all paths' Gaussians.
Reference: Zhang, Carpenter, Gelman & Vehtari (2022), JMLR 23.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from inference.engine import Law
from inference.engines._pymc_extras import PymcExtrasEngine
from inference.posterior.draws import CHAINS
from models.settings import Count


@final
@dataclass(frozen=True)
class PymcExtrasPathfinder(PymcExtrasEngine, Law):
    """pymc-extras' Pathfinder, `fit_pathfinder()`.

    Attributes:
        draws: draws per pseudo-chain, of which there are four; the library's own number.
    """

    draws: Count = 250

    name: ClassVar[str] = "pymc_extras_pathfinder"

    def tree(self, seed: int) -> Any:
        from pymc_extras.inference import fit_pathfinder

        # in parallel it would start a process for each path
        told = {"random_seed": seed, "progressbar": False, "parallel": False}
        return fit_pathfinder(num_draws=CHAINS * self.draws, **told)
