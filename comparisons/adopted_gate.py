"""The gate on programs that were not written for this suite: are the two one model?

Both joint densities, and their gradients, are compared on the user's own data in the unconstrained
space of one program, at points spread over it and around its mode.  The joint density decides; the
terms that correspond say where a difference is, and a difference that two terms share with opposite
signs (a factor on one side, a distribution on the other) is none.

A difference is one of the models only if nothing else explains it: in this order

1. at most 1e-9, relative to the size of the term: none;
2. gone when the libraries' inexact functions are replaced by exact ones;
3. within 100 times what ±2 units in the last place of u change, or within ten times what 1e-8 of
   u changes: rounding, which is as erratic as it is large, while a difference of models is smooth;
4. the same at all points: a constant, which is named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.policy import TOLERANCE
from comparisons.verdict import Verdict
from models.capabilities import HasOwnPrograms
from models.programs.adopted.inexact import all_exact
from models.programs.adopted.pair import GRADIENT, JOINT, REST, Pair, Sides
from models.programs.compilation import once
from models.programs.density import flat_names

_SPREAD = ((2.0, 16), (8.0, 8))
"""(radius r, points): drawn from U(−r, r)ᵏ; the far ones see floors and ceilings of scales."""
_LEAST = -36.0
"""log 2⁻⁵²: of probabilities below, 1 − F tells nothing in float64."""
_ENDS = ((-37.5, -34.5), (-746.0, -703.0))
"""Where logarithms of probabilities end that are kept above 2⁻⁵² or above the smallest number."""
_BLUR = 1e-6
"""The most of a gradient that may be rounding of rows that agree, relative to its size."""
_ROWS = "log likelihood"
"""How the names of the terms of rows begin."""
_FEWEST = 4
"""Points without which nothing is said."""
_NARROW = 1e-6
"""What float32 constants may change, relative to the size of a term."""
_NEAR = 8
"""Points within a fifth of a unit of the mode."""
_ROUNDING = 100
"""Times the change under ±2 units in the last place that is still rounding."""
_ERRATIC, _APART, _TRIES = 10, 1e-8, 4
"""Times the range of differences so far apart that is still rounding, of so many.

A smooth difference passes only where it is 10⁶ times smaller than its own gradient.
"""


@final
class _Compared(NamedTuple):
    """One term at all points: both values, shape (points, …), and their relative difference."""

    one: np.ndarray
    other: np.ndarray
    relative: np.ndarray

    @property
    def off(self) -> np.ndarray:
        return np.where(self.one == self.other, 0.0, self.one - self.other)

    @property
    def worst(self) -> float:
        return float(self.relative.max()) if self.relative.size else 0.0


type _Looked = tuple[np.ndarray, dict[str, _Compared], list[str]]
"""The points that are kept, the terms there, and those that differ."""


def differences(model: HasOwnPrograms, rng: np.random.Generator) -> Iterator[Verdict]:
    """Every term on which the two programs differ, or that all agree; nothing of one program."""
    pair = model.adopted.pair
    if pair is None:
        return
    told = partial(_told, pair)
    # in the one's space
    spread = [rng.uniform(-radius, radius, (count, pair.one.size)) for radius, count in _SPREAD]
    starts = pair.one.starts(rng)[:_NEAR]
    points = np.concatenate([*spread, starts + 0.1 * rng.standard_normal(starts.shape)])
    evaluate = once(jax.vmap(pair.with_gradients))
    kept, compared, parted = _looked(pair, evaluate(jnp.asarray(points)))
    if kept.sum() < _FEWEST:
        where = f"both densities can be compared at {kept.sum()} of {len(points)} points only"
        yield told(JOINT, inf, where)
        return
    if not parted:
        size = max(compared[term].worst for term in (JOINT, GRADIENT))
        where = f"largest relative difference of {len(compared)} terms at {len(points)} points"
        yield told(JOINT, size, where)
        for term, found in compared.items():
            if term not in (JOINT, REST) and found.worst <= TOLERANCE:
                yield told(term, found.worst, f"at {len(points)} points")
        return
    if data := pair.different_data():
        yield told("observed data", inf, data)
    worst = max(compared[term].worst for term in parted)
    explained, left = _limited(pair, points)
    if not explained and worst <= _NARROW and (pair.one.narrow or pair.other.narrow):
        explained = (
            "limited by the float32 constants of a built pm.Model; pass the function that builds "
            "it to compare it in full"
        )
    if explained := explained or _erratic(evaluate, points, kept, compared, parted):
        shift = _shift(compared)
        size = f" the constant {shift}" if shift else f" {worst:.1g}"
        yield told(JOINT, worst, f"one model up to{size}: {explained}", 2 * worst)
        return
    kept, compared, parted = left or (kept, compared, parted)
    shift = _shift(compared)
    constant = f"the log densities differ by the constant {shift} at all points" if shift else ""
    for term in parted:
        where = constant or _where(pair, points[kept], term, compared[term])
        yield told(term, compared[term].worst, where)


def _looked(pair: Pair, found: Mapping[str, Sides]) -> _Looked:
    kept = _kept(pair, found)
    compared = _compared(found, kept)
    return kept, compared, _parted(compared)


def _told(pair: Pair, term: str, size: float, where: str, bound: float = TOLERANCE) -> Verdict:
    claim, numbers = "{quantity}: {method} − {reference}", (min(size, 1e300), 0.0, 0.0, bound)
    found = Verdict(claim, *numbers, cause=where, quantity=term)
    return replace(found, method=pair.other.language, reference=pair.one.language)


def point(names: Sequence[str], values: Mapping[str, Any], most: int) -> str:
    """At most so many entries of the values at a point, by name."""
    flat = np.concatenate([np.ravel(array) for array in values.values()])
    pairs = list(zip(names, flat, strict=True))[:most]
    return ", ".join(f"{name} = {value:.6g}" for name, value in pairs)


def _compared(found: Mapping[str, Sides], kept: np.ndarray) -> dict[str, _Compared]:
    """The terms at points; gradients up to what 1 − F of the rows' probabilities is off."""
    compared = {term: _relative(term, sides, kept) for term, sides in found.items()}
    rows = [c for term, c in compared.items() if term.startswith(_ROWS)]
    blur = sum((_blur(c.one, c.other).sum(axis=1, keepdims=True) for c in rows), np.zeros(1))
    slope = compared[GRADIENT]
    sharp = np.maximum(slope.relative - np.minimum(blur, _BLUR), 0.0)
    return {**compared, GRADIENT: slope._replace(relative=sharp)}


