"""Samplers of one law, by how they reach it: every `x.py` here defines one."""

from comparisons.theory.sampling._drawn import (
    Drawn,
    Law,
    Learnt,
    NormalMixture,
    Sampler,
    widened,
)

__all__ = ["Drawn", "Law", "Learnt", "NormalMixture", "Sampler", "widened"]
