"""Metropolis-adjusted Langevin: x′ ~ N(x + h ∇log p(x), 2hI), accepted or not as Hastings has it.

Exact in the limit whatever the step: acceptance removes the bias of the discretised diffusion.
Reference: Roberts & Tweedie (1996), Bernoulli 2.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from comparisons.theory.sampling._chains import chains
from comparisons.theory.sampling._drawn import Drawn, NormalMixture, Sampler


@final
@dataclass(frozen=True)
class AdjustedLangevin(Sampler):
    """Metropolis-adjusted Langevin.

    Attributes:
        step: h, units of x squared.
    """

    step: float = 0.5

    name: ClassVar[str] = "adjusted_langevin"
    exact: ClassVar[bool] = True

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        return chains(target, rng, runs, n, step=self.step, drift=True, adjusted=True)
