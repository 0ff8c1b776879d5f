"""Are two programs one density: term by term, at points of the unconstrained space of one of them.

The joint density decides; the terms that correspond say where a difference is, and a difference
that two terms share with opposite signs (a factor on one side, a distribution on the other) is
none.

A difference is one of the models only if nothing else explains it: in this order

1. at most 1e-9, relative to the size of the term: none;
2. gone when the libraries' inexact functions are replaced by exact ones;
3. within 8 times what changes when every operation is rounded at random, by 16 units in the last
   place: rounding;
4. the same at all points: a constant, which is named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.policy import TOLERANCE
from comparisons.verdict import PARTED, Verdict
from models.programs.adopted.inexact import all_exact
from models.programs.adopted.pair import GRADIENT, JOINT, REST, Pair, Sides
from models.programs.compilation import once
from models.programs.density import flat_names
from models.programs.rounding import perturbed
from models.spec import Values

_LEAST = -36.0
"""log 2⁻⁵²: of probabilities below, 1 − F tells nothing in float64."""
_ENDS = ((-37.5, -34.5), (-746.0, -703.0))
"""Where logarithms of probabilities end that are kept above 2⁻⁵² or above the smallest number."""
_BLUR = 1e-6
"""The most of a gradient that may be rounding of rows that agree, relative to its size."""
_ROWS = "log likelihood"
"""How the names of the terms of rows begin."""
_LAST = ("gradient", "log Jacobian")
"""How the names of the terms begin that are told after all others."""
_SHOWN = 8
"""Numbers of a point that a message shows."""
_FEWEST = 4
"""Points without which nothing is said."""
_NARROW = 1e-6
"""What float32 constants may change, relative to the size of a term."""
_ROUNDING, _TRIES = 8, 4
"""Times the largest change, of so many, under random rounding that is still rounding.

An operation that is off by one unit in the last place is changed by less than an eighth of that in
all of them with a probability of 128⁻⁴ = 4e-9.
"""


@final
class _Compared(NamedTuple):
    """One term at all points: both values, shape (points, …), and their relative difference."""

    one: np.ndarray
    other: np.ndarray
    relative: np.ndarray

    @property
    def off(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.where(self.one == self.other, 0.0, self.one - self.other)

    @property
    def worst(self) -> float:
        return float(self.relative.max()) if self.relative.size else 0.0

    @property
    def known_worst(self) -> float:
        """The same of those that are finite on both sides."""
        return float(self.relative[np.isfinite(self.relative)].max(initial=0.0))

    def change(self, again: "_Compared") -> np.ndarray:
        """By how much both values together changed; NaN where they became, or ceased to be, ±∞."""
        pairs = (self.one, again.one), (self.other, again.other)
        with np.errstate(invalid="ignore"):
            moves = [np.where(_same(a, b), 0.0, np.abs(a - b)) for a, b in pairs]
        total = np.add(*moves)
        return np.where(np.isfinite(total), total, np.nan)


@final
class Looked:
    """Two programs at points.

    Attributes:
        kept: which points count.
        compared: every term at these.
        parted: the terms that differ.
    """

    def __init__(
        self,
        pair: Pair,
        points: np.ndarray,
        evaluate: Callable[[Array], dict[str, Sides]] | None = None,
        *,
        inside: bool,
    ) -> None:
        """Looks at all terms.

        Args:
            pair: the programs.
            points: in the one's unconstrained space, shape (p, k).
            evaluate: the terms at points, compiled; compiled here if None.
            inside: whether all points are inside of the support, so that nothing may fail to be
                finite; else those count at which a density is finite and nothing underflows.
        """
        self.pair, self.points, self.inside = pair, points, inside
        found = (evaluate or once(jax.vmap(pair.with_gradients)))(jnp.asarray(points))
        self.kept = np.full(len(points), True) if inside else _kept(pair, found)
        self.compared = self._compared(found)
        self.parted = _parted(self.compared, inside)

    def rounded(self) -> Iterator[dict[str, _Compared]]:
        """The terms again, every operation rounded at random, a few times."""
        points = jnp.asarray(self.points)
        again = once(perturbed(jax.vmap(self.pair.with_gradients), points))
        for run in range(1, _TRIES + 1):
            yield self._compared(again(jnp.asarray(run), points))

    def _compared(self, found: Mapping[str, Sides]) -> dict[str, _Compared]:
        """The terms, in order; gradients up to what 1 − F of the rows' probabilities is off."""
        terms = sorted(found, key=lambda term: [term.startswith(kind) for kind in _LAST])
        compared = {n: _relative(n, found[n], self.kept, self.inside) for n in terms}
        rows = [c for term, c in compared.items() if term.startswith(_ROWS)]
        blur = sum((_blur(c.one, c.other).sum(axis=1, keepdims=True) for c in rows), np.zeros(1))
        slope = compared[GRADIENT]
        sharp = np.maximum(slope.relative - np.minimum(blur, _BLUR), 0.0)
        return {**compared, GRADIENT: slope._replace(relative=sharp)}


