"""The table behind the first screen: methods × scalars, or × parameters where there are many."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from comparisons.grades import MARKS
from comparisons.report.formats import number
from comparisons.report.headline import Agreement, Cell
from inference.method import label

_COLUMNS = 12
"""Scalars beyond which the table has a column for each parameter."""


class MatrixRow(NamedTuple):
    """One method: its worst shift and ratios as text, and (grade, content) for each column."""

    method: str
    shift: str
    ratio: str
    cells: Sequence[tuple[str, str] | None]


class Matrix(NamedTuple):
    """The table."""

    columns: tuple[str, ...]
    rows: list[MatrixRow]
    grouped: bool
    """Whether a column is a parameter with all its entries."""


def matrix(found: Agreement) -> Matrix | None:
    """Every method against the reference; None without one."""
    if not found.reference:
        return None
    grouped = len(found.scalars) > _COLUMNS
    groups: dict[str, list[str]] = {}
    for scalar in found.scalars:
        groups.setdefault(scalar.partition("[")[0] if grouped else scalar, []).append(scalar)
    rows = []
    for method, cells in found.cells.items():
        known = [cell for cell in cells.values() if not math.isnan(cell.shift)]
        worst = max(known, key=lambda cell: abs(cell.shift), default=None)
        ratios = [cell.ratio for cell in cells.values() if not math.isnan(cell.ratio)]
        span = sorted({f"{min(ratios):.2f}", f"{max(ratios):.2f}"}) if ratios else ["–"]
        reported = [[cells[s] for s in group if s in cells] for group in groups.values()]
        text = number(worst.shift, max(worst.shift_error, 0.01)) if worst else "–"
        shown = [_worst(group) for group in reported]
        rows.append(MatrixRow(label(method), text, "–".join(span), shown))
    return Matrix(tuple(groups), rows, grouped)


def _worst(cells: Sequence[Cell]) -> tuple[str, str] | None:
    """The worst grade with its content; None where nothing is reported."""
    graded = [cell for cell in cells if cell.mark in MARKS]
    if not graded:
        return ("", "–") if cells else None
    worst = max(graded, key=lambda cell: (MARKS.index(cell.mark), -cell.holds))
    return worst.mark, "–" if math.isnan(worst.holds) else f"{100 * worst.holds:.0f}"
