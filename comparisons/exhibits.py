"""The exhibits of a theory entry: verdicts on its claims, the curves and tables behind them.

An entry is a file of `comparisons/theory`.  Its docstring states the theorem, with conditions and
reference, and its `show(rng, effort)` yields what is here: every random number comes from `rng`,
and `effort` (1, 4 or 16 for the profiles quick, standard and thorough) multiplies sample sizes.
A verdict's `statement` is a sentence of the theory that can be true or false, without the numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from comparisons.verdict import Verdict

type Numbers = Sequence[float] | np.ndarray


@final
@dataclass(frozen=True)
class Curves:
    """A figure: lines over one horizontal axis."""

    title: str
    x: str  # label of the horizontal axis, with units
    y: str  # and of the vertical one
    measured: Mapping[str, tuple[Numbers, Numbers]]
    """By name, horizontal and vertical places, of the same length; drawn with markers where there
    are fewer than 30."""
    theory: Mapping[str, tuple[Numbers, Numbers]]  # of what theory predicts; drawn dashed
    logarithmic: str = ""  # which axes are: "", "x", "y" or "xy"


@final
@dataclass(frozen=True)
class Table:
    """Numbers side by side; NaN where one does not exist. The names of columns have units."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has not {len(self.columns)} cells")


type Shown = Verdict | Curves | Table

type Exhibits = Iterator[Shown]
