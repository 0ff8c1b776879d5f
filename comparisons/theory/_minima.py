"""Where things end: minima by SciPy, stationary laws."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from inference.optimisation.newton import bfgs
from models.errors import FitError

EXACT = 1e-5  # where a minimiser stops: an objective is flat to 1e-10 there, above its rounding


def minimum(
    objective: Callable[[Array], Array], start: np.ndarray, gtol: float = 1e-9
) -> np.ndarray:
    """Where a function of a vector is least, near where the search begins.

    Raises:
        FitError: a step of Newton's method would still lead further.
    """
    both = jax.jit(jax.value_and_grad(objective))

    def evaluate(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(u)
        return float(value), np.asarray(gradient)

    end = bfgs(evaluate, start, gtol)
    if end is not None:
        step = np.linalg.lstsq(np.asarray(jax.jit(jax.hessian(objective))(end.x)), end.jac)[0]
        if np.abs(step).max() < 0.1 * EXACT:
            return end.x
    raise FitError("a minimiser has not ended at a minimum")


def stationary(p: np.ndarray) -> np.ndarray:
    """The law π with πP = π, shape (S,), of transitions of shape (S, S)."""
    system = np.vstack([p.T - np.eye(len(p)), np.ones(len(p))])
    return np.linalg.lstsq(system, np.append(np.zeros(len(p)), 1.0))[0]
