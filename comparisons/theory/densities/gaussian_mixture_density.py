"""Exact likelihood: a mixture of spherical normals, p(x) = Σ_j w_j N(x | μ_j, σ²I), by its maximum.

Everything is the suite's own: the model, its NumPyro program's density and its optimiser.
Reference: McLachlan & Peel (2000), Finite Mixture Models, ch. 2.
"""

from dataclasses import replace

import numpy as np

from comparisons.reference import values_at
from comparisons.theory.densities import Fitted, as_data, from_model
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian_mixture import GaussianMixture


def fit(train: np.ndarray, rng: np.random.Generator, effort: float) -> Fitted:
    """Maximum likelihood in a mixture of nature's order."""
    model = GaussianMixture(3, 2, "spherical")
    estimate = MaximumLikelihood(restarts=6).fit(model, as_data(train), rng)
    return replace(from_model(model, values_at(estimate), "exact"), problems=estimate.problems)
