"""Tables from files: the bundled data sets, and CSV or Parquet files of the user's.

CSV is read with one parser that knows the line of every cell, so that whatever is wrong with a
file is reported as path:line:column. Lines and columns count from 1, as in an editor.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models.errors import DataError
from models.registry import lookup

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

_FOLDER = Path(__file__).parent / "sets"
_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})


def bundled_names() -> tuple[str, ...]:
    """The names of the bundled data sets, alphabetical."""
    return tuple(sorted(_bundled_paths()))


def bundled(name: str) -> pd.DataFrame:
    """A bundled data set.

    Args:
        name: one of `bundled_names()`.

    Returns:
        The table; `data/sets/README.md` tells its source.

    Raises:
        ConfigError: no such data set; lists the valid names and the nearest one.
    """
    return read(lookup("data set", name, _bundled_paths()))


def _bundled_paths() -> dict[str, Path]:
    return {p.stem.removesuffix("_corrected"): p for p in sorted(_FOLDER.glob("*.csv"))}


def read(path: str | PathLike[str], columns: Iterable[str] = ()) -> pd.DataFrame:
    """A table from a CSV file (comma-separated, UTF-8, names in the first line) or Parquet file.

    A first column without a name, as R and pandas write row names, becomes the index.

    Args:
        path: the file; its suffix says which kind it is.
        columns: names of the columns wanted, in this order; all of them when empty. Cells are
            checked in these columns only, and only when named here must they not be missing.

    Raises:
        DataError: the file cannot be read or a cell cannot be used; starts with path:line:column
            as far as these exist.
        ConfigError: a column that the file does not have.
    """
    path, columns = Path(path), tuple(columns)
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'this kind of'} files; expected .csv or .parquet"
        )
    try:
        return readers[path.suffix.lower()](path, columns)
    except FileNotFoundError:
        near = path.parent if path.parent.is_dir() else "its folder does not exist either"
        raise DataError(f"{path}: no such file (looked in {near}); check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a directory; expected a file: name the file in it") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it; change its mode or copy it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_parquet(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pyarrow as pa

    with path.open("rb") as stream:
        try:
            frame = pd.read_parquet(stream)
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    if frame.empty:
        raise DataError(f"{path}: holds no rows; expected at least one")
    frame.columns = [str(c) for c in frame.columns]
    valid = {name: j for j, name in enumerate(frame.columns)}
    for name in columns:
        j = lookup("column", name, valid)
        missing = frame.iloc[:, j].isna().to_numpy(dtype=bool)
        if missing.any():
            where = f"{path}:{int(np.argmax(missing)) + 1}:{j + 1}: column {name!r}"
            raise DataError(_missing_text(where, missing))
    return frame.loc[:, list(columns)] if columns else frame


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    names, rows, lines = _cells(path)
    position = {name: j for j, name in enumerate(names)}
    for name in columns:
        lookup("column", name, position)
    index = _row_names([row[0] for row in rows]) if not names[0] else None
    wanted = columns or tuple(name for name in names if name)
    parsed = {}
    for name in wanted:
        j = position[name]
        where = f"{path}:{{line}}:{j + 1}: column {name!r}"
        parsed[name] = _parse(where, [row[j] for row in rows], lines, required=name in columns)
    return pd.DataFrame(parsed, index=index)


def _row_names(cells: list[str]) -> pd.Index:
    if all(cell.isdecimal() for cell in cells):
        return pd.Index([int(cell) for cell in cells])
    return pd.Index(cells)


def _cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Column names, the cells of every row, and the line on which each row starts."""
    text = path.read_bytes()
    try:
        content = text.decode("utf-8-sig")  # drops a byte-order mark
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None
    reader = csv.reader(io.StringIO(content, newline=""), strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: malformed CSV: {error}; check the quotes") from None
    if not rows:
        raise DataError(f"{path}:1: is empty; expected a line of column names, then rows")
    names = [name.strip() for name in rows.pop(0)]
    line = lines.pop(0)
    _check_names(path, line, names, rows)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"{path}:{line}:{min(len(row), len(names)) + 1}: {len(row)} cells; expected "
                f"{len(names)}, as in the line of names: check separators and quotes"
            )
    return names, rows, lines


def _check_names(path: Path, line: int, names: list[str], rows: list[list[str]]) -> None:
    if len(names) == 1:
        for delimiter, called in (
            (";", "a semicolon"),
            ("\t", "a tab"),
            ("|", "a bar"),
            (" ", "a space"),
        ):
            fields = len(names[0].split(delimiter))
            same = delimiter != " " or (bool(rows) and len(rows[0][0].split()) == fields)
            if fields > 1 and same:
                raise DataError(
                    f"{path}:{line}:1: one column named {names[0][:60]!r}: the delimiter seems to "
                    f"be {called}; expected a comma: save the file comma-separated"
                )
    if not rows:
        raise DataError(f"{path}:{line}: holds column names and no rows; expected at least one row")
    if all(_is_float(name) for name in names) and names != [str(j) for j in range(len(names))]:
        raise DataError(
            f"{path}:{line}:1: numbers where column names are expected ({', '.join(names[:4])}); "
            "add a first line of names"
        )
    for j, name in enumerate(names):
        if not name and j:
            raise DataError(f"{path}:{line}:{j + 1}: a column without a name; name it")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        second = names.index(repeated[0], names.index(repeated[0]) + 1)
        raise DataError(
            f"{path}:{line}:{second + 1}: the column name {repeated[0]!r} is used twice; rename one"
        )


def _parse(where: str, cells: list[str], lines: list[int], *, required: bool) -> np.ndarray:
    """A column as int64, float64 with NaN where missing, or text with None where missing.

    Raises:
        DataError: most cells are numbers and one is not, or a required cell is missing.
    """
    try:
        return _numbers(cells)
    except ValueError:  # not numbers throughout: find out which cells are not, and why
        stripped = [cell.strip() for cell in cells]
    absent = np.array([cell in _MISSING for cell in stripped])
    if required and absent.any():
        raise DataError(_missing_text(where.format(line=lines[int(np.argmax(absent))]), absent))
    numeric = np.array([_is_float(cell) for cell in stripped]) & ~absent
    if (numeric | absent).all():
        return np.array([float("nan") if cell in _MISSING else float(cell) for cell in stripped])
    if 2 * numeric.sum() > (~absent).sum():
        bad = int(np.argmin(numeric | absent))
        raise DataError(
            f"{where.format(line=lines[bad])}: {cells[bad][:40]!r} is not a number, as most cells "
            "of this column are; correct it, or leave it empty if it is missing"
        )
    return np.array([cell or None for cell in stripped], dtype=object)


def _numbers(cells: list[str]) -> np.ndarray:
    """Cells as int64 if they all are, else as float64.

    Raises:
        ValueError: a cell is missing or not a number.
    """
    values = np.array([float(cell) for cell in cells])
    if np.isnan(values).any() or any("_" in cell for cell in cells):
        raise ValueError
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        return values


def _missing_text(where: str, missing: np.ndarray) -> str:
    count = int(missing.sum())
    return (
        f"{where} has {count} missing value{'s' if count > 1 else ''}, the first one here; "
        "expected none: drop or impute them"
    )


def _is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