def _kept(pair: Pair, found: Mapping[str, Sides]) -> np.ndarray:
    """The points where one of the joint densities is finite and none underflows or overflows.

    A density of +∞ or NaN is a normalising constant that underflows, unless it is so at most
    points.
    """
    joint = [np.asarray(side) for side in found[JOINT]]
    kept = np.isfinite(joint[0]) | np.isfinite(joint[1])
    kept &= ~_beyond(found, len(kept))
    observed = sum(array.size for array in pair.other.observed.values())
    far = np.fmax(*joint) < _LEAST * max(1, observed)
    kept &= (np.isfinite(joint[0]) & np.isfinite(joint[1])) | ~far
    overflows = np.any([np.isnan(side) | (side == np.inf) for side in joint], axis=0)
    return kept & ~overflows if 2 * overflows.sum() < len(kept) else kept


def _beyond(found: Mapping[str, Sides], count: int) -> np.ndarray:
    """Points where rows differ, but none by more than 1 − F of a library explains.

    A probability p computed so is off by 2⁻⁵², and log p by 2⁻⁵²/p; log p ends, at −∞ or where a
    library keeps it, while the other program goes on.
    """
    differs, unexplained = np.zeros((2, count), bool)
    for term, sides in found.items():
        if not term.startswith(_ROWS):
            continue
        a, b = (np.asarray(side, float).reshape(count, -1) for side in sides)
        if a.shape[1] == 1:  # one term for all rows
            continue
        with np.errstate(invalid="ignore"):
            apart = np.abs(a - b)
            size = np.where(np.isfinite(a), np.maximum(1.0, np.abs(a)), 1.0)
            off = ~((apart <= TOLERANCE * size) | (a == b))
            ended = (np.maximum(a, b) < _ENDS[0][1]) & (_ended(a) | _ended(b))
            rounded = (np.minimum(a, b) > _LEAST) & (apart <= _blur(a, b))
        differs |= off.any(axis=1)
        unexplained |= (off & ~ended & ~rounded).any(axis=1)
    return differs & ~unexplained


def _ended(x: np.ndarray) -> np.ndarray:
    return ~np.isfinite(x) | np.any([(low < x) & (x < high) for low, high in _ENDS], axis=0)


