"""Posteriors of many data sets at once: Laplace's, exact ones by importance sampling, and LOO.

Laplace draws from N(û, H⁻¹) at the mode û of the unconstrained posterior; the exact posterior
weights draws of a Student t law there by the density over that law's.
Reference: Geweke (1989), Econometrica 57.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from scipy.special import gammaln, logsumexp

from inference.information.derivatives import value
from inference.replicates.everywhere import everywhere
from inference.replicates.fits import climbed
from inference.replicates.simulated import Batch
from inference.replicates.stages import Stages, compiled
from models.spec import Model

DRAWS = 400  # draws of each posterior
_FREEDOM, _WORTH = 5.0, 0.1
"""Degrees of freedom of the law that proposes draws, and least effective share of weighted ones."""


class Weighted(NamedTuple):
    """Draws of each replicate's posterior with weights that sum to one; S draws."""

    quantities: np.ndarray  # shape (R, S, m)
    weights: np.ndarray  # shape (R, S)
    usable: np.ndarray
    """Boolean, shape (R,): there is a mode, and the weights are worth enough draws."""
    log_evidence: np.ndarray  # log p(x) of each replicate by these draws, nats, shape (R,)


def posteriors(model: Model, batch: Batch, u: np.ndarray) -> dict[str, Weighted]:
    """Two posteriors of each replicate, `laplace[numpyro]` and `posterior`, the exact one.

    The mode is looked for from u, shape (R, k), such as the maximum-likelihood estimate.
    """
    stages = compiled(model, batch)
    log_posteriors = stages.batched(_log_posteriors)
    mode, precision, found = climbed(model, batch, u, "posterior")
    k = mode.shape[1]
    factor = np.linalg.cholesky(precision)
    normal = np.stack([rng.standard_normal((DRAWS, k)) for rng in batch.streams])
    mixing = np.stack([np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, DRAWS)) for rng in batch.streams])
    standard = np.linalg.solve(np.swapaxes(factor, 1, 2)[:, None], normal[..., None])[..., 0]
    light, heavy = mode[:, None] + standard, mode[:, None] + mixing[..., None] * standard
    top = everywhere(log_posteriors, (batch.arrays, mode[:, None]))[:, 0]
    square = ((mixing[..., None] * normal) ** 2).sum(axis=2)
    log = everywhere(log_posteriors, (batch.arrays, heavy))
    log = log + 0.5 * (_FREEDOM + k) * np.log1p(square / _FREEDOM)
    log = np.where(np.isfinite(log), log, -np.inf)
    with np.errstate(invalid="ignore"):  # where there is no mode
        weights = np.exp(log - log.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    enough = 1 / (weights**2).sum(axis=1) > _WORTH * DRAWS
    half = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    heavy_constant = gammaln((_FREEDOM + k) / 2) - gammaln(_FREEDOM / 2)
    heavy_constant -= 0.5 * k * np.log(np.pi * _FREEDOM)
    exact = logsumexp(log, axis=1) - np.log(DRAWS) - heavy_constant - half
    about = top + 0.5 * k * np.log(2 * np.pi) - half
    laplace, ours = (everywhere(stages.flat, (points,)) for points in (light, heavy))
    even = np.full_like(weights, 1 / DRAWS)
    return {
        "laplace[numpyro]": Weighted(laplace, even, found, about),
        "posterior": Weighted(ours, weights, found & enough, exact),
    }


def _log_posteriors(stages: Stages, arrays: tuple[Array, ...], points: Array) -> Array:
    """The log posterior of one replicate at several points, unnormalised."""
    at = partial(value, stages.density(arrays), "posterior")
    return jax.lax.map(at, points, batch_size=20)
