"""Functions at many points, and the grids on which the trapezoidal rule integrates them.

For a smooth density that vanishes at the ends the rule converges exponentially in 1/step.
Reference: Trefethen & Weideman (2014), SIAM Review 56.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from inference.threads import pool

type Pointwise = Callable[[Array], Array]
"""A function of points, shape (M, D), traceable by JAX; one number or one row for each."""

_CHUNK = 4096
"""Points in memory at a time."""


def mesh(*axes: np.ndarray) -> np.ndarray:
    """All points with coordinates on the axes, shape (G, D); the last axis varies fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def gradient(function: Pointwise) -> Pointwise:
    """The gradient at every point, shape (M, D), of a function with one number for each."""
    return jax.grad(lambda x: jnp.sum(function(x)))


def everywhere(function: Pointwise, points: np.ndarray) -> np.ndarray:
    """A function at many points, a few thousand at a time and in threads; compiled once.

    Args:
        function: one number or one row for each point.
        points: shape (M, D).

    Returns:
        Its values, leading axis M.
    """
    padded = np.concatenate([points, np.repeat(points[:1], -len(points) % _CHUNK, axis=0)])
    compiled = _compiled(function)
    parts = jnp.asarray(padded.reshape(-1, _CHUNK, points.shape[1]))
    # traced before the threads start, so that only one compiles
    values = [np.asarray(compiled(parts[0]))]
    with pool() as threads:
        values += threads.map(lambda part: np.asarray(compiled(part)), parts[1:])
    return np.concatenate(values)[: len(points)]


@lru_cache(maxsize=64)
def _compiled(function: Pointwise) -> Pointwise:
    return jax.jit(function)
