"""Every model of the folder, at small sizes: its bundled studies and further variants."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

import models.catalogue
from models.capabilities import HasExamples
from models.catalogue.factor_analysis import FactorAnalysis, ProbabilisticPCA
from models.catalogue.gaussian_mixture import GaussianMixture
from models.catalogue.random_effects import RandomEffects
from models.registry import subclasses
from models.spec import Model

if TYPE_CHECKING:
    import xarray as xr

FURTHER = (
    GaussianMixture(3),
    GaussianMixture(2, 2, "tied"),
    GaussianMixture(2, 2, "diagonal"),
    GaussianMixture(2, 2, "spherical"),
    GaussianMixture(2, 1, "tied"),
    GaussianMixture(1, 2),
    FactorAnalysis(1),
    ProbabilisticPCA(1),
    RandomEffects("unknown"),
)
"""Variants that no bundled study covers."""


def variants() -> list[Model]:
    """The models of every study of every class in the folder, and `FURTHER`; each once."""
    found: list[Model] = []
    for cls in subclasses(models.catalogue, Model).values():
        studied = cls.examples() if issubclass(cls, HasExamples) else ((cls(), "", ()),)
        found += [model for model, _, _ in studied]
    return list(dict.fromkeys([*found, *FURTHER]))


@cache
def at_truth(model: Model, n: int = 60) -> xr.Dataset:
    """`n` units simulated at the model's truth."""
    return model.simulate(np.random.default_rng(7), model.truth, n)


def called(model: Model) -> str:
    """A short name for the identity of a test."""
    fields = vars(model)
    shown = ("k", "dim", "covariance", "factors", "within")
    return "-".join([model.name, *(str(fields[name]) for name in shown if name in fields)])
