"""Samplers of one law, by how they reach it: every `x.py` here defines one."""

from comparisons.theory.sampling._drawn import Drawn, Learnt, NormalMixture, Sampler, widened

__all__ = ["Drawn", "Learnt", "NormalMixture", "Sampler", "widened"]
