"""Density estimators by their access to the likelihood: every `x.py` here defines one.

Beside them, what they are made of: training of networks, programs as densities, and points.
"""

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_model, variants
from comparisons.theory.densities._networks import Trained, minimise, perceptron, standard
from comparisons.theory.densities._points import (
    LINE,
    TEMPLATE,
    Pointwise,
    as_data,
    everywhere,
    gradient,
    log_density_at,
    mesh,
)

__all__ = [
    "LINE",
    "TEMPLATE",
    "DensityEstimator",
    "Fitted",
    "Pointwise",
    "Trained",
    "as_data",
    "everywhere",
    "from_model",
    "gradient",
    "log_density_at",
    "mesh",
    "minimise",
    "perceptron",
    "standard",
    "variants",
]
