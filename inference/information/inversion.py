"""The inverse of an information matrix, which names its null direction where there is none.

The matrix is scaled to unit diagonal first, so that units of the parameters do not matter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.density import Density, flatten, names_of_entries
from models.spec import Model

_SINGULAR = 1e-10
"""Smallest eigenvalue of the information in correlation form that counts as positive."""


_FLAT = 1e-3
"""Information about log θ below which a positive parameter has run to its boundary 0."""


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
    k = information.shape[0]
    if boundary is None:
        boundary = on_boundary(model, target, information)
    free = np.flatnonzero(~boundary)
    covariance = np.full((k, k), np.nan)
    block = information[np.ix_(free, free)]
    if not np.isfinite(block).all():
        problem = "the information matrix has entries that are not finite"
        return Inverse(covariance, boundary, problem)
    diagonal = np.diag(block)
    if (diagonal <= 0).any():
        direction = np.eye(k)[free[int(np.argmin(diagonal))]]
        return Inverse(covariance, boundary, _refusal(model, target, u, direction))
    scale = 1 / np.sqrt(diagonal)
    eigenvalue, vector = np.linalg.eigh(block * np.outer(scale, scale))
    if eigenvalue.size and eigenvalue[0] < _SINGULAR:
        direction = np.zeros(k)
        direction[free] = scale * vector[:, 0]
        return Inverse(covariance, boundary, _refusal(model, target, u, direction))
    inverse = (vector / eigenvalue) @ vector.T * np.outer(scale, scale)
    covariance[np.ix_(free, free)] = inverse
    return Inverse(covariance, boundary, "")


def on_boundary(model: Model, target: Density, information: np.ndarray) -> np.ndarray:
    """Coordinates log θ_j about which the data say nothing because θ_j ran to 0.

    Boolean, shape (…, k), for one matrix or many, shape (…, k, k).
    """
    positive = {p.name for p in model.parameters if p.support == "positive"}
    is_log = np.array([name in positive for name in target.coordinates])
    return is_log & (np.abs(np.diagonal(information, axis1=-2, axis2=-1)) < _FLAT)


def _refusal(model: Model, target: Density, u: Array, direction: np.ndarray) -> str:
    """The sentence that names a null direction in natural parameters."""
    values = target.constrain(u)
    push = jax.jvp(lambda v: flatten(target.constrain(v)), (u,), (jnp.asarray(direction),))[1]
    push = np.asarray(push)
    names = names_of_entries(model.parameters, target.data, values)
    if not np.isfinite(push).all() or not np.abs(push).max() > 0:
        return "the information matrix is singular"
    push = push / push[np.abs(push).argmax()]
    terms = []
    for i in np.argsort(-np.abs(push), kind="stable")[:6]:
        if abs(push[i]) < 0.05:
            break
        sign = ("−" if push[i] < 0 else "") if not terms else (" − " if push[i] < 0 else " + ")
        size = "" if abs(abs(push[i]) - 1) < 0.005 else f"{abs(push[i]):.2f}·"
        terms.append(f"{sign}{size}{names[i]}")
    return (
        "the information matrix is singular or indefinite: the data do not determine "
        f"{''.join(terms)}; no standard error is defined"
    )
