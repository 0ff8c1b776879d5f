"""Exact likelihood: a mixture of spherical normals, p(x) = Σ_j w_j N(x | μ_j, σ²I), by its maximum.

Everything is the repository's own: the model, its NumPyro program's density and its optimiser.
"""

from dataclasses import dataclass, replace
from typing import final

import jax.numpy as jnp
import numpy as np

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_model
from comparisons.theory.densities._points import as_data
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian_mixture import GaussianMixture


@final
@dataclass(frozen=True)
class GaussianMixtureDensity(DensityEstimator):
    """Maximum likelihood in a mixture of nature's order."""

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        model = GaussianMixture(3, 2, "spherical")
        estimate = MaximumLikelihood(restarts=6).fit(model, as_data(train), rng)
        values = {str(name): jnp.asarray(array.data) for name, array in estimate.point.items()}
        record = estimate.record.attrs
        return replace(
            from_model(model, values, "exact"),
            updates=record["restarts"],
            compile=record["compile"],
            run=record["run"],
            problems=estimate.problems,
        )
