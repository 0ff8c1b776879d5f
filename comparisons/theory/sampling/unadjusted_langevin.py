"""Unadjusted Langevin: x′ = x + h ∇log p(x) + √(2h) ξ, the Euler step of dX = ∇log p dt + √2 dW.

Its stationary law is off by O(h).  On N(m, σ²) it is the linear recursion v′ = (1 − h/σ²)² v + 2h
for the variance, whose fixed point is σ²/(1 − h/(2σ²)).  It asks for the score alone, which may be
a learnt one.
References: Roberts & Tweedie (1996), Bernoulli 2; Durmus & Moulines (2017), Ann. Appl. Probab. 27.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from comparisons.theory.sampling._chains import chains
from comparisons.theory.sampling._drawn import Drawn, Law, Sampler


@final
@dataclass(frozen=True)
class UnadjustedLangevin(Sampler):
    """Unadjusted Langevin.

    Attributes:
        step: h, units of x squared.
    """

    step: float = 0.5

    name: ClassVar[str] = "unadjusted_langevin"
    exact: ClassVar[bool] = False

    def draw(self, target: Law, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        return chains(target, rng, runs, n, step=self.step, drift=True, adjusted=False)