def _blur(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By how much a logarithm of a probability is off that is a difference from one."""
    with np.errstate(invalid="ignore"):
        least = np.clip(np.minimum(a, b), _LEAST, 0.0)
        return 8 * np.finfo(float).eps * np.exp(-least)


def _relative(term: str, sides: Sides, kept: np.ndarray) -> _Compared:
    count = int(kept.sum())
    a, b = (np.asarray(side, float)[kept].reshape(count, side[0].size) for side in sides)
    off = np.where(a == b, 0.0, relative_difference(term, a, b))
    both = np.isfinite(a) | np.isfinite(b)
    return _Compared(a, b, np.where(np.isfinite(off), off, np.where(both, np.inf, 0.0)))


def relative_difference(term: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b| over the size of a (at least 1) at each point, of a gradient its largest entry."""
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum(1.0, np.where(np.isfinite(a), np.abs(a), 1.0))
        if term.startswith("gradient"):
            scale = scale.max(axis=1, keepdims=True)
        return np.abs(a - b) / scale


def _parted(compared: dict[str, _Compared]) -> list[str]:
    """The terms that differ; none if those that do make up for one another."""
    off = [term for term, found in compared.items() if found.worst > TOLERANCE]
    if not off:
        return []
    single = [term for term in off if term not in (JOINT, REST, GRADIENT)]
    if not {JOINT, GRADIENT} & set(off):
        parts = [np.fmax(np.abs(compared[term].one), np.abs(compared[term].other)) for term in off]
        sizes = np.sum([part.sum(axis=1) for part in parts], axis=0)
        within = REST not in off and not any(term.startswith(_ROWS) for term in off)
        left = np.abs(compared[REST if within else JOINT].off)[:, 0]
        if (left <= TOLERANCE * np.maximum(1.0, sizes)).all():
            return []
    located = single or [term for term in off if term != GRADIENT] or off
    return [*located, *(term for term in (JOINT,) if term in off and term not in located)]


def _limited(pair: Pair, points: np.ndarray) -> tuple[str, _Looked | None]:
    """The library's functions without which the programs are the same; or what still differs."""
    with all_exact() as used:
        again = replace(pair, one=pair.one.again(), other=pair.other.again())
        lowered = once(jax.vmap(again.with_gradients)).lower(jnp.asarray(points))
        if not used:
            return "", None
        evaluate = lowered.compile()
        looked = _looked(again, evaluate(jnp.asarray(points)))
    if looked[2] and not _erratic(evaluate, points, *looked):
        return "", looked
    return f"limited by {' and by '.join(sorted(used))}", None


def _erratic(
    evaluate: Callable[[Array], dict[str, Sides]],
    points: np.ndarray,
    kept: np.ndarray,
    compared: dict[str, _Compared],
    parted: list[str],
) -> str:
    """Rounding, if every difference is as large as what next to nothing changes in it, or ""."""
    rng = np.random.default_rng(0)
    sizes = [np.spacing(np.abs(points)) * rng.choice([-2.0, 2.0], points.shape)]
    far = _APART * np.maximum(1.0, np.abs(points))
    sizes += [far * rng.uniform(-1, 1, points.shape) for _ in range(_TRIES)]
    ulp, *others = (_compared(evaluate(jnp.asarray(points + size)), kept) for size in sizes)
    for term in parted:
        here = compared[term]
        with np.errstate(invalid="ignore"):
            off = here.off
            change = np.fmax(np.abs(ulp[term].one - here.one), np.abs(ulp[term].other - here.other))
            spread = np.ptp([off, *(moved[term].off for moved in others)], axis=0)
            bound = np.fmax(_ROUNDING * change, _ERRATIC * spread)
            if not (np.abs(off) <= bound + TOLERANCE * np.fmax(1.0, np.abs(here.one))).all():
                return ""
    return "rounding, which the model's conditioning magnifies"


def _shift(compared: dict[str, _Compared]) -> str:
    """The constant by which the joint densities differ; "" if they do not by one."""
    joint = compared[JOINT]
    off = (joint.other - joint.one)[:, 0]
    if not np.isfinite(off).all() or compared[GRADIENT].worst > TOLERANCE:
        return ""
    if np.ptp(off) > 100 * TOLERANCE * max(1.0, float(np.abs(joint.one).max())):
        return ""
    return f"{np.median(off):.10g}"


def _where(pair: Pair, points: np.ndarray, term: str, found: _Compared) -> str:
    """Where a term differs most: both values, the point and the row."""
    i, j = np.unravel_index(int(found.relative.argmax()), found.relative.shape)
    a, b = found.one[i, j], found.other[i, j]
    row = f", row {j}" if found.one.shape[1] > 1 and term != GRADIENT else ""
    if term == GRADIENT:
        row = f" with respect to {pair.one.coordinates[j]}"
    values = pair.parameters(pair.one.at(jnp.asarray(points[i])))
    at = point(flat_names(values), values, 6)
    relative = f"{found.relative[i, j]:.2g}"
    return (
        f"{term}{row}: {pair.one.language} {a:.10g}, {pair.other.language} {b:.10g} "
        f"(relative difference {relative}) at {at}"
    )
