"""Density estimators by their access to the likelihood: every `x.py` here defines one.

Beside them, what they are made of: training of networks, programs as densities, and points.
"""

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_model, variants
from comparisons.theory.densities._networks import (
    Standard,
    Trained,
    minimise,
    perceptron,
    standard,
)
from comparisons.theory.densities._programs import (
    LINE,
    TEMPLATE,
    as_data,
    log_density_at,
    model_size,
)
from comparisons.theory.densities._quadrature import Pointwise, everywhere, gradient, mesh

__all__ = [
    "LINE",
    "TEMPLATE",
    "DensityEstimator",
    "Fitted",
    "Pointwise",
    "Standard",
    "Trained",
    "as_data",
    "everywhere",
    "from_model",
    "gradient",
    "log_density_at",
    "mesh",
    "minimise",
    "model_size",
    "perceptron",
    "standard",
    "variants",
]
