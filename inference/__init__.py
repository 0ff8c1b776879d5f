"""Ways to fit a model: each entry of `methods` and `engines` returns an `Estimate`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.estimate import Estimate, Quantity
    from inference.method import Method
    from inference.methods.closed_form import ClosedForm
    from inference.methods.exact_posterior import ExactPosterior
    from inference.methods.expectation_maximisation import ExpectationMaximisation
    from inference.methods.gaussian_vi import GaussianVI
    from inference.methods.laplace import Laplace
    from inference.methods.maximum_a_posteriori import MaximumAPosteriori
    from inference.methods.maximum_likelihood import MaximumLikelihood
    from inference.methods.nuts import NUTS
    from inference.methods.statsmodels_referee import StatsmodelsReferee

_HOMES = {
    "Estimate": "inference.estimate",
    "Method": "inference.method",
    "Quantity": "inference.estimate",
}
"""Where each public name is defined that is not a method."""

__all__ = [
    "NUTS",
    "ClosedForm",
    "Estimate",
    "ExactPosterior",
    "ExpectationMaximisation",
    "GaussianVI",
    "Laplace",
    "MaximumAPosteriori",
    "MaximumLikelihood",
    "Method",
    "Quantity",
    "StatsmodelsReferee",
]


def __getattr__(name: str) -> object:
    """A public name, loaded when first asked for; methods by scanning their folders."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name[0].isupper():
        for cls in import_module("inference.catalogue").catalogue().values():
            if cls.__name__ == name:
                return cls
    raise AttributeError(f"module 'inference' has no attribute {name!r}; see dir(inference)")


def __dir__() -> list[str]:
    """Every public name; a method that was added to a folder is found by its name all the same."""
    return list(__all__)
