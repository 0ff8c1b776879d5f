"""Changes between two tables of verdicts, judged by the Monte Carlo errors of both.

A row is *changed* where its number moved by more than the practical bound even at the near end of
the interval that both errors span, *unchanged* where it stayed within the bound even at the far
end, and *cannot tell* between: the rule of every verdict, with the old number as the expected one.
"""

from math import hypot, isnan
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from comparisons.policy import Z
from comparisons.verdict import Verdict
from models.errors import DataError

type Row = dict[str, str]
type Change = Literal["changed", "unchanged", "cannot tell"]

_CASE = ["comparison", "model", "data"]
_FIELDS = ["claim", "quantity", "parameter", "method", "reference", "n"]
"""By which rows are matched; by their sentences where one of the tables has no such columns."""
_NUMBERS = ["observed", "error", "bound"]
COLUMNS = (*_CASE, "about", "observed", "expected", "error", "bound", "verdict", "cause")


class Difference(NamedTuple):
    """A row of both tables (its comparison, model, data and about), and what changed in it."""

    row: tuple[str, ...]
    change: Change
    reason: str


def differences(old: Path, new: Path) -> list[Difference]:
    """All rows of two tables of verdicts, those that changed first.

    Raises:
        DataError: a file cannot be read or is no such table.
    """
    tables = _read(old), _read(new)
    fields = all({*_FIELDS} <= {*table} for table in tables)
    before, after = (
        _keyed(table, [*_CASE, *(_FIELDS if fields else ["about"])]) for table in tables
    )
    found = [_difference(before.get(key), after.get(key)) for key in {**before, **after}]
    order = ("changed", "cannot tell", "unchanged")
    return sorted(found, key=lambda difference: order.index(difference.change))


def _keyed(table: pd.DataFrame, names: list[str]) -> dict[tuple[Any, ...], Row]:
    """Rows by what they are about; an equal statement made twice is told apart by its place."""
    place = table.groupby(names).cumcount()
    keys = table[names].assign(place=place).itertuples(index=False, name=None)
    rows: Any = table.to_dict("records")
    return dict(zip(keys, rows, strict=True))


def _difference(old: Row | None, new: Row | None) -> Difference:
    row = tuple((old or new or {})[name] for name in (*_CASE, "about"))
    if old is None or new is None:
        return Difference(row, "changed", "new" if old is None else "gone")
    if all(old[name] == new[name] for name in COLUMNS):
        return Difference(row, "unchanged", "the same")
    (a, error_a, bound_a), (b, error_b, bound_b) = (
        [float(one[name] or "nan") for name in _NUMBERS] for one in (old, new)
    )
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


def _read(path: Path) -> pd.DataFrame:
    path = path / "verdicts.csv" if path.is_dir() else path
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
        ).fillna("")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a verdicts.csv") from error
    except ValueError as error:  # no CSV in UTF-8
        raise DataError(f"{path}: {error}; expected a verdicts.csv, as `run` writes it") from error
    if missing := [name for name in COLUMNS if name not in table]:
        told = f"no column {', '.join(missing)}; expected a verdicts.csv, as `run` writes it"
        raise DataError(f"{path}:1: {told}")
    for name in _NUMBERS:
        wrong = (table[name] != "") & pd.to_numeric(table[name], errors="coerce").isna()
        for row in table.index[wrong & (table[name].str.lower() != "nan")]:
            value = table.loc[row, name]
            raise DataError(f"{path}:{row + 2}: {name} is {value!r}; expected a number")
    return table
