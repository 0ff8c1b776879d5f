"""The gate on programs that were not written for this suite: are the two one model?

Both joint densities, and their gradients, are compared on the user's own data in the unconstrained
space of one program, at points spread over it and around its mode.  The joint density decides; the
terms that correspond say where a difference is, and a difference that two terms share with opposite
signs (a factor on one side, a distribution on the other) is none.

A difference is one of the models only if nothing else explains it: in this order

1. at most 1e-9, relative to the size of the term: none;
2. gone when a library's inexact function is replaced by an exact one;
3. within 100 times what ±2 units in the last place of u change: rounding;
4. the same at all points: a constant, which is named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.policy import TOLERANCE
from comparisons.verdict import Verdict
from models.programs.adopted.inexact import INEXACT, replaced
from models.programs.adopted.pair import GRADIENT, JOINT, REST, Sides
from models.programs.compilation import once
from models.programs.density import flat_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models.capabilities import HasOwnPrograms
    from models.programs.adopted.pair import Pair

_SPREAD = ((2.0, 16), (8.0, 8))
"""(radius r, points): drawn from U(−r, r)ᵏ; the far ones see floors and ceilings of scales."""
_LEAST = -36.0
"""log 2⁻⁵²: of probabilities below, 1 − F tells nothing in float64."""
_NEAR = 8
"""Points within a fifth of a unit of the mode."""
_ROUNDING = 100
"""Times the change under ±2 units in the last place that is still rounding."""


@final
class _Compared(NamedTuple):
    """One term at all points: both values, shape (points, …), and their relative difference."""

    one: np.ndarray
    other: np.ndarray
    relative: np.ndarray

    @property
    def worst(self) -> float:
        return float(self.relative.max()) if self.relative.size else 0.0


def differences(model: HasOwnPrograms, rng: np.random.Generator) -> Iterator[Verdict]:
    """Every term on which the two programs differ, or that all agree; nothing of one program.

    Args:
        model: the model, with its data.
        rng: draws the points.
    """
    pair = model.adopted.pair
    if pair is None:
        return
    points = _points(model, pair, rng)
    compared = _compared(pair, points)
    parted = _parted(compared)
    if not parted:
        size = max(c.worst for t, c in compared.items() if t in (JOINT, REST, GRADIENT))
        where = f"largest relative difference of {len(compared)} terms at {len(points)} points"
        yield _verdict(pair, JOINT, size, TOLERANCE, where)
        for term, found in compared.items():
            if term not in (JOINT, REST) and found.worst <= TOLERANCE:
                yield _verdict(pair, term, found.worst, TOLERANCE, f"at {len(points)} points")
        return
    if data := pair.different_data():
        yield _verdict(pair, "observed data", float("inf"), TOLERANCE, data)
    explained = _explained(pair, points, compared, parted)
    if explained:
        worst = max(compared[term].worst for term in parted)
        yield _verdict(pair, JOINT, worst, 2 * worst, f"one model, up to {worst:.1g}: {explained}")
        return
    constant = _constant(compared)
    for term in parted:
        where = constant or _where(pair, points, term, compared[term])
        yield _verdict(pair, term, compared[term].worst, TOLERANCE, where)


def _verdict(pair: Pair, term: str, size: float, bound: float, where: str) -> Verdict:
    return Verdict(
        "{quantity}: {method} − {reference}",
        min(size, 1e300),
        expected=0.0,
        error=0.0,
        bound=bound,
        cause=where,
        quantity=term,
        method=pair.other.language,
        reference=pair.one.language,
    )


def _points(model: HasOwnPrograms, pair: Pair, rng: np.random.Generator) -> np.ndarray:
    """Points of the one's space at which at least one program is finite, shape (p, k)."""
    k = pair.one.size
    spread = [rng.uniform(-radius, radius, (count, k)) for radius, count in _SPREAD]
    starts = pair.one.starts(rng)[:_NEAR]
    near = starts + 0.1 * rng.standard_normal(starts.shape)
    return np.concatenate([*spread, near])


def _compared(pair: Pair, points: np.ndarray) -> dict[str, _Compared]:
    """All terms at the points where one of the joint densities is finite and none underflows."""
    found = once(jax.vmap(pair.with_gradients))(jnp.asarray(points))
    joint = [np.asarray(side) for side in found[JOINT]]
    kept = np.isfinite(joint[0]) | np.isfinite(joint[1])
    kept &= ~_beyond(found, len(points))
    observed = sum(array.size for array in pair.other.observed.values())
    far = np.fmax(*joint) < _LEAST * max(1, observed)
    kept &= (np.isfinite(joint[0]) & np.isfinite(joint[1])) | ~far
    return {term: _relative(term, sides, kept) for term, sides in found.items()}


