"""Marginalised likelihood: x = μ + Wz + ε with z ~ N(0, 1) summed out is N(μ, WWᵀ + σ²I).

One factor and one common unique variance in the plane are as many parameters as a free covariance
has, so this is the one normal law with the moments of the data; its maximum is a formula.
Reference: Tipping & Bishop (1999), JRSS B 61.
"""

import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_model
from comparisons.theory.densities._points import as_data
from models.catalogue.factor_analysis import ProbabilisticPCA


@final
@dataclass(frozen=True)
class FactorAnalysisDensity(DensityEstimator):
    """Maximum likelihood in a linear model of one factor."""

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        model, began = ProbabilisticPCA(1), time.perf_counter()
        values = model.maximum_likelihood(as_data(train))
        run = time.perf_counter() - began
        return replace(from_model(model, values, "exact, latent variable summed out"), run=run)
