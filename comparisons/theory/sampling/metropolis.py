"""Random-walk Metropolis: x′ ~ N(x, 2hI), accepted with probability min{1, p(x′)/p(x)}.

Exact in the limit; needs the density up to a constant.
Reference: Metropolis, Rosenbluth, Rosenbluth, Teller & Teller (1953), J. Chem. Phys. 21.
"""

import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture, chains

STEP = 1.5  # h


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """Chains without drift."""
    return chains(target, rng, shape, STEP, drift=False, adjusted=True)
