"""Models as frozen values: each is specified in PyMC and in NumPyro, side by side in one file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.catalogue.factor_analysis import FactorAnalysis, ProbabilisticPCA
    from models.catalogue.gaussian import ConjugateGaussian, Gaussian
    from models.catalogue.gaussian_mixture import GaussianMixture
    from models.catalogue.random_effects import RandomEffects

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
        from models.registry import subclasses
        from models.spec import Model

        for cls in subclasses(importlib.import_module("models.catalogue"), Model).values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module 'models' has no attribute {name!r}")
