"""The inverse of an information matrix, which names its null direction where there is none.

The matrix is scaled to unit diagonal first, so that units of the parameters do not matter.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from inference.information.edges import ran_to_zero
from models.programs.density import Density, flatten, names_of_entries
from models.spec import Model

_SINGULAR = 1e-10
"""Smallest eigenvalue of the information in correlation form that counts as positive."""


class Inverse(NamedTuple):
    """A covariance of u, NaN where undefined, and why."""

    covariance: np.ndarray
    boundary: np.ndarray
    """Boolean, shape (k,): coordinates that ran to a boundary and are held fixed."""
    problem: str


def invert(
    model: Model,
    target: Density,
    u: Array,
    information: np.ndarray,
    boundary: np.ndarray | None = None,
) -> Inverse:
    """The inverse information, never a pseudo-inverse.

    Args:
        model: the model.
        target: its density.
        u: where the information was taken, shape (k,).
        information: shape (k, k).
        boundary: coordinates on an edge, boolean, shape (k,); told by the information if None.

    Returns:
        The inverse; a singular or indefinite matrix is refused with its null direction named, and
        coordinates on a boundary are held fixed and have no variance.
    """
    if boundary is None:
        boundary = ran_to_zero(model, target, information)
    free = np.flatnonzero(~boundary)
    covariance = np.full(information.shape, np.nan)
    block = information[np.ix_(free, free)]
    if not np.isfinite(block).all():
        problem = "the information matrix has entries that are not finite"
        return Inverse(covariance, boundary, problem)
    found, null = _inverse(block)
    if null is not None:
        direction = np.zeros(len(information))
        direction[free] = null
        return Inverse(covariance, boundary, _refusal(model, target, u, direction))
    covariance[np.ix_(free, free)] = found
    return Inverse(covariance, boundary, "")


def _inverse(block: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The inverse, and the direction of no curvature where there is one."""
    diagonal = np.diag(block)
    if (diagonal <= 0).any():
        return block, np.eye(len(block))[int(np.argmin(diagonal))]
    scale = 1 / np.sqrt(diagonal)
    eigenvalue, vector = np.linalg.eigh(block * np.outer(scale, scale))
    if eigenvalue.size and eigenvalue[0] < _SINGULAR:
        return block, scale * vector[:, 0]
    return (vector / eigenvalue) @ vector.T * np.outer(scale, scale), None


def _refusal(model: Model, target: Density, u: Array, direction: np.ndarray) -> str:
    """The sentence that names a null direction in natural parameters."""
    names = names_of_entries(model.parameters, target.data, target.constrain(u))
    push = jax.jvp(lambda v: flatten(target.constrain(v)), (u,), (jnp.asarray(direction),))[1]
    push = np.asarray(push)
    if not np.isfinite(push).all() or not np.abs(push).max() > 0:
        return "the information matrix is singular"
    return (
        "the information matrix is singular or indefinite: the data do not determine "
        f"{named(push, names)}; no standard error is defined"
    )


def named(direction: np.ndarray, names: Sequence[str]) -> str:
    """A direction, not zero, as a sum of its largest entries' names: `a − 0.93·b`."""
    direction = direction / direction[np.abs(direction).argmax()]
    terms = []
    for i in np.argsort(-np.abs(direction), kind="stable")[:6]:
        part = direction[i]
        if abs(part) < 0.05:
            break
        sign = ("−" if part < 0 else "") if not terms else (" − " if part < 0 else " + ")
        size = "" if abs(abs(part) - 1) < 0.005 else f"{abs(part):.2f}·"
        terms.append(f"{sign}{size}{names[i]}")
    return "".join(terms)
