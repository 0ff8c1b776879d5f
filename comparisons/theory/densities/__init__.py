"""Density estimators by their access to the likelihood: every `x.py` here defines one."""

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_model, variants

__all__ = ["DensityEstimator", "Fitted", "from_model", "variants"]
