"""Where things end: minima by SciPy, the nearest normal law, steps of EM, stationary laws."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array

from comparisons.theory.densities import as_data
from inference.optimisation.newton import bfgs
from models.catalogue.gaussian_mixture import GaussianMixture
from models.spec import Values

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
