"""Profile-likelihood and bootstrap intervals of many data sets at once.

The profile deviance of q(u) = q₀ is 2(ℓ(û) − max {ℓ(u) : q(u) = q₀}), χ² with one degree of freedom
in the limit; the constrained maximum is where Newton's method for ℓ(u) − λ (q(u) − q₀) leads.  A
bootstrap estimate maximises Σ w_i ℓ_i(u), w the counts of units drawn with replacement, by Newton
steps from û.
References: Pawitan (2001), In All Likelihood, §3.4; Efron & Tibshirani (1993), An Introduction to
the Bootstrap, §13.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from inference.posterior.labels import canonical
from inference.replicates.everywhere import everywhere
from inference.replicates.simulated import Template
from inference.threads import pool as threads
from models.programs.density import flatten, quantities, replicable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from inference.replicates.fits import Replicates
    from inference.replicates.simulated import Batch
    from models.spec import Model

_STEPS = 12
"""Newton steps to a constrained maximum."""
_AGAIN = 10
"""Newton steps to the maximum of a resampled likelihood."""
_NEAR = 1e-3
"""Last step, in standard errors, below which these have converged; infinite at a saddle."""
_ROUNDING = 1e-6
"""By how much a maximum that is known to 1e-5 standard errors may fall short, and more."""


def profile_deviances(
    model: Model, batch: Batch, fits: Replicates, values: np.ndarray
) -> np.ndarray:
    """2(ℓ(û) − max ℓ subject to q_j = values_j), NaN where it is not found, shape (R, m).

    Args:
        model: the model.
        batch: the data sets.
        fits: their maximum-likelihood fits.
        values: shape (m,), one for each flat quantity.
    """
    count = batch.count
    targets = np.tile(np.asarray(values, float), (count, 1))
    profile, _ = _compiled(model, batch.shape)
    arguments = batch.arrays, fits.u, fits.information, targets
    with threads() as pool:
        deviance, last = everywhere(profile, arguments, np.arange(count), pool)
    # below −rounding, û is not the maximum that the constrained one is held against
    found = (last < _NEAR) & fits.converged[:, None] & (deviance > -_ROUNDING)
    return np.where(found, deviance, np.nan)


def bootstrap(
    model: Model, batch: Batch, fits: Replicates, *, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates from resampled units, shape (R, draws, m), and whether all of them are maxima."""
    _, resample = _compiled(model, batch.shape)
    seeds = np.array([rng.integers(2**63, size=draws) for rng in batch.streams])
    with threads() as pool:
        arguments = batch.arrays, fits.u, fits.information, seeds
        estimate, last = everywhere(resample, arguments, np.arange(batch.count), pool)
    return estimate, fits.converged & (last < _NEAR).all(axis=1)


@lru_cache(maxsize=8)
def _compiled(model: Model, template: Template) -> tuple[Callable[..., Any], Callable[..., Any]]:
    target, log_likelihood = replicable(model, template.dataset)

    def flat(u: Array) -> Array:
        return flatten(quantities(model, canonical(model, target.constrain(u))))

    def size(move: Array, information: Array) -> Array:
        return jnp.sqrt(move @ information @ move)

    def limited(move: Array) -> Array:
        return move * jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-12))

    def profile(
        arrays: tuple[Array, ...], u: Array, information: Array, targets: Array
    ) -> tuple[Array, Array]:
        data = template.filled(arrays)

        def height(v: Array) -> Array:
            return jnp.sum(log_likelihood(data, v))

        def one(which: Array, value: Array) -> tuple[Array, Array]:
            def lagrangian(both: Array) -> Array:
                return height(both[:-1]) - both[-1] * (flat(both[:-1])[which] - value)

            slope = jax.grad(lagrangian)

            def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
                move = -jnp.linalg.solve(jax.jacfwd(slope)(state[0]), slope(state[0]))
                shift = limited(move[:-1])
                # the multiplier is estimated anew by each step
                return state[0] + jnp.append(shift, move[-1]), size(move[:-1], information)

            start = jnp.append(u, 0.0), jnp.asarray(jnp.inf)
            end, last = jax.lax.fori_loop(0, _STEPS, step, start)
            # at a maximum under one constraint the bordered Hessian has one positive eigenvalue
            positive = jnp.sum(jnp.linalg.eigvalsh(jax.jacfwd(slope)(end)) > 0)
            return 2 * (height(u) - height(end[:-1])), jnp.where(positive == 1, last, jnp.inf)

        return jax.vmap(one)(jnp.arange(targets.size), targets)

    def resample(
        arrays: tuple[Array, ...], u: Array, information: Array, seeds: Array
    ) -> tuple[Array, Array]:
        data = template.filled(arrays)

        def one(seed: Array) -> tuple[Array, Array]:
            count = jax.eval_shape(lambda v: log_likelihood(data, v), u).shape[0]
            drawn = jax.random.randint(jax.random.key(seed), (count,), 0, count)
            weights = jnp.zeros(count).at[drawn].add(1.0)
            slope = jax.grad(lambda v: weights @ log_likelihood(data, v))

            def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
                move = -jnp.linalg.solve(jax.jacfwd(slope)(state[0]), slope(state[0]))
                return state[0] + limited(move), size(move, information)

            end, last = jax.lax.fori_loop(0, _AGAIN, step, (u, jnp.asarray(jnp.inf)))
            maximum = jnp.linalg.eigvalsh(jax.jacfwd(slope)(end))[-1] < 0
            return flat(end), jnp.where(maximum, last, jnp.inf)

        return jax.lax.map(one, seeds)

    return jax.jit(jax.vmap(profile)), jax.jit(jax.vmap(resample))
