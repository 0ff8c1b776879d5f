"""Posteriors of many data sets at once: Laplace's, exact ones by importance sampling, and LOO.

Laplace draws from N(û, H⁻¹) at the mode û of the unconstrained posterior; the exact posterior
weights draws of a Student t law there by the density over that law's.
Reference: Geweke (1989), Econometrica 57.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from inference.replicates.everywhere import everywhere
from inference.replicates.fits import climbed
from inference.replicates.simulated import Batch
from inference.replicates.stages import compiled
from models.spec import Model

_FREEDOM = 5.0
"""Degrees of freedom of the law that proposes posterior draws."""
_WORTH = 0.1
"""Least effective share of weighted draws."""


class Weighted(NamedTuple):
    """Draws of each replicate's posterior with weights that sum to one; S draws."""

    points: np.ndarray
    """In the unconstrained space, shape (R, S, k)."""
    quantities: np.ndarray
    """Shape (R, S, m)."""
    weights: np.ndarray
    """Shape (R, S)."""
    usable: np.ndarray
    """Boolean, shape (R,): there is a mode, and the weights are worth enough draws."""
    log_evidence: np.ndarray
    """log p(x) of each replicate by these draws, nats, shape (R,)."""


def posteriors(
    model: Model, batch: Batch, u: np.ndarray, *, draws: int = 400
) -> dict[str, Weighted]:
    """Two posteriors of each replicate, `laplace[numpyro]` and `posterior`, the exact one.

    Args:
        model: the model.
        batch: the data sets.
        u: where to look for the mode from, shape (R, k), such as the maximum-likelihood estimate.
        draws: S.
    """
    stages = compiled(model, batch)
    mode, precision, found = climbed(model, batch, u, "posterior")
    k = mode.shape[1]
    factor = np.linalg.cholesky(precision)
    normal = np.stack([rng.standard_normal((draws, k)) for rng in batch.streams])
    mixing = np.stack([np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, draws)) for rng in batch.streams])
    standard = np.linalg.solve(np.swapaxes(factor, 1, 2)[:, None], normal[..., None])[..., 0]
    light, heavy = mode[:, None] + standard, mode[:, None] + mixing[..., None] * standard
    top = everywhere(stages.log_posteriors, (batch.arrays, mode[:, None]))[:, 0]
    square = ((mixing[..., None] * normal) ** 2).sum(axis=2)
    log = everywhere(stages.log_posteriors, (batch.arrays, heavy))
    log = log + 0.5 * (_FREEDOM + k) * np.log1p(square / _FREEDOM)
    log = np.where(np.isfinite(log), log, -np.inf)
    with np.errstate(invalid="ignore"):  # where there is no mode
        weights = np.exp(log - log.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    enough = 1 / (weights**2).sum(axis=1) > _WORTH * draws
    half = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    heavy_constant = gammaln((_FREEDOM + k) / 2) - gammaln(_FREEDOM / 2)
    heavy_constant -= 0.5 * k * np.log(np.pi * _FREEDOM)
    exact = logsumexp(log, axis=1) - np.log(draws) - heavy_constant - half
    about = top + 0.5 * k * np.log(2 * np.pi) - half
    laplace, ours = (everywhere(stages.flat, (points,)) for points in (light, heavy))
    even = np.full_like(weights, 1 / draws)
    return {
        "laplace[numpyro]": Weighted(light, laplace, even, found, about),
        "posterior": Weighted(heavy, ours, weights, found & enough, exact),
    }


def leave_one_out(model: Model, batch: Batch, draws: Weighted) -> np.ndarray:
    """Expected log predictive density of each unit by the others, summed, nats, shape (R,).

    p(x_i | x_{−i}) = Σ_s w_is p(x_i | θ_s) / Σ_s w_is with w_is = ω_s/p(x_i | θ_s): the S draws θ_s
    of the posterior, of weights ω_s, are weighted once more.  Each w_is is cut at √S times the mean
    of them over s, so that the variance is finite.
    References: Gelfand, Dey & Chang (1992), Bayesian Statistics 4; Ionides (2008), J. Comput.
    Graph. Statist. 17.
    """
    stage = compiled(model, batch).leave_one_out
    return everywhere(stage, (batch.arrays, draws.points, draws.weights))
