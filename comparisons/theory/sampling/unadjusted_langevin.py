"""Unadjusted Langevin: x′ = x + h ∇log p(x) + √(2h) ξ, the Euler step of dX = ∇log p dt + √2 dW.

Its stationary law is off by O(h).  On N(m, σ²) it is the linear recursion v′ = (1 − h/σ²)² v + 2h
for the variance, whose fixed point is σ²/(1 − h/(2σ²)).  It asks for the score alone, which may be
a learnt one.
References: Roberts & Tweedie (1996), Bernoulli 2; Durmus & Moulines (2017), Ann. Appl. Probab. 27.
"""

from collections.abc import Callable

import numpy as np
from jax import Array

from comparisons.theory.sampling import Drawn, NormalMixture, chains

STEP = 0.5  # h


def draw(
    target: NormalMixture,
    rng: np.random.Generator,
    shape: tuple[int, int],
    step: float = STEP,
    score: Callable[[Array], Array] | None = None,
) -> Drawn:
    """Chains with drift that accept every step.

    Args:
        target: the law; chains start about it.
        rng: of all that is random.
        shape: chains, and draws of each.
        step: h.
        score: a learnt one, to be used for the target's.
    """
    return chains(target, rng, shape, step, drift=True, adjusted=False, score=score)
