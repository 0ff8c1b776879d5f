"""Random-walk Metropolis: x′ ~ N(x, 2hI), accepted with probability min{1, p(x′)/p(x)}.

Exact in the limit; needs the density up to a constant.
Reference: Metropolis, Rosenbluth, Rosenbluth, Teller & Teller (1953), J. Chem. Phys. 21.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from comparisons.theory.sampling._chains import chains
from comparisons.theory.sampling._drawn import Drawn, NormalMixture, Sampler


@final
@dataclass(frozen=True)
class Metropolis(Sampler):
    """Random-walk Metropolis.

    Attributes:
        step: h, half the variance of a proposal in each coordinate, units of x squared.
    """

    step: float = 1.5

    name: ClassVar[str] = "metropolis"
    exact: ClassVar[bool] = True

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        return chains(target, rng, runs, n, step=self.step, drift=False, adjusted=True)