def differences(
    pair: Pair,
    points: np.ndarray,
    named: Callable[[Values], Sequence[str]] = flat_names,
    *,
    inside: bool,
    allow_constant: bool = False,
) -> Iterator[Verdict]:
    """Every term on which two programs differ, or that all agree.

    Args:
        pair: the programs.
        points: in the one's unconstrained space, shape (p, k).
        named: the names of the entries of the other's parameters.
        inside: whether all points are inside of the support, see `Looked`.
        allow_constant: whether one constant at all points is no difference.
    """
    looked = Looked(pair, points, inside=inside)
    compared, parted, count = looked.compared, looked.parted, int(looked.kept.sum())
    if count < min(_FEWEST, max(1, len(points))):
        where = f"both densities can be compared at {count} of {len(points)} points only"
        yield _told(pair, JOINT, inf, where)
        return
    if not parted:
        yield from _agreeing(looked)
        return
    if data := pair.different_data():
        yield _told(pair, "observed data", inf, data)
    worst = max(compared[term].worst for term in parted)
    explained, left = _limited(pair, points, inside)
    if not explained and worst <= _NARROW and (pair.one.narrow or pair.other.narrow):
        explained = (
            "limited by the float32 constants of a built pm.Model; pass the function that builds "
            "it to compare it in full"
        )
    if explained := explained or _by_rounding(looked):
        shift = _shift(compared)
        worst = max(TOLERANCE, *(compared[term].known_worst for term in parted))
        size = f" the constant {shift}" if shift else f" {worst:.1g}"
        yield _told(pair, JOINT, worst, f"one model up to{size}: {explained}", 2 * worst)
        return
    looked = left or looked
    if (shift := _shift(looked.compared)) and allow_constant:
        size = looked.compared[JOINT].worst
        yield _told(pair, JOINT, size, f"one model up to the constant {shift}, allowed", 2 * size)
    else:
        yield from _differing(looked, named, shift)


def _agreeing(looked: Looked) -> Iterator[Verdict]:
    compared, count = looked.compared, len(looked.points)
    size = max(compared[term].worst for term in (JOINT, GRADIENT))
    where = f"largest relative difference of {len(compared)} terms at {count} points"
    yield _told(looked.pair, JOINT, size, where)
    for term, found in compared.items():
        if term not in (JOINT, REST) and found.worst <= TOLERANCE:
            yield _told(looked.pair, term, found.worst, f"at {count} points")


def _differing(
    looked: Looked, named: Callable[[Values], Sequence[str]], shift: str
) -> Iterator[Verdict]:
    constant = f"; the log densities differ by the constant {shift} at all points" if shift else ""
    constant += ", which allow_constant=True takes for no difference" if shift else ""
    for term in looked.parted:
        where = _where(looked, term, named) + constant
        yield _told(looked.pair, term, looked.compared[term].worst, where)


def _told(pair: Pair, term: str, size: float, where: str, bound: float = TOLERANCE) -> Verdict:
    sides: dict[str, Any] = {"method": pair.other.language, "reference": pair.one.language}
    numbers = min(size, 1e300), 0.0, 0.0, bound
    return Verdict(PARTED, *numbers, cause=where, quantity=term, **sides)


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


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _ended(x: np.ndarray) -> np.ndarray:
    return ~np.isfinite(x) | np.any([(low < x) & (x < high) for low, high in _ENDS], axis=0)


