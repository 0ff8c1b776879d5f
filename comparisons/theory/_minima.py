"""Where things end: minima by SciPy, the nearest normal law, steps of EM, stationary laws."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from comparisons.theory.densities import as_data
from inference.optimisation.newton import bfgs
from models.catalogue.gaussian_mixture import GaussianMixture
from models.errors import FitError
from models.spec import Values

EXACT = 1e-5  # where a minimiser stops: an objective is flat to 1e-10 there, above its rounding


def minimiser(objective: Callable[..., Array], gtol: float = 1e-9) -> Callable[..., np.ndarray]:
    """(start, …) ↦ a minimum of a function of a vector and further numbers; compiled once.

    The minimiser raises FitError where a step of Newton's method would still lead further.
    """
    both, curvature = jax.jit(jax.value_and_grad(objective)), jax.jit(jax.hessian(objective))

    def find(start: np.ndarray, *further: float) -> np.ndarray:
        def evaluate(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(u, *further)
            return float(value), np.asarray(gradient)

        end = bfgs(evaluate, start, gtol)
        if end is not None:
            step = np.linalg.lstsq(np.asarray(curvature(end.x, *further)), end.jac)[0]
            if np.abs(step).max() < 0.1 * EXACT:
                return end.x
        raise FitError("a minimiser has not ended at a minimum")

    return find


def nearest(objective: Callable[[Array], Array], location: float) -> np.ndarray:
    """(location, log scale) of a normal law of least divergence, near where the search begins."""
    return minimiser(objective)(np.array([location, 0.5]))


def climbed(model: GaussianMixture, start: Values, points: Array, steps: int) -> Values:
    """Values after so many steps of EM.

    Args:
        model: of the points.
        start: values of its parameters.
        points: shape (N, 2) or (N,).
        steps: how many.
    """
    data = as_data(points)

    def step(now: Values, _: None) -> tuple[Values, None]:
        return model.m_step(model.e_step(now, data), data), None

    return jax.lax.scan(step, start, None, length=steps)[0]


def stationary(p: np.ndarray) -> np.ndarray:
    """The law π with πP = π, shape (S,), of transitions of shape (S, S)."""
    system = np.vstack([p.T - np.eye(len(p)), np.ones(len(p))])
    return np.linalg.lstsq(system, np.append(np.zeros(len(p)), 1.0))[0]
