"""Minima by gradients of JAX and scipy's BFGS, and the normal law of least divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy.optimize import OptimizeResult, minimize

EXACT = 1e-5
"""Distance at which a minimiser stops: an objective is flat to 1e-10 there, above its rounding."""


def bfgs(objective: Callable[..., Array], **settings: Any) -> Callable[..., OptimizeResult]:
    """(start, …) ↦ where BFGS ends, for an objective of a vector and further numbers.

    The objective is compiled once; `settings` are those of `scipy.optimize.minimize`.
    """
    both = jax.jit(jax.value_and_grad(objective))

    def find(start: np.ndarray, *further: float) -> OptimizeResult:
        def evaluate(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(u, *further)
            return float(value), np.asarray(gradient)

        return minimize(evaluate, start, jac=True, method="BFGS", **settings)

    return find


def nearest(objective: Callable[[Array], Array], start: float) -> np.ndarray | None:
    """(location, log scale) of least divergence near a start; None if that is not stationary."""
    return minimiser(objective)(start)


def minimiser(objective: Callable[..., Array]) -> Callable[..., np.ndarray | None]:
    """(start, …) ↦ `nearest` for an objective of a law and further numbers; compiled once."""
    search, curvature = bfgs(objective, tol=1e-9), jax.jit(jax.hessian(objective))

    def find(start: float, *further: float) -> np.ndarray | None:
        end = search(np.array([start, 0.5]), *further)
        step = np.linalg.solve(np.asarray(curvature(end.x, *further)), end.jac)
        return end.x if np.abs(step).max() < 0.1 * EXACT else None

    return find
