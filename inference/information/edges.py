"""Edges of parameter space at which an optimum lies: its parameters have no standard error.

At an interior maximum of an objective f with J = −∇²f, a step of 3/√(dᵀJd) along any direction d
costs about 4.5 nats. Where a transform saturates (a probability at 1, a variance at 0, the end of
a prior's range) or a coefficient runs to infinity (separation), J vanishes as fast as the slope,
and such a step uphill costs nothing, while one downhill does: else the direction is redundant.
This needs no list of supports, and no units.
Reference: Self & Liang (1987), JASA 82; Albert & Anderson (1984), Biometrika 71.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from inference.information.derivatives import Objective, derivatives
from models.programs.density import Density, flatten, names_of_entries
from models.spec import Model

_STEP, _FARTHEST = 3.0, 5.0
"""Length of a step in standard errors; its largest change of a coordinate under a curved transform,
such as a logarithm."""
_SLACK = 0.05
"""Nats that a step may cost and be said to cost nothing: more than densities lose by rounding."""
_COST = 1e-6  # difference of f, relative to 1 + |f|, that is one
_NEAR = 0.1  # distance from a maximum, in standard errors, within which a search has ended
_SHARE = 0.05  # share of the largest entry of a direction from which on a coordinate belongs to it
_LEFT = 0.01  # share of the information about an edge's coordinates that is left farther out on it
_FLAT, _FLAT_LOG = 1e-6, 1e-3
"""Information about a coordinate under a curved transform that is none, and about a logarithm."""
_NOTHING, _MOVES = 1e-6, 1.5
"""An entry of a simplex that is 0; the factor of a step that runs to 0 or to infinity."""
_AT_KINK, _TINY_STEP, _JUMP = "at a kink", 1e-7, 1e-11
"""Where a slope changes its sign at once: within such a step, of coordinates over 1, by so much."""
_ROUNDING, _SMALLEST = 4 * np.finfo(float).eps, 10 * np.finfo(float).tiny
"""Relative change that is none; the largest number that transforms put in the place of 0."""


class Edges(NamedTuple):
    """The coordinates that lie on an edge, and where that is, in words."""

    coordinates: np.ndarray  # Boolean, shape (k,)
    where: dict[str, str]  # by the name of a parameter's entry: `at 1`, `at 0`, `→ ∞`

    @property
    def problem(self) -> str:
        """The sentence; "" where there is none."""
        if not self.where:
            return ""
        told = ", ".join(f"{name} {place}" for name, place in self.where.items())
        if set(self.where.values()) == {_AT_KINK}:
            return f"the maximum has no second derivatives: {told}; no standard error is defined"
        undefined = "its standard error is undefined: boundary"
        return f"on an edge of parameter space: {told}; {undefined}"


def ran_to_zero(model: Model, target: Density, information: np.ndarray) -> np.ndarray:
    """Coordinates log θ_j of which nothing is known because θ_j ran to 0: the commonest edge.

    Boolean, shape (…, k), for one matrix or many at once, shape (…, k, k).
    """
    positive = {p.name for p in model.parameters if p.support == "positive"}
    is_log = np.array([name in positive for name in target.coordinates])
    return is_log & (np.abs(np.diagonal(information, axis1=-2, axis2=-1)) < _FLAT_LOG)


def edges(
    model: Model, target: Density, u: np.ndarray, information: np.ndarray, objective: Objective
) -> Edges:
    """The coordinates of an optimum along which the objective no longer falls.

    Args:
        model: the model.
        target: its density.
        u: the optimum, shape (k,).
        information: minus the Hessian there, shape (k, k).
        objective: what was maximised.
    """
    value, u = derivatives(target, objective).value_and_gradient, np.asarray(u, float)
    here, slope = map(np.asarray, value(jnp.asarray(u)))
    on_edge, far = _saturated(model, target, u), u.copy()
    where = _named(model, target, u, on_edge, 0 * u, np.zeros(u.size, bool))
    if not all(np.isfinite(part).all() for part in (here, slope, information)):
        return Edges(on_edge, where)
    kinks = ~on_edge & _kinks(value, u, information)
    where |= {name: _AT_KINK for name, *_ in _entries(model, target, u, kinks)}
    on_edge |= kinks
    straight, owner = _straight(model, target, u), np.asarray(target.coordinates)

    def free_of_cost(step: np.ndarray) -> bool:
        back = max(1.0, np.abs(u[step != 0]).max() / _FARTHEST)
        *path, down = (float(value(jnp.asarray(u + s * step))[0]) for s in (0.1, 0.35, 1.0, -back))
        downhill, rises = not down >= here - _COST * (1 + abs(here)), np.diff([float(here), *path])
        return bool(np.isfinite(path).all() and (rises >= -_SLACK).all() and downhill)

    found = True
    while found:
        found = False
        for direction in _directions(information, slope, on_edge):
            step = _step(direction, u, slope, information, straight)
            if step is not None and free_of_cost(step):
                size = np.abs(direction) * np.sqrt(np.abs(np.diag(information)))
                mine = ~on_edge & (direction != 0) & (size >= _SHARE * size.max())
                on_edge |= mine
                moved = _named(model, target, u, mine, step, straight)
                where |= moved or dict.fromkeys(owner[mine].tolist(), "at its end")
                far, found = np.where(mine, u + step, far), found or bool(mine.any())
    if where:
        hessian, known = derivatives(target, objective).hessian, np.diag(information)
        flat = ~straight & (np.abs(known) < _FLAT)
        lost = ~on_edge & (flat | _lost(hessian, u, far - u, known, on_edge))
        for name, entry, place in _entries(model, target, u, lost):
            if place is not None or 0 <= _natural(model, target, u)[entry] < _NOTHING:
                where[name] = "at 0" if place is None else "undetermined there"
        on_edge |= lost
    return Edges(on_edge, where)


def _lost(
    hessian: Callable[[Array], Array],
    u: np.ndarray,
    step: np.ndarray,
    known: np.ndarray,
    on_edge: np.ndarray,
) -> np.ndarray:
    """The coordinates about which nothing is known but by what ends on the edge, shape (k,)."""
    for part in 10.0 ** np.arange(-8, 1):
        left = np.abs(np.diag(np.asarray(hessian(jnp.asarray(u + part * step)))))
        if (left[on_edge] <= _LEFT * np.abs(known[on_edge])).all():
            return left < 10 * _LEFT * known
    return np.zeros(u.size, bool)


def _directions(
    information: np.ndarray, slope: np.ndarray, on_edge: np.ndarray
) -> Iterator[np.ndarray]:
    """Every free coordinate; then, of what is free by now, the flattest and Newton's direction."""
    k = on_edge.size
    yield from np.eye(k)[~on_edge]
    places = np.flatnonzero(~on_edge)
    scale = np.sqrt(np.diag(information)[places])
    if places.size < 2 or not (scale > 0).all():
        return
    block = information[np.ix_(places, places)] / np.outer(scale, scale)
    eigenvalue, vector = np.linalg.eigh(block)
    flattest, newton = np.zeros(k), np.zeros(k)
    flattest[places] = vector[:, 0] / scale
    yield flattest
    if eigenvalue[0] > 0:
        newton[places] = vector @ ((vector.T @ (slope[places] / scale)) / eigenvalue) / scale
        yield newton