def _blur(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By how much a logarithm of a probability is off that is a difference from one."""
    with np.errstate(invalid="ignore"):
        least = np.clip(np.minimum(a, b), _LEAST, 0.0)
        return 8 * np.finfo(float).eps * np.exp(-least)


def _relative(term: str, sides: Sides, kept: np.ndarray, inside: bool) -> _Compared:
    """|a − b| over the size of a (at least 1) at each point, of a gradient its largest entry."""
    count = int(kept.sum())
    a, b = (np.asarray(side, float)[kept].reshape(count, side[0].size) for side in sides)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum(1.0, np.where(np.isfinite(a), np.abs(a), 1.0))
        if term == GRADIENT:
            scale = scale.max(axis=1, keepdims=True)
        off = np.where(a == b, 0.0, np.abs(a - b) / scale)
    known = np.isfinite(a) & np.isfinite(b)
    lost = inside | np.isfinite(a) | np.isfinite(b)
    return _Compared(a, b, np.where(known, off, np.where(lost, np.inf, 0.0)))


def _parted(compared: dict[str, _Compared], inside: bool) -> list[str]:
    """The terms that differ; none if those that do make up for one another.

    Rows do not of a model whose units are known: each is one.
    """
    off = [term for term, found in compared.items() if found.worst > TOLERANCE]
    if not off:
        return []
    single = [term for term in off if term not in (JOINT, REST, GRADIENT)]
    rows = any(term.startswith(_ROWS) for term in off)
    if not {JOINT, GRADIENT} & set(off) and not (inside and rows):
        parts = [np.fmax(np.abs(compared[term].one), np.abs(compared[term].other)) for term in off]
        sizes = np.sum([part.sum(axis=1) for part in parts], axis=0)
        left = np.abs(compared[JOINT if rows or REST in off else REST].off)[:, 0]
        if (left <= TOLERANCE * np.maximum(1.0, sizes)).all():
            return []
    located = single or [term for term in off if term != GRADIENT] or off
    return [*located, *(term for term in (JOINT,) if term in off and term not in located)]


def _limited(pair: Pair, points: np.ndarray, inside: bool) -> tuple[str, Looked | None]:
    """The library's functions without which the programs are the same; or what still differs."""
    with all_exact() as used:
        again = replace(pair, one=pair.one.again(), other=pair.other.again())
        lowered = once(jax.vmap(again.with_gradients)).lower(jnp.asarray(points))
        if not used:
            return "", None
        looked = Looked(again, points, lowered.compile(), inside=inside)
        if looked.parted and not _by_rounding(looked):  # which traces the programs again
            return "", looked
    return f"limited by {' and by '.join(sorted(used))}", None


def _by_rounding(looked: Looked) -> str:
    """Rounding, if every difference is as large as what rounding changes, or ""."""
    runs = list(looked.rounded())
    for term in looked.parted:
        here = looked.compared[term]
        change = np.max([here.change(run[term]) for run in runs], axis=0)
        size = np.where(np.isfinite(here.one), np.fmax(1.0, np.abs(here.one)), 1.0)
        bound = _ROUNDING * change + TOLERANCE * size
        lost = np.isnan(change)  # where rounding alone may leave nothing of a number
        near = lost | (np.abs(here.off) <= bound)
        known = ~lost.any(axis=1) & np.isfinite(here.relative).all(axis=1)
        if not near.all() or known.sum() < min(_FEWEST, len(known)):
            return ""
    return "rounding, which the model's conditioning magnifies"


def _shift(compared: dict[str, _Compared]) -> str:
    """The constant by which the joint densities differ; "" if they do not by one."""
    joint = compared[JOINT]
    off = -joint.off[:, 0]
    if not np.isfinite(joint.one + joint.other).all() or compared[GRADIENT].worst > TOLERANCE:
        return ""
    if np.ptp(off) > 100 * TOLERANCE * max(1.0, float(np.abs(joint.one).max())):
        return ""
    return f"{np.median(off):.10g}"


def _where(looked: Looked, term: str, named: Callable[[Values], Sequence[str]]) -> str:
    """Where a term differs most: both values, the point and the row."""
    pair, found = looked.pair, looked.compared[term]
    i, j = np.unravel_index(int(found.relative.argmax()), found.relative.shape)
    a, b = found.one[i, j], found.other[i, j]
    row = f", row {j}" if found.one.shape[1] > 1 and term != GRADIENT else ""
    if term == GRADIENT:
        row = f" with respect to {pair.one.coordinates[j]}"
    values = pair.parameters(pair.one.at(jnp.asarray(looked.points[looked.kept][i])))
    flat = np.concatenate([np.ravel(array) for array in values.values()])
    entries = list(zip(named(values), flat, strict=True))[:_SHOWN]
    at = ", ".join(f"{name} = {value:.6g}" for name, value in entries)
    if not np.isfinite([a, b]).any():
        both = f"both programs give {a}" if str(a) == str(b) else f"the programs give {a} and {b}"
        return f"{term}{row}: {both} at {at}; is it outside of the support?"
    return (
        f"{term}{row}: {pair.one.language} {a:.10g}, {pair.other.language} {b:.10g} "
        f"(relative difference {found.relative[i, j]:.2g}) at {at}"
    )
