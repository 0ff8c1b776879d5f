"""Models as frozen values: each is specified in PyMC and in NumPyro, side by side in one file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.factor_analysis import FactorAnalysis, ProbabilisticPCA
    from models.gaussian import ConjugateGaussian, Gaussian
    from models.gaussian_mixture import GaussianMixture
    from models.random_effects import RandomEffects

__all__ = [
    "ConjugateGaussian",
    "FactorAnalysis",
    "Gaussian",
    "GaussianMixture",
    "ProbabilisticPCA",
    "RandomEffects",
]


def __getattr__(name: str) -> object:
    """Model classes by name, found by scanning the folder when first asked for."""
    if not name.startswith("_") and name[0].isupper():
        from models._catalogue import subclasses
        from models._spec import Model

        for cls in subclasses(importlib.import_module(__name__), Model).values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module 'models' has no attribute {name!r}")