def _step(
    direction: np.ndarray,
    u: np.ndarray,
    slope: np.ndarray,
    information: np.ndarray,
    straight: np.ndarray,
) -> np.ndarray | None:
    """Three standard errors uphill along a direction; None without length, or far from the top."""
    curvature, rise = float(direction @ information @ direction), abs(float(slope @ direction))
    length = _STEP / np.sqrt(curvature) if curvature > 0 else np.inf
    if min(rise * length / _STEP, rise) > _NEAR:
        return None
    curved = np.abs(direction[~straight]).max(initial=0.0)
    if curved > 0:
        length = min(length, _FARTHEST / curved)
    if not np.isfinite(length):
        return None
    # a curved transform ends at infinity, even where rounding hides the slope
    outwards = u[~straight] @ direction[~straight] or slope @ direction
    return np.where(outwards < 0, -length, length) * direction


def _kinks(value: Callable[[Array], Any], u: np.ndarray, information: np.ndarray) -> np.ndarray:
    """The coordinates in which the objective falls at once on both sides, boolean, shape (k,)."""

    def jump(j: int, size: float) -> float:
        moves = size * np.eye(u.size)[j], -size * np.eye(u.size)[j]
        after, before = (float(value(jnp.asarray(u + move))[1][j]) for move in moves)
        return before - after if after < 0 < before else 0.0

    found, steps = np.zeros(u.size, bool), _TINY_STEP * np.maximum(1.0, np.abs(u))
    for j, step in enumerate(steps):
        # a slope that is curved changes ten times as much on ten times the way; rounding is less
        curved = max(20 * step * abs(information[j, j]), 0.5 * jump(j, 10 * step))
        found[j] = jump(j, step) > max(curved, _JUMP / step)
    return found


