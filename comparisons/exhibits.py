"""The exhibits of a theory entry: claims with both numbers, and the curves and tables behind them.

An entry is a file beside this one.  Its docstring states the theorem, with conditions and
reference, and its `show(rng, effort)` yields what is here: every random number comes from `rng`,
and `effort` (1, 4 or 16 for the profiles quick, standard and thorough) multiplies sample sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from comparisons.verdict import Verdict


@final
@dataclass(frozen=True)
class Claim:
    """One claim, with the number that theory predicts and the number measured.

    Attributes:
        statement: a sentence of the theory that can be true or false, without the numbers.
        verdict: `expected` is the prediction, `observed` the measurement, `error` the Monte Carlo
            standard error of their difference, `bound` what does not matter in practice.
    """

    statement: str
    verdict: Verdict

    @property
    def title(self) -> str:
        """The statement with what was compared, which tells it from others of the same theorem."""
        relation = ", at least" if self.verdict.relation == "at_least" else ""
        return f"{self.statement.rstrip('.')} ({self.verdict.about}{relation})"


@final
@dataclass(frozen=True)
class Curves:
    """A figure: lines over one horizontal axis.

    Attributes:
        title: what it shows.
        x: label of the horizontal axis, with units.
        y: label of the vertical axis, with units.
        measured: by name, horizontal and vertical places, of the same length; drawn with markers
            where there are fewer than 30.
        theory: the same, of what theory predicts; drawn dashed.
        logarithmic: which axes are: "", "x", "y" or "xy".
    """

    title: str
    x: str
    y: str
    measured: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    theory: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    logarithmic: str = ""


@final
@dataclass(frozen=True)
class Table:
    """Numbers side by side.

    Attributes:
        title: what they are.
        columns: their names, with units.
        rows: one cell per column; NaN where a number does not exist.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has not {len(self.columns)} cells")


type Shown = Claim | Curves | Table
