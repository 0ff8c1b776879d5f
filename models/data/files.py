"""Tables from files: the bundled data sets, and CSV or Parquet files of the user's.

CSV is read with one parser that knows the line of every cell (`models.data.text`), so that whatever
is wrong with a file is reported as path:line:column. Lines and columns count from 1, as in an
editor.
"""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from models.data.cells import Cells, pointed, read_column, refuse_missing, refuse_thousands
from models.data.opening import contents
from models.data.text import refuse_total, sheet
from models.errors import DataError, listing
from models.registry import lookup

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

_FOLDER = Path(__file__).parent / "sets"
_TEXT = (".csv", ".tsv", ".txt", ".gz")


def bundled_names() -> tuple[str, ...]:
    """The names of the bundled data sets, alphabetical."""
    return tuple(sorted(_bundled_paths()))


def bundled(name: str) -> pd.DataFrame:
    """The table of a bundled data set, whose source `data/sets/README.md` tells."""
    return read(lookup("data set", name, _bundled_paths()))


def _bundled_paths() -> dict[str, Path]:
    return {p.stem.removesuffix("_corrected"): p for p in sorted(_FOLDER.glob("*.csv"))}


def read(path: str | PathLike[str], columns: Iterable[str] = ()) -> pd.DataFrame:
    """A table from a file of text with names in its first line, or a Parquet file.

    A first column without a name, as R and pandas write row names, becomes the index.

    Args:
        path: the file; its suffix says which kind it is.
        columns: names of the columns wanted, in this order; all of them when empty. Cells are
            checked in these columns only, and only when named here must they not be missing.

    Returns:
        The table; its attributes are the `file` and, where that is not plain, how it was `read`.

    Raises:
        DataError: the file cannot be read or a cell cannot be used; starts with path:line:column
            as far as these exist.
        ConfigError: a column that the file does not have.
    """
    path, columns = Path(path), tuple(columns)
    suffix = path.suffix.lower()
    if suffix not in (*_TEXT, ".parquet"):
        raise DataError(
            f"{path}: cannot read {suffix or 'this kind of'} files; expected .csv, .tsv or .txt "
            "(also .gz), or .parquet"
        )
    reader = _read_parquet if suffix == ".parquet" else _read_text
    return reader(path, contents(path), columns)


def opened(source: Any, columns: Iterable[str] = ()) -> Any:
    """The table of a bundled data set or a file; anything else as it is."""
    if not isinstance(source, str | Path):
        return source
    return bundled(str(source)) if str(source) in bundled_names() else read(source, columns)


def data_name(source: Any) -> str:
    """The name of a bundled data set, or of a file without its folder and suffixes."""
    if not isinstance(source, str | Path):
        return "data"
    name = str(source)
    return name if name in bundled_names() else Path(name.removesuffix(".gz")).stem


def _read_parquet(path: Path, raw: bytes, columns: tuple[str, ...]) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame = pd.read_parquet(io.BytesIO(raw))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); write it again") from error
    if frame.empty:
        raise DataError(f"{path}: holds no rows; expected at least one")
    frame.columns = [str(c) for c in frame.columns]
    valid = {name: j for j, name in enumerate(frame.columns)}
    for name in columns:
        j = lookup("column", name, valid)
        cells = Cells(path, name, j + 1, range(1, len(frame) + 1), ())
        refuse_missing(cells, frame.iloc[:, j].isna().to_numpy(dtype=bool))
    frame.attrs = {"file": str(path)}
    return frame.loc[:, list(columns)] if columns else frame


def _read_text(path: Path, raw: bytes, columns: tuple[str, ...]) -> pd.DataFrame:
    found = sheet(path, raw)
    names, *rows = (row.cells for row in found.rows)
    lines = [row.line for row in found.rows[1:]]
    position = {name: j for j, name in enumerate(names)}
    wanted = {name: lookup("column", name, position) for name in columns}
    wanted = wanted or {name: j for name, j in position.items() if name}
    index = None
    if not names[0]:
        labels = [row[0] for row in rows]
        index = pd.Index(list(map(int, labels)) if all(map(str.isdecimal, labels)) else labels)
    refuse_total(path, found.rows)
    cells = {
        name: Cells(path, name, j + 1, lines, [row[j] for row in rows])
        for name, j in wanted.items()
    }
    read = {name: read_column(cells[name], required=name in columns) for name in wanted}
    commas = any(column.decimal == "," for column in read.values())
    if "separated by semicolons" in found.notes:  # as in countries of decimal commas
        commas = commas or not any(map(pointed, chain(*rows)))
    told: dict[str, list[str]] = {}
    for name, column in read.items():
        if commas and column.decimal != "," and column.values.dtype != object:
            refuse_thousands(cells[name])
        if column.notes:
            told.setdefault(" and ".join(column.notes), []).append(name)
    notes = [*found.notes, *(f"{listing(names, 4)} with {how}" for how, names in told.items())]
    frame = pd.DataFrame({name: column.values for name, column in read.items()}, index=index)
    frame.attrs["file"] = str(path)
    if notes:
        frame.attrs["read"] = f"{path.name} was read so: {'; '.join(notes)}"
    return frame
