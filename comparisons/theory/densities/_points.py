"""Densities at many points: those of programs, and the grids on which they are integrated.

For a smooth density that vanishes at the ends the trapezoidal rule converges exponentially in
1/step.
Reference: Trefethen & Weideman (2014), SIAM Review 56.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.threads import pool
from models.programs.density import replicable
from models.spec import Model, Values

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
    """A function at many points, shape (M, D), a few thousand at a time and in threads."""
    padded = np.concatenate([points, np.repeat(points[:1], -len(points) % _CHUNK, axis=0)])
    compiled = jax.jit(function)
    parts = jnp.asarray(padded.reshape(-1, _CHUNK, points.shape[1]))
    # traced before the threads start, so that only one compiles
    values = [np.asarray(compiled(parts[0]))]
    with pool() as threads:
        values += threads.map(lambda part: np.asarray(compiled(part)), parts[1:])
    return np.concatenate(values)[: len(points)]


def as_data(points: Any) -> xr.Dataset:
    """Points, shape (M, 2) or (M,), as the data set of a model with one column of them."""
    return xr.Dataset({"y": (("obs", "variable")[: points.ndim], points)})


TEMPLATE = as_data(np.array([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
"""Any data of two columns: they give a program its shapes."""
LINE = as_data(np.array([0.0, 1.0, 2.0]))
"""Any data of one column of numbers."""


def log_density_at(model: Model, values: Values, template: xr.Dataset = TEMPLATE) -> Pointwise:
    """x ↦ log p(x | θ), shape (M,), of points as the template has them, off the NumPyro program."""
    density, log_likelihood = replicable(model, template)
    u = density.unconstrain(values)
    return lambda x: log_likelihood(as_data(x), u)
