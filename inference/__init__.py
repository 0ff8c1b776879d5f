"""Ways to fit a model: each entry of `methods` and `engines` returns an `Estimate`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.estimate import Estimate as Estimate
    from inference.estimate import Quantity as Quantity
    from inference.information.matrices import fisher_information as fisher_information
    from inference.method import Method as Method
    from inference.methods.closed_form import ClosedForm as ClosedForm
    from inference.methods.exact_posterior import ExactPosterior as ExactPosterior
    from inference.methods.expectation_maximisation import (
        ExpectationMaximisation as ExpectationMaximisation,
    )
    from inference.methods.gaussian_vi import GaussianVI as GaussianVI
    from inference.methods.laplace import Laplace as Laplace
    from inference.methods.maximum_a_posteriori import MaximumAPosteriori as MaximumAPosteriori
    from inference.methods.maximum_likelihood import MaximumLikelihood as MaximumLikelihood
    from inference.methods.nuts import NUTS as NUTS
    from inference.methods.statsmodels_referee import StatsmodelsReferee as StatsmodelsReferee

_HOMES = {
    "Estimate": "inference.estimate",
    "Method": "inference.method",
    "Quantity": "inference.estimate",
    "fisher_information": "inference.information.matrices",
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
    "fisher_information",
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
