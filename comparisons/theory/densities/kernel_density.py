"""No parametric likelihood: q(x) = N⁻¹ Σ_i Π_d φ((x_d − x_id)/h_d)/h_d, a normal at every point.

With h of order N^(−1/(D + 4)) the integrated squared error is of order N^(−4/(D + 4)).  The
bandwidths h are statsmodels': the rule for normal data, or those that minimise cross-validated
minus log-likelihood or squared error (on random parts of the data, whose choices are
rescaled to N and the median taken).
References: Silverman (1986), Density Estimation, §3.4, §4.3; Li & Racine (2007), Nonparametric
Econometrics, ch. 1.
"""

from dataclasses import dataclass
from typing import Literal, final

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp

from comparisons.theory.densities import DensityEstimator, Fitted, gradient

Selector = Literal["normal_reference", "cv_ml", "cv_ls"]

_PART = 100  # rows on which cross-validation chooses at a time: its cost is quadratic in them
_PARTS = 5  # how many such parts, where there are rows for them


@final
@dataclass(frozen=True)
class KernelDensity(DensityEstimator):
    """Product of normal kernels."""

    bandwidth: Selector = "cv_ml"
    """statsmodels' selector."""

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        h = bandwidths(train, self.bandwidth, rng)
        kernels = jnp.asarray(train / h)
        dim = train.shape[1]
        constant = np.log(len(train)) + np.log(h).sum() + dim / 2 * np.log(2 * np.pi)

        def log_density(x: Array) -> Array:
            square = sum(((x / h)[:, None, d] - kernels[:, d]) ** 2 for d in range(dim))
            return logsumexp(-0.5 * square, axis=1) - constant

        def sample(rng: np.random.Generator, n: int) -> np.ndarray:
            return rng.choice(train, n) + h * rng.standard_normal((n, dim))

        fine = bool((np.isfinite(h) & (h > 0)).all())
        return Fitted(
            "nonparametric",
            log_density,
            score=gradient(log_density),
            sample=sample,
            parameters=train.size,
            problems=() if fine else (f"the bandwidths are {h}",),
        )


def bandwidths(train: np.ndarray, selector: Selector, rng: np.random.Generator) -> np.ndarray:
    """statsmodels' bandwidths h, shape (D,), in the units of the data, shape (N, D)."""
    from statsmodels.nonparametric.kernel_density import KDEMultivariate

    def choice(data: np.ndarray) -> np.ndarray:
        # the search tries bandwidths at which a point has no neighbours
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(KDEMultivariate(data, "c" * data.shape[1], bw=selector, rng=rng).bw)

    if selector == "normal_reference":
        return choice(train)
    # statsmodels' own choice by parts ("efficient") was slower and worse
    used = min(_PARTS, len(train) // _PART) * _PART
    parts = rng.permutation(len(train))[:used].reshape(-1, _PART)
    median = np.median([choice(train[rows]) for rows in parts], axis=0)
    return median * (_PART / len(train)) ** (1 / (train.shape[1] + 4))
