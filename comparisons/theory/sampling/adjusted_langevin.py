"""Metropolis-adjusted Langevin: x′ ~ N(x + h ∇log p(x), 2hI), accepted or not as Hastings has it.

Exact in the limit whatever the step: acceptance removes the bias of the discretised diffusion.
Reference: Roberts & Tweedie (1996), Bernoulli 2.
"""

import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture, chains

STEP = 0.5  # h


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """Chains with drift and acceptance."""
    return chains(target, rng, shape, STEP, drift=True, adjusted=True)
