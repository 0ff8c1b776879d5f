"""Mean-field Gaussian variational inference on many data sets at once.

With f the log posterior of u and q = N(m, diag s²), the ELBO is stationary where
E_q[∇f] = 0 and s_j² = −1 / E_q[∂²f/∂u_j²], and E_q[∂²f/∂u_j²] = E_q[∂_j f · z_j] / s_j for
u = m + s z.  Expectations are means over points that are the same for every data set; both
equations are iterated, the first by Newton's method with the precision at the mode.
References: Opper & Archambeau (2009), Neural Computation 21; Bonnet (1964).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.information.derivatives import quantity_jacobian, value
from inference.optimisation.elbo import standard_points
from inference.replicates.everywhere import everywhere
from inference.replicates.fits import climbed
from inference.replicates.posteriors import DRAWS, Weighted
from inference.replicates.simulated import Batch
from inference.replicates.stages import Stages, compiled
from models.programs.density import Language, density, languages
from models.spec import Model

_STEPS = 25
_POINTS = 64
_NEAR = 1e-3  # last step, in standard deviations of q, below which it has converged


def mean_field(model: Model, batch: Batch, u: np.ndarray) -> Weighted:
    """Draws of the best Gaussian with independent coordinates, by data set; no evidence.

    The mode is looked for from u, shape (R, k).
    """
    stages = compiled(model, batch)
    mode, precision, found = climbed(model, batch, u, "posterior")
    noise = np.stack([rng.standard_normal((DRAWS, mode.shape[1])) for rng in batch.streams])
    loc, scale, last = everywhere(stages.batched(_fit), (batch.arrays, mode, precision))
    points = loc[:, None] + scale[:, None] * noise
    even = np.full(points.shape[:2], 1 / DRAWS)
    reported = everywhere(stages.flat, (points,))
    return Weighted(reported, even, found & (last < _NEAR), np.full(len(found), np.nan))


def shrinkage(model: Model, batch: Batch, u: np.ndarray, language: Language) -> np.ndarray:
    """How much narrower the best independent coordinates are than the posterior, shape (R, m).

    √(G diag(1/Λ_jj) Gᵀ / G Λ⁻¹ Gᵀ), Λ the precision at the posterior's mode and G the
    derivatives of the quantities: exact for a normal posterior. NaN for a constant, and where
    there is no mode.

    Args:
        model: the model.
        batch: the data sets.
        u: where to look for the mode from, shape (R, k).
        language: whose unconstrained space has the independent coordinates.
    """
    mode, precision, found = climbed(model, batch, u, "posterior")
    ratio = narrowing(model, batch.template, mode, precision, language)
    return np.where(found[:, None], ratio, np.nan)


def narrowing(
    model: Model, data: xr.Dataset, u: np.ndarray, precision: np.ndarray, language: Language
) -> np.ndarray:
    """Sds of quantities by diag(1/Λ_jj) over those by Λ⁻¹, shape (R, m); NaN for a constant.

    Args:
        model: the model.
        data: any data set of its shape.
        u: where, in the NumPyro program's unconstrained space, shape (R, k).
        precision: Λ there, shape (R, k, k); carried to another space as a tensor, which it is but
            for terms of order 1, one in N of it.
        language: whose unconstrained space has the independent coordinates.
    """
    target = density(model, data)
    jacobian = np.asarray(jax.jit(jax.vmap(quantity_jacobian(model, target)))(u))
    covariance = np.linalg.inv(precision)
    if language != languages(model)[0]:
        other = density(model, data, language)
        turn = np.asarray(jax.vmap(jax.jacfwd(lambda v: other.unconstrain(target.constrain(v))))(u))
        covariance = turn @ covariance @ np.swapaxes(turn, 1, 2)
        jacobian = jacobian @ np.linalg.inv(turn)
    alone = 1 / np.diagonal(np.linalg.inv(covariance), axis1=1, axis2=2)
    narrow = np.einsum("rmj,rj->rm", jacobian**2, alone)
    full = np.einsum("rmi,rij,rmj->rm", jacobian, covariance, jacobian)
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has an sd of 0
        return np.sqrt(narrow / full)


def _fit(
    stages: Stages, arrays: tuple[Array, ...], mode: Array, precision: Array
) -> tuple[Array, Array, Array]:
    """Mean and sd of the best law of one replicate, and the last step in standard deviations."""
    count = max(_POINTS, 1 << (4 * mode.size - 1).bit_length())
    z = jnp.asarray(standard_points(np.random.default_rng(0), count, mode.size))
    gradient = jax.grad(partial(value, stages.density(arrays), "posterior"))

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        loc, scale, _last = state
        slope = jax.lax.map(gradient, loc + scale * z, batch_size=16)
        move = jnp.linalg.solve(precision, slope.mean(axis=0))
        curvature = -(slope * z).mean(axis=0) / scale
        ratio = jnp.where(curvature > 0, 1 / (scale * jnp.sqrt(jnp.abs(curvature))), 2.0)
        ratio = jnp.clip(ratio, 0.5, 2.0)
        last = jnp.maximum(jnp.max(jnp.abs(move) / scale), jnp.max(jnp.abs(jnp.log(ratio))))
        return loc + jnp.clip(move, -1.0, 1.0), scale * ratio, last

    start = mode, 1 / jnp.sqrt(jnp.diag(precision)), jnp.asarray(jnp.inf)
    return jax.lax.fori_loop(0, _STEPS, step, start)
