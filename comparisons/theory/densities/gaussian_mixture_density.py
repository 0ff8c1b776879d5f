"""Exact likelihood: a mixture of spherical normals, p(x) = Σ_j w_j N(x | μ_j, σ²I), by its maximum.

Everything is the repository's own: the model, its NumPyro program's density and its optimiser.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from comparisons.reference import values_at
from comparisons.theory.densities import DensityEstimator, Fitted, as_data, from_model
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian_mixture import GaussianMixture


@final
@dataclass(frozen=True)
class GaussianMixtureDensity(DensityEstimator):
    """Maximum likelihood in a mixture of nature's order."""

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        model = GaussianMixture(3, 2, "spherical")
        estimate = MaximumLikelihood(restarts=6).fit(model, as_data(train), rng)
        fitted = from_model(model, values_at(estimate), "exact")
        return replace(fitted, problems=estimate.problems)