def _saturated(model: Model, target: Density, u: np.ndarray) -> np.ndarray:
    """The coordinates whose farther move outwards rounding hides on the natural scale, (k,)."""
    start, found = _natural(model, target, u), np.zeros(u.size, bool)
    for j in np.flatnonzero(u):
        out = np.where(np.arange(u.size) == j, u + np.sign(u) * np.maximum(_FARTHEST, np.abs(u)), u)
        found[j] = np.allclose(_natural(model, target, out), start, rtol=_ROUNDING, atol=0)
    return found


def _straight(model: Model, target: Density, u: np.ndarray) -> np.ndarray:
    """The coordinates that are natural parameters but for a factor, shape (k,)."""
    start, found = _natural(model, target, u), np.zeros(u.size, bool)
    for j, unit in enumerate(np.eye(u.size)):
        size = 0.37 * max(1.0, abs(u[j]))  # no step that a symmetric transform maps to its double
        once, twice = (_natural(model, target, u + n * size * unit) - start for n in (1, 2))
        moved = np.abs(once).max()  # far from 0, a gap that stays moves by rounding
        found[j] = moved > 0 and np.allclose(twice, 2 * once, rtol=1e-6, atol=1e-9 * moved)
    return found


def _natural(model: Model, target: Density, u: np.ndarray) -> np.ndarray:
    """All entries on their natural scale: of what is ordered, the first and the gaps."""
    values = dict(target.constrain(jnp.asarray(u)))
    for name in _ordered(model):
        values[name] = jnp.diff(values[name], prepend=0)
    return np.asarray(flatten(values))


def _ordered(model: Model) -> list[str]:
    return [parameter.name for parameter in model.parameters if parameter.support == "ordered"]


type _Entries = list[tuple[str, int, int | None]]
"""Names of entries, their places among all, and the coordinates of those that have their own."""


def _entries(model: Model, target: Density, u: np.ndarray, mine: np.ndarray) -> _Entries:
    """The entries that coordinates belong to: all of a parameter where they are not one for one."""
    values = target.constrain(jnp.asarray(u))
    names = names_of_entries(model.parameters, target.data, values)
    owner = [name for name in values for _ in range(np.size(values[name]))]
    found: _Entries = []
    for parameter in dict.fromkeys(np.asarray(target.coordinates)[mine].tolist()):
        entries = [i for i, name in enumerate(owner) if name == parameter]
        places = [i for i, name in enumerate(target.coordinates) if name == parameter]
        if len(places) == len(entries):
            pairs = zip(entries, places, strict=True)
            found += [(names[e], e, place) for e, place in pairs if mine[place]]
        else:
            found += [(names[e], e, None) for e in entries]
    return found


def _named(
    model: Model,
    target: Density,
    u: np.ndarray,
    mine: np.ndarray,
    step: np.ndarray,
    straight: np.ndarray,
) -> dict[str, str]:
    """Where the entries are that a step along coordinates of theirs moves."""
    here, there = _natural(model, target, u), _natural(model, target, u + step)
    found = {}
    for name, entry, place in _entries(model, target, u, mine):
        before, after = here[entry], there[entry]
        gone = 0 <= after <= max(before / _MOVES, _SMALLEST)
        limit = "at 0" if gone else f"at {after:.4g}"
        limit = "→ ∞" if after > _MOVES * before > 0 else limit
        if limit == "at 0" and place is not None and target.coordinates[place] in _ordered(model):
            limit = "equal to the one before it"
        if place is not None and straight[place]:
            found[name] = "→ ∞" if after > before else "→ −∞"
        elif place is not None or limit in ("at 0", "→ ∞"):
            found[name] = limit
        elif 0 <= before < _NOTHING:
            found[name] = "at 0"
    return found
