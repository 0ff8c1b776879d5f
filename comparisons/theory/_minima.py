"""Functions of JAX as SciPy minimises them, and the normal law of least divergence."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from inference.optimisation.newton import bfgs

EXACT = 1e-5
"""Distance at which a minimiser stops: an objective is flat to 1e-10 there, above its rounding."""


def slopes(function: Callable[..., Array]) -> Callable[..., tuple[float, np.ndarray]]:
    """(u, …) ↦ the value at a vector u, and the gradient in u; compiled once."""
    both = jax.jit(jax.value_and_grad(function))

    def evaluate(u: np.ndarray, *further: float) -> tuple[float, np.ndarray]:
        value, gradient = both(u, *further)
        return float(value), np.asarray(gradient)

    return evaluate


def nearest(objective: Callable[[Array], Array], start: float) -> np.ndarray | None:
    """(location, log scale) of least divergence near a start; None if that is not stationary."""
    return minimiser(objective)(start)


def minimiser(objective: Callable[..., Array]) -> Callable[..., np.ndarray | None]:
    """(start, …) ↦ `nearest` for an objective of a law and further numbers; compiled once."""
    evaluate, curvature = slopes(objective), jax.jit(jax.hessian(objective))

    def find(start: float, *further: float) -> np.ndarray | None:
        end = bfgs(lambda law: evaluate(law, *further), np.array([start, 0.5]), 1e-9)
        if end is None:
            return None
        step = np.linalg.solve(np.asarray(curvature(end.x, *further)), end.jac)
        return end.x if np.abs(step).max() < 0.1 * EXACT else None

    return find
