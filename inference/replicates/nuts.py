"""The No-U-Turn sampler on many data sets at once, one chain each, all in one compiled program.

Every chain adapts its own step size and mass matrix; a batch takes as long as its longest
trajectory.  For studies that need a few nearly independent draws of very many posteriors.
Reference: Hoffman & Gelman (2014), JMLR 15.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from inference.information.derivatives import value
from inference.replicates.everywhere import everywhere
from inference.replicates.simulated import Batch
from inference.replicates.stages import Stages, compiled
from models.spec import Model

_TARGET_ACCEPT = 0.9
_DEPTH = 5
"""Most doublings of a trajectory: all chains of a batch wait for the longest, and shorter ones
leave the posterior invariant too."""


class Chains(NamedTuple):
    """One chain for each of R data sets."""

    points: np.ndarray  # shape (R, draws, k), in the unconstrained space
    usable: np.ndarray  # Boolean, shape (R,): no trajectory diverged and every number is finite


def sample(
    model: Model, batch: Batch, start: np.ndarray, *, warm_up: int, draws: int, thin: int
) -> Chains:
    """Draws from the posterior of every data set of a batch by NumPyro's kernel.

    Args:
        model: the model.
        batch: the data sets.
        start: where each chain begins, shape (R, k), in the unconstrained space.
        warm_up: draws of each chain spent on adaptation.
        draws: draws kept of each chain.
        thin: one of so many is kept.
    """
    chain = compiled(model, batch).batched(_chain, warm_up, draws, thin)
    seeds = np.array([rng.integers(2**63) for rng in batch.streams])
    points, diverged = everywhere(chain, (batch.arrays, start, seeds))
    return Chains(points, np.isfinite(points).all(axis=(1, 2)) & ~diverged)


def autocorrelation(draws: np.ndarray) -> np.ndarray:
    """Correlation of neighbouring draws, (R, m) from (R, draws, m); 0 for a constant."""
    away = draws - draws.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of a constant
        return np.nan_to_num((away[:, 1:] * away[:, :-1]).sum(axis=1) / (away**2).sum(axis=1))


def _chain(
    stages: Stages,
    warm_up: int,
    draws: int,
    thin: int,
    arrays: tuple[Array, ...],
    start: Array,
    seed: Array,
) -> tuple[Array, Array]:
    """The draws of one chain, and whether any trajectory of theirs diverged."""
    from numpyro import infer

    target = stages.density(arrays)
    kernel = infer.NUTS(
        potential_fn=lambda u: -value(target, "posterior", u),
        target_accept_prob=_TARGET_ACCEPT,
        dense_mass=True,
        max_tree_depth=_DEPTH,
    )

    def step(_: int, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        state = kernel.sample(carry[0], (), {})
        return state, carry[1] | state.diverging

    def keep(carry: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], Array]:
        carry = jax.lax.fori_loop(0, thin, step, carry)
        return carry, carry[0].z

    begun = kernel.init(jax.random.key(seed), warm_up, start, (), {})
    tuned, _ = jax.lax.fori_loop(0, warm_up, step, (begun, jnp.asarray(False)))
    (_, diverged), points = jax.lax.scan(keep, (tuned, jnp.asarray(False)), length=draws)
    return points, diverged
