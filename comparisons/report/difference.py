"""Changes between two tables of verdicts, judged by the Monte Carlo errors of both.

A row is *changed* where its number moved by more than the practical bound even at the near end of
the interval that both errors span, *unchanged* where it stayed within the bound even at the far
end, and *cannot tell* between: the rule of every verdict, with the old number as the expected one.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, isnan, nan
from pathlib import Path
from typing import Literal, final

from comparisons.policy import Z
from comparisons.verdict import Verdict
from models.errors import DataError

type Row = dict[str, str]
type Change = Literal["changed", "unchanged", "cannot tell"]

COLUMNS = (
    *("comparison", "model", "data", "about", "observed", "expected", "error", "bound"),
    *("verdict", "cause"),
)
_CASE = COLUMNS[:3]
_FIELDS = ("claim", "quantity", "parameter", "method", "reference", "n")
"""By which rows are matched; by their sentences where one of the tables has no such columns."""


@final
@dataclass(frozen=True)
class Difference:
    """One row of the comparison of two tables.

    Attributes:
        row: comparison, model, data and about.
        change: changed, unchanged or cannot tell.
        reason: what changed, with both numbers.
    """

    row: tuple[str, ...]
    change: Change
    reason: str


def differences(old: Path, new: Path) -> list[Difference]:
    """All rows of two tables of verdicts, those that changed first.

    Raises:
        DataError: a file cannot be read or is no such table.
    """
    tables = _read(old), _read(new)
    fields = all({*_FIELDS} <= row.keys() for rows in tables for row in rows)
    before, after = (_keyed(rows, _FIELDS if fields else ("about",)) for rows in tables)
    found = [_difference(before.get(key), after.get(key)) for key in {**before, **after}]
    order = ("changed", "cannot tell", "unchanged")
    return sorted(found, key=lambda difference: order.index(difference.change))


def _keyed(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[str, ...], Row]:
    """Rows by what they are about; an equal statement made twice is told apart by its place."""
    keyed: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in (*_CASE, *names))
        while key in keyed:
            key = (*key, "again")
        keyed[key] = row
    return keyed


def _difference(old: Row | None, new: Row | None) -> Difference:
    row = tuple((old or new or {})[name] for name in (*_CASE, "about"))
    if old is None or new is None:
        return Difference(row, "changed", "new" if old is None else "gone")
    if all(old[name] == new[name] for name in COLUMNS):
        return Difference(row, "unchanged", "the same")
    (a, error_a, bound_a), (b, error_b, bound_b) = _numbers(old), _numbers(new)
    verdicts = f"{old['verdict']} → {new['verdict']}"
    same_verdict = old["verdict"] == new["verdict"]
    if isnan(a) or isnan(b):
        same = isnan(a) and isnan(b) and same_verdict
        return Difference(row, "unchanged" if same else "changed", verdicts)
    error = hypot(error_a, error_b)
    moved = f"{a:g} → {b:g}, error {error:.2g}; {verdicts}"
    outcome = Verdict("", observed=b, expected=a, error=error, bound=min(bound_a, bound_b)).outcome
    change: Change = "cannot tell"
    if outcome == "DIFFER" or (not same_verdict and abs(a - b) > Z * error):
        change = "changed"
    elif same_verdict and outcome in ("AGREE", "CONSISTENT"):
        change = "unchanged"
    return Difference(row, change, moved)


def _read(path: Path) -> list[Row]:
    if path.is_dir():
        path = path / "verdicts.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}:1: no column {', '.join(missing)}; expected a verdicts.csv, as "
                    "`run` writes it"
                )
            rows = []
            for row in reader:
                _numbers(row, f"{path}:{reader.line_num}")
                rows.append(row)
            return rows
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a verdicts.csv") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _numbers(row: Row, where: str = "") -> tuple[float, float, float]:
    values = []
    for name in ("observed", "error", "bound"):
        try:
            values.append(float(row[name]) if row[name] else nan)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {name} is {row[name]!r}; expected a number") from error
    observed, error, bound = values
    return observed, error, bound
