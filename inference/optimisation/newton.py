"""Newton's method, for one point in NumPy and for many at once inside compiled functions.

    u ← u + J⁻¹ ∇f(u),   J = −∇²f(u)

Far from a maximum a step is halved until it climbs, or J = V Λ Vᵀ is damped: V (|Λ| + λ)⁻¹ Vᵀ ∇f.
How far is left is the Newton decrement √(∇fᵀ J⁻¹ ∇f), a distance in standard errors.
Reference: Nocedal & Wright (2006), Numerical Optimization, §3.4, ch. 4, 6.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import OptimizeResult, minimize

from inference.information.derivatives import Derivatives
from models.programs.differentiation import jacobian

type Minimised = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""A point ↦ what is minimised and its gradient there."""

_OUTSIDE = 1e300  # the value where an objective is not finite: a line search steps back from there
_STEPS = 50  # most steps of a climb, and halvings of one
_LAST = 3  # most steps of the end of a climb, whose digits the objective no longer shows
_SIMPLICES, _SIMPLE = 300, 10  # most values for each coordinate, most coordinates, by simplices
_FEW = 3
"""Coordinates up to which gradients are taken forwards, which keeps no array of the data's size."""


def negative(value_and_gradient: Callable[[Any], tuple[Any, Any]]) -> Minimised:
    """A function of a point to be maximised, as SciPy minimises it: finite everywhere."""

    def minus(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(u)
        value, gradient = -float(value), -np.asarray(gradient)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return _OUTSIDE, np.zeros_like(u)
        return value, gradient

    return minus


def bfgs(
    objective: Minimised,
    start: np.ndarray,
    gtol: float,
    callback: Callable[[OptimizeResult], None] | None = None,
    unit: np.ndarray | float = 1.0,
) -> OptimizeResult | None:
    """SciPy's BFGS; None where it ends outside of the finite numbers.

    Args:
        objective: what is minimised, as `negative` gives it.
        start: where, shape (k,).
        gtol: largest derivative at which the search ends.
        callback: told the `intermediate_result` of every step.
        unit: in which every coordinate is measured on the way, shape (k,).
    """
    end = minimize(
        _in(unit, objective),
        start / unit,
        jac=True,
        method="BFGS",
        callback=callback,
        options={"gtol": gtol},
    )
    end.x = end.x * unit
    return end if np.isfinite(end.x).all() and end.fun < _OUTSIDE / 10 else None


def _in(unit: np.ndarray | float, objective: Minimised) -> Minimised:
    """An objective of a point that is measured in other units."""

    def scaled(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(v * unit)
        return value, gradient * unit

    return scaled


def polish(
    objective: Minimised,
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    unit: np.ndarray | float = 1.0,
) -> np.ndarray:
    """The minimum near a point by Newton steps in a trust region, shape (k,).

    The point itself where a Hessian on the way is not finite: the way leads to an edge.

    Args:
        objective: what is minimised.
        hessian: its second derivatives.
        start: the point, shape (k,).
        unit: in which every coordinate is measured on the way, shape (k,).
    """

    def finite(v: np.ndarray) -> np.ndarray:
        if not np.isfinite(found := hessian(v * unit)).all():
            raise FloatingPointError
        return found * np.multiply.outer(unit, unit)

    options = {"jac": True, "hess": finite, "method": "trust-exact", "options": {"gtol": 1e-9}}
    try:
        end = minimize(_in(unit, objective), start / unit, **options)
    except FloatingPointError:
        return start
    if not np.isfinite(end.x).all() or end.fun > objective(start)[0]:
        return start
    u = end.x * unit
    value, gradient = objective(u)
    for _ in range(_LAST):
        try:
            step = cho_solve(cho_factor(hessian(u)), gradient)
        except (np.linalg.LinAlgError, ValueError):  # not positive definite, not finite
            break
        higher, slope = objective(u - step)
        same = higher <= value + 1e-12 * (1 + abs(value)) and np.abs(step).max() < 1
        if not (same and np.linalg.norm(slope) < np.linalg.norm(gradient)):
            break
        u, gradient = u - step, slope
    return u


def to_kink(objective: Minimised, start: np.ndarray, unit: np.ndarray) -> np.ndarray | None:
    """A minimum without second derivatives near a point, by simplices; None if it is no lower."""
    u, options = start, {"xatol": 1e-11, "fatol": 1e-13, "maxfev": _SIMPLICES * start.size}
    for _ in range(_LAST if start.size <= _SIMPLE else 0):  # a simplex may collapse on the way
        end = minimize(
            lambda v: objective(v * unit)[0], u / unit, method="Nelder-Mead", options=options
        )
        u = end.x * unit
    return u if objective(u)[0] < objective(start)[0] - 1e-9 else None


def climb(compiled: Derivatives, start: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The maximum to which Newton steps, halved until they climb, lead from a point nearby.

    Returns:
        The maximum, shape (k,), and −Hessian there, shape (k, k); None if a Hessian on the way is
        not negative definite, or the steps do not end.
    """
    u = start
    value, gradient = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u)))
    for _ in range(_STEPS):
        information = -np.asarray(compiled.hessian(jnp.asarray(u)))
        if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 0:
            return None
        step = np.linalg.solve(information, gradient)
        if gradient @ step < 1e-12:
            return u, information
        for _ in range(_STEPS):
            higher, slope = map(np.asarray, compiled.value_and_gradient(jnp.asarray(u + step)))
            if higher > value:
                break
            step = step / 2
        else:
            return None
        u, value, gradient = u + step, higher, slope
    return None


# --- within compiled functions ------------------------------------------------------------------


class Point(NamedTuple):
    """Where one climb is: the derivatives of the objective at u, and how far it is from the end."""

    u: Any
    value: Any
    gradient: Any
    information: Any
    damping: Any
    decrement: Any  # infinite where J is not positive definite


def look(u: Array, objective: Callable[[Array], Array]) -> Point:
    """The derivatives at a point."""

    def slope(v: Array) -> tuple[Array, tuple[Array, Array]]:
        if v.size <= _FEW:
            gradient, value = jacobian(lambda w: (objective(w),) * 2, has_aux=True)(v)
        else:
            value, gradient = jax.value_and_grad(objective)(v)
        return gradient, (value, gradient)

    hessian, (value, gradient) = jacobian(slope, has_aux=True)(u)
    factor = jnp.linalg.cholesky(-hessian)  # not finite unless it is positive definite
    decrement = jnp.sqrt(jnp.sum(solve_triangular(factor, gradient, lower=True) ** 2))
    decrement = jnp.where(jnp.isfinite(decrement), decrement, jnp.inf)
    return Point(u, value, gradient, -hessian, jnp.zeros(()), decrement)


def damped_step(point: Point, objective: Callable[[Array], Array]) -> Point:
    """One damped step, kept unless it descends."""
    eigenvalue, vector = jnp.linalg.eigh(point.information)
    size = jnp.abs(eigenvalue)
    curvature = size + point.damping * jnp.max(size) + 1e-12
    new = look(point.u + limited(vector @ ((vector.T @ point.gradient) / curvature)), objective)
    better = new.value >= point.value - 1e-12 * jnp.abs(point.value)
    better |= jnp.isneginf(point.value)
    damping = jnp.where(better, point.damping * 0.1, jnp.maximum(point.damping * 10, 1e-3))
    new, old = new._replace(damping=damping), point._replace(damping=damping)
    return jax.tree.map(partial(jnp.where, better), new, old)


def limited(move: Array) -> Array:
    """A step of the same direction in which no coordinate moves by more than 1."""
    return move * jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-12))
