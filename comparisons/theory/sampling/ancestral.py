"""Ancestral sampling: each variable from its law given its parents, here k ~ w and then x | k.

Exact, and the draws are independent; it needs the law as a directed graph of laws one can draw.
Reference: Bishop (2006), Pattern Recognition and Machine Learning, §11.1.
"""

import numpy as np

from comparisons.theory.sampling import Drawn, NormalMixture
from models.programs.keys import key_of


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """First the component, then the point; see the head of the folder."""
    return Drawn(np.asarray(target.draws(key_of(rng), shape)))
