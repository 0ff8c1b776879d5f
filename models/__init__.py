"""Models as frozen values: each is specified in PyMC and in NumPyro, side by side in one file."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.catalogue.factor_analysis import FactorAnalysis, ProbabilisticPCA
    from models.catalogue.gaussian import ConjugateGaussian, Gaussian
    from models.catalogue.gaussian_mixture import GaussianMixture
    from models.catalogue.poisson import Poisson
    from models.catalogue.random_effects import RandomEffects
    from models.catalogue.ridge_regression import RidgeRegression
    from models.data.dataset import load_data
    from models.data.files import bundled, bundled_names
    from models.data.variables import groups
    from models.errors import ConcordError, ConfigError, DataError, FitError, ModelError, StoreError
    from models.programs.adopt import adopt
    from models.programs.adopted.model import AdoptedModel
    from models.spec import Model, Parameter

__all__ = [
    "AdoptedModel",
    "ConcordError",
    "ConfigError",
    "ConjugateGaussian",
    "DataError",
    "FactorAnalysis",
    "FitError",
    "Gaussian",
    "GaussianMixture",
    "Model",
    "ModelError",
    "Parameter",
    "Poisson",
    "ProbabilisticPCA",
    "RandomEffects",
    "RidgeRegression",
    "StoreError",
    "adopt",
    "bundled",
    "bundled_names",
    "groups",
    "load_data",
]

_HOMES = {
    "AdoptedModel": "models.programs.adopted.model",
    "Model": "models.spec",
    "Parameter": "models.spec",
    "adopt": "models.programs.adopt",
    "bundled": "models.data.files",
    "bundled_names": "models.data.files",
    "groups": "models.data.variables",
    "load_data": "models.data.dataset",
}
"""Where each public name is defined, but for errors and the models of the catalogue."""


def __getattr__(name: str) -> object:
    """A public name, loaded when first asked for; models are found by scanning the catalogue."""
    if name.endswith("Error"):
        return getattr(import_module("models.errors"), name)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if not name.startswith("_") and name[0].isupper():
        from models.registry import subclasses
        from models.spec import Model

        for cls in subclasses(import_module("models.catalogue"), Model).values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module 'models' has no attribute {name!r}; see dir(models)")


def __dir__() -> list[str]:
    """Every public name."""
    return list(__all__)
