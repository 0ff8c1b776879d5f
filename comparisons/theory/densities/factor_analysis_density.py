"""Marginalised likelihood: x = μ + Wz + ε with z ~ N(0, 1) summed out is N(μ, WWᵀ + σ²I).

One factor and one common unique variance in the plane are as many parameters as a free covariance
has, so this is the one normal law with the moments of the data; its maximum is a formula.
Reference: Tipping & Bishop (1999), JRSS B 61.
"""

import numpy as np

from comparisons.theory.densities import Fitted, as_data, from_model
from models.catalogue.factor_analysis import ProbabilisticPCA


def fit(train: np.ndarray, rng: np.random.Generator, effort: float) -> Fitted:
    """Maximum likelihood in a linear model of one factor."""
    model = ProbabilisticPCA(1)
    values = model.maximum_likelihood(as_data(train))
    return from_model(model, values, "exact, latent variable summed out")
