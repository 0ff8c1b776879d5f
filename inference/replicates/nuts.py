"""The No-U-Turn sampler on many data sets at once, one chain each, all in one compiled program.

Every chain adapts its own step size and mass matrix; a batch takes as long as its longest
trajectory.  For studies that need a few nearly independent draws of very many posteriors.
Reference: Hoffman & Gelman (2014), JMLR 15.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.replicates.everywhere import everywhere
from inference.replicates.simulated import Template
from inference.threads import pool as threads
from models.programs.density import replicable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from inference.replicates.simulated import Batch
    from models.spec import Model

_TARGET_ACCEPT = 0.9
_DEPTH = 5
"""Most doublings of a trajectory: all chains of a batch wait for the longest, and shorter ones
leave the posterior invariant too."""


class Chains(NamedTuple):
    """One chain for each of R data sets."""

    points: np.ndarray
    """Shape (R, draws, k), in the chart."""
    usable: np.ndarray
    """Boolean, shape (R,): no trajectory diverged and every number is finite."""


def sample(
    model: Model, batch: Batch, start: np.ndarray, *, warm_up: int, draws: int, thin: int
) -> Chains:
    """Draws from the posterior of every data set of a batch by NumPyro's kernel.

    Args:
        model: the model.
        batch: the data sets.
        start: where each chain begins, shape (R, k), in the chart.
        warm_up: draws of each chain spent on adaptation.
        draws: draws kept of each chain.
        thin: one of so many is kept.
    """
    template = batch.shape
    chain = _compiled(model, template, warm_up, draws, thin)
    seeds = np.array([rng.integers(2**63) for rng in batch.streams])
    with threads() as pool:
        arguments = batch.arrays, start, seeds
        points, diverged = everywhere(chain, arguments, np.arange(batch.count), pool)
    finite = np.isfinite(points).all(axis=(1, 2))
    return Chains(points, finite & ~diverged)


def autocorrelation(draws: np.ndarray) -> np.ndarray:
    """Of neighbouring draws, shape (R, m) from (R, draws, m); 0 for a constant."""
    away = draws - draws.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of a constant
        return np.nan_to_num((away[:, 1:] * away[:, :-1]).sum(axis=1) / (away**2).sum(axis=1))


@lru_cache(maxsize=8)
def _compiled(
    model: Model, template: Template, warm_up: int, draws: int, thin: int
) -> Callable[..., Any]:
    from numpyro import infer

    target, log_likelihood = replicable(model, template.dataset)

    def chain(arrays: tuple[Array, ...], start: Array, seed: Array) -> tuple[Array, Array]:
        data = template.filled(arrays)

        def potential(u: Array) -> Array:
            return -(
                jnp.sum(log_likelihood(data, u)) + target.log_prior(u) + target.log_jacobian(u)
            )

        kernel = infer.NUTS(
            potential_fn=potential,
            target_accept_prob=_TARGET_ACCEPT,
            dense_mass=True,
            max_tree_depth=_DEPTH,
        )

        def step(_: int, state: Any) -> Any:
            return kernel.sample(state, (), {})

        def keep(carry: tuple[Any, Array], _: None) -> tuple[tuple[Any, Array], Array]:
            def one(_: int, inner: tuple[Any, Array]) -> tuple[Any, Array]:
                state = kernel.sample(inner[0], (), {})
                return state, inner[1] | state.diverging

            state, diverged = jax.lax.fori_loop(0, thin, one, carry)
            return (state, diverged), state.z

        state = kernel.init(jax.random.key(seed), warm_up, start, (), {})
        state = jax.lax.fori_loop(0, warm_up, step, state)
        (_, diverged), points = jax.lax.scan(keep, (state, jnp.asarray(False)), length=draws)
        return points, diverged

    return jax.jit(jax.vmap(chain))
