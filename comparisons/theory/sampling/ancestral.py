"""Ancestral sampling: each variable from its law given its parents, here k ~ w and then x | k.

Exact, and the draws are independent; it needs the law as a directed graph of laws one can draw.
Reference: Bishop (2006), Pattern Recognition and Machine Learning, §11.1.
"""

from typing import final

import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture, Sampler
from models.programs.keys import key_of


@final
class Ancestral(Sampler):
    """First the component, then the point."""

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        return Drawn(np.asarray(target.draws(key_of(rng), (runs, n))))
