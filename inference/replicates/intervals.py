"""Profile-likelihood and bootstrap intervals of many data sets at once.

The profile deviance of q(u) = q₀ is 2(ℓ(û) − max {ℓ(u) : q(u) = q₀}), χ² with one degree of freedom
in the limit; the constrained maximum is where Newton's method for ℓ(u) − λ (q(u) − q₀) leads.  A
bootstrap estimate maximises Σ w_i ℓ_i(u), w the counts of units drawn with replacement, by Newton
steps from û.
References: Pawitan (2001), In All Likelihood, §3.4; Efron & Tibshirani (1993), An Introduction to
the Bootstrap, §13.3.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from inference.information.derivatives import value
from inference.optimisation.newton import limited
from inference.replicates.everywhere import everywhere
from inference.replicates.fits import Replicates
from inference.replicates.simulated import Batch
from inference.replicates.stages import Stages, compiled
from models.programs.differentiation import jacobian
from models.spec import Model

_STEPS, _AGAIN = 12, 10
"""Newton steps to a constrained maximum, and to that of a resampled likelihood."""
_NEAR = 1e-3
"""Last step, in standard errors, below which these have converged; infinite at a saddle."""
_ROUNDING = 1e-6
"""By how much a maximum that is known to 1e-5 standard errors may fall short, and more."""


def profile_deviances(
    model: Model, batch: Batch, fits: Replicates, values: np.ndarray
) -> np.ndarray:
    """Profile deviances, 2(ℓ(û) − max ℓ subject to q_j = values_j), shape (R, m); NaN if not found.

    Args:
        model: the model.
        batch: the data sets.
        fits: their maximum-likelihood fits.
        values: shape (m,), one for each flat quantity.
    """
    wanted = np.tile(np.asarray(values, float), (batch.count, 1))
    arguments = batch.arrays, fits.u, fits.information, wanted
    deviance, last = everywhere(compiled(model, batch).batched(_profile), arguments)
    # below −rounding, û is not the maximum that the constrained one is held against
    found = (last < _NEAR) & fits.converged[:, None] & (deviance > -_ROUNDING)
    return np.where(found, deviance, np.nan)


def bootstrap(
    model: Model, batch: Batch, fits: Replicates, *, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates from resampled units, shape (R, draws, m), and where all of them are maxima, (R,).

    Args:
        model: the model.
        batch: the data sets.
        fits: their maximum-likelihood fits.
        draws: how many resampled sets of each.
    """
    seeds = np.array([rng.integers(2**63, size=draws) for rng in batch.streams])
    arguments = batch.arrays, fits.u, fits.information, seeds
    estimate, last = everywhere(compiled(model, batch).batched(_resample), arguments)
    return estimate, fits.converged & (last < _NEAR).all(axis=1)


def _profile(
    stages: Stages, arrays: tuple[Array, ...], u: Array, information: Array, wanted: Array
) -> tuple[Array, Array]:
    """The profile deviance of each quantity of one replicate, and its last step."""
    log_likelihood = partial(value, stages.density(arrays), "likelihood")

    def constrained(which: Array, wanted: Array) -> tuple[Array, Array]:
        def lagrangian(both: Array) -> Array:
            away = stages.reported(both[:-1])[which] - wanted
            return log_likelihood(both[:-1]) - both[-1] * away

        slope = jax.grad(lagrangian)
        end, move = _full_steps(slope, jnp.append(u, 0.0), _STEPS, u.size)
        # at a maximum under one constraint the bordered Hessian has one positive eigenvalue
        positive = jnp.sum(jnp.linalg.eigvalsh(jacobian(slope)(end)) > 0)
        deviance = 2 * (log_likelihood(u) - log_likelihood(end[:-1]))
        return deviance, jnp.where(positive == 1, _size(information, move[:-1]), jnp.inf)

    return jax.vmap(constrained)(jnp.arange(wanted.size), wanted)


def _resample(
    stages: Stages, arrays: tuple[Array, ...], u: Array, information: Array, seeds: Array
) -> tuple[Array, Array]:
    """The quantities at the maxima of resampled likelihoods of one replicate, and last steps."""
    units = stages.density(arrays).log_likelihood
    count = jax.eval_shape(units, u).shape[0]

    def resampled(seed: Array) -> tuple[Array, Array]:
        drawn = jax.random.randint(jax.random.key(seed), (count,), 0, count)
        weights = jnp.zeros(count).at[drawn].add(1.0)
        slope = jax.grad(lambda v: weights @ units(v))
        end, move = _full_steps(slope, u, _AGAIN, u.size)
        maximum = jnp.linalg.eigvalsh(jacobian(slope)(end))[-1] < 0
        return stages.reported(end), jnp.where(maximum, _size(information, move), jnp.inf)

    return jax.lax.map(resampled, seeds)


def _full_steps(
    slope: Callable[[Array], Array], start: Array, count: int, k: int
) -> tuple[Array, Array]:
    """Newton steps to where a slope is 0, limited in k coordinates: the end, and the last one."""

    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        u = state[0]
        move = -jnp.linalg.solve(jacobian(slope)(u), slope(u))
        # a multiplier after the k coordinates is estimated anew by each step
        return u + jnp.append(limited(move[:k]), move[k:]), move

    return jax.lax.fori_loop(0, count, step, (start, jnp.full_like(start, jnp.inf)))


def _size(information: Array, move: Array) -> Array:
    return jnp.sqrt(move @ information @ move)
