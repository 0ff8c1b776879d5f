"""Many points of a density at once: its terms, and the way between its two spaces.

What is compiled takes a fixed number of points a call, so that any number of them compiles once.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from models.programs.density import Density, quantities, units
from models.spec import Model, Values

_CHUNK = 2_000  # points per call of a compiled function
_AT_ONCE = 5_000_000
"""Most pointwise log-likelihoods in memory at a time while they are only summed."""


def chunked(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of arrays with a leading axis of points, compiled for a fixed number of them.

    The last chunk is filled by repeating points, which are then dropped.
    """
    compiled = jax.jit(function)

    def any_number(arrays: Any) -> Any:
        count = int(jnp.shape(jax.tree.leaves(arrays)[0])[0])
        whole = -(-count // _CHUNK) * _CHUNK
        filled = jax.tree.map(lambda x: np.resize(x, (whole, *np.shape(x)[1:])), arrays)
        parts = [
            compiled(jax.tree.map(lambda x, at=at: x[at : at + _CHUNK], filled))
            for at in range(0, whole, _CHUNK)
        ]
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    return any_number


class Terms(NamedTuple):
    """Terms of a density at many points, functions of an array of shape (s, k)."""

    totals: Callable[[ArrayLike], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Log-likelihood, log prior and log-Jacobian, each of shape (s,)."""
    pointwise: Callable[[ArrayLike], np.ndarray]  # log p(x_i | θ), shape (s, N)


@lru_cache(maxsize=64)
def terms(target: Density) -> Terms:
    """The compiled terms of a density, which all who ask for them share."""
    batch = max(1, min(256, _AT_ONCE // units(target.model, target.data)))

    def totals(u: Array) -> tuple[Array, Array, Array]:
        return jnp.sum(target.log_likelihood(u)), target.log_prior(u), target.log_jacobian(u)

    return Terms(
        chunked(lambda points: jax.lax.map(totals, points, batch_size=batch)),
        chunked(lambda points: jax.lax.map(target.log_likelihood, points, batch_size=batch)),
    )


@lru_cache(maxsize=128)
def each(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one point as one of many, compiled once."""
    return chunked(jax.vmap(function))


def to_natural(target: Density, points: np.ndarray) -> dict[str, np.ndarray]:
    """Draws on the natural scale, shape (chain, draw, …), of unconstrained (chain, draw, k)."""
    shape = points.shape[:2]
    values = each(target.constrain)(points.reshape(-1, target.size))
    return {name: np.reshape(x, (*shape, *x.shape[1:])) for name, x in values.items()}


def to_unconstrained(target: Density, values: Mapping[str, ArrayLike]) -> np.ndarray:
    """Draws in the unconstrained space, shape (s, k), of those on the natural scale, (s, …)."""
    return each(target.unconstrain)(dict(values))


@lru_cache(maxsize=64)
def reported(model: Model) -> Callable[[Values], Values]:
    """Parameters of many points ↦ the quantities of each."""
    return chunked(jax.vmap(partial(quantities, model)))