def _beyond(found: Mapping[str, Sides], count: int) -> np.ndarray:
    """Points where all terms of rows that differ are of probabilities below one in 2⁵².

    There 1 − F of a library is 0 or rounded, so that log(1 − F) is −∞ or its smallest value.
    """
    differs, visible = np.zeros(count, bool), np.zeros(count, bool)
    for term, sides in found.items():
        if not term.startswith("log likelihood"):
            continue
        a, b = (np.asarray(side, float).reshape(count, -1) for side in sides)
        if a.shape[1] == 1:  # one term for all rows
            continue
        with np.errstate(invalid="ignore"):
            off = ~((np.abs(a - b) <= TOLERANCE * np.maximum(1.0, np.abs(a))) | (a == b))
        differs |= off.any(axis=1)
        visible |= (off & ~((a < _LEAST) & (b < _LEAST))).any(axis=1)
    return differs & ~visible


def _relative(term: str, sides: Sides, kept: np.ndarray) -> _Compared:
    count = int(kept.sum())
    a, b = (np.asarray(side, float)[kept].reshape(count, side[0].size) for side in sides)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum(1.0, np.where(np.isfinite(a), np.abs(a), 1.0))
        if term == GRADIENT:
            scale = scale.max(axis=1, keepdims=True)
        off = np.where(a == b, 0.0, np.abs(a - b) / scale)
        both = np.isfinite(a) | np.isfinite(b)
        relative = np.where(np.isfinite(off), off, np.where(both, np.inf, 0.0))
    return _Compared(a, b, relative)


def _parted(compared: dict[str, _Compared]) -> list[str]:
    """The terms that differ; none if those that do make up for one another."""
    off = [term for term, found in compared.items() if found.worst > TOLERANCE]
    if not off:
        return []
    single = [term for term in off if term not in (JOINT, REST, GRADIENT)]
    joint = compared[JOINT]
    if single and compared[GRADIENT].worst <= TOLERANCE and joint.worst <= TOLERANCE:
        sizes = np.sum([np.abs(compared[term].one).sum(axis=1) for term in single], axis=0)
        left = np.abs(joint.one - joint.other)[:, 0]
        if (left <= TOLERANCE * np.maximum(1.0, sizes)).all():
            return []
    located = single or [term for term in off if term != GRADIENT] or off
    return [*located, *(term for term in (JOINT,) if term in off and term not in located)]


def _explained(
    pair: Pair, points: np.ndarray, compared: dict[str, _Compared], parted: list[str]
) -> str:
    """The cause that makes one model's programs differ, as a sentence; "" if there is none."""
    for inexact in INEXACT:
        with replaced(inexact):
            again = replace(pair, one=pair.one.again(), other=pair.other.again())
            if not _parted(_compared(again, points)):
                return f"limited by {inexact.called}"
    rng = np.random.default_rng(0)
    ulp = np.spacing(np.abs(points)) * rng.choice([-2.0, 2.0], points.shape)
    moved = _compared(pair, points + ulp)
    for term in parted:
        if moved[term].one.shape != compared[term].one.shape:
            return ""
        off = np.abs(compared[term].one - compared[term].other)
        change = [
            np.abs(getattr(moved[term], s) - getattr(compared[term], s)) for s in ("one", "other")
        ]
        if not (off <= _ROUNDING * np.maximum(*change) + TOLERANCE).all():
            return ""
    return "rounding, which the model's conditioning magnifies"


def _constant(compared: dict[str, _Compared]) -> str:
    """The constant by which the joint densities differ, in words; "" if it is none."""
    joint = compared[JOINT]
    off = (joint.other - joint.one)[:, 0]
    if not np.isfinite(off).all() or compared[GRADIENT].worst > TOLERANCE:
        return ""
    if np.ptp(off) > 100 * TOLERANCE * max(1.0, float(np.abs(joint.one).max())):
        return ""
    return f"the log densities differ by the constant {np.median(off):.10g} at all points"


def _where(pair: Pair, points: np.ndarray, term: str, found: _Compared) -> str:
    """Where a term differs most: both values, the point and the row."""
    i, j = np.unravel_index(int(found.relative.argmax()), found.relative.shape)
    a, b = found.one[i, j], found.other[i, j]
    row = f", row {j}" if found.one.shape[1] > 1 and term != GRADIENT else ""
    if term == GRADIENT:
        row = f" with respect to {pair.one.coordinates[j]}"
    values = pair.parameters(pair.one.at(jnp.asarray(points[i])))
    flat = np.concatenate([np.ravel(array) for array in values.values()])
    pairs = list(zip(flat_names(values), flat, strict=True))[:6]
    at = ", ".join(f"{name} = {value:.6g}" for name, value in pairs)
    relative = f"{found.relative[i, j]:.2g}"
    return (
        f"{term}{row}: {pair.one.language} {a:.10g}, {pair.other.language} {b:.10g} "
        f"(relative difference {relative}) at {at}"
    )
