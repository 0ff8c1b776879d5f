"""One raw column, from whatever container, to float64 measurements or group codes.

What cannot be used is refused: a DataError says what was found, where, what was expected and what
to do, without the column's name, so that a caller can name every bad column of a data set at once.
"""

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from models.errors import DataError, listing

LARGEST, SMALLEST = 1e75, 1e-75
"""Fourth powers of data, as in the information about a variance, must stay in float64's range."""

_NO_NUMBERS: tuple[tuple[Any, str], ...] = (
    (bool | np.bool_, "truth values"),
    (complex | np.complexfloating, "complex numbers"),
    (np.datetime64, "dates"),
    (np.timedelta64, "time differences"),
    (str, "text"),
    (bytes, "bytes"),
    (np.void, "records"),
    (list | tuple | np.ndarray, "rows of different lengths or nested lists"),
)


def plain_array(values: Any) -> np.ndarray:
    """An array that hides nothing: masks are kept, and so are the types in a list."""
    if isinstance(values, np.ma.MaskedArray):
        return values
    if isinstance(values, list | tuple):
        kind = np.ma.array if any(isinstance(v, np.ma.MaskedArray) for v in values) else np.array
        return kind(values, dtype=object)
    return np.asarray(values)


def rows_text(rows: np.ndarray) -> str:
    """The first rows of a boolean mask: `rows 3, 7, 12 (counted from 0)`."""
    positions = np.flatnonzero(rows)
    many = "s" if positions.size > 1 else ""
    return f"row{many} {listing(positions.tolist(), 5)} (counted from 0)"


def measurements(raw: Any) -> np.ndarray:
    """A column of measurements as a new float64 array, shape (rows,); its size is for `extreme`."""
    if _is_categorical(raw):
        raise DataError("holds categories; expected numbers: choose another column or encode it")
    array = _complete(raw)
    _refuse_kind(array, ~_are_numbers(array), "real numbers")
    try:
        with np.errstate(over="ignore"):  # a long double may overflow; infinity is reported below
            values = np.array(array, dtype=np.float64, order="C")
    except OverflowError:
        raise DataError(
            "holds integers beyond the range of float64; expected finite numbers: rescale"
        ) from None
    _refuse_some(np.isinf(values), "infinite", "finite numbers: drop or correct them")
    return values


def extreme(values: np.ndarray) -> str:
    """Why values, shape (rows,), are too large or too small to compute with; "" if they are not."""
    peak = np.abs(values).max(initial=0.0)
    if peak == 0 or SMALLEST <= peak <= LARGEST:
        return ""
    return (
        f"has values of size {peak:.3g}, whose powers leave the range of float64; expected sizes "
        f"between {SMALLEST:g} and {LARGEST:g}: rescale the column, or use --standardise"
    )


def codes(raw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Group labels, strings or integers, as codes 0 … G−1, int64, and as labels, int64 or str.

    Labels are sorted, so that the codes do not depend on the order of the rows.
    """
    array = _complete(raw)
    if array.dtype.kind in "mM":
        array = array.astype(str)
    cells = [c.item() if isinstance(c, np.generic) else c for c in array.tolist()]
    strange = np.array([isinstance(c, list | dict | set | complex) for c in cells], dtype=bool)
    _refuse_kind(array, strange, "group labels")
    fractional = np.array([isinstance(c, float) and not c.is_integer() for c in cells], dtype=bool)
    if fractional.any():
        raise DataError(
            f"holds the number {cells[int(np.argmax(fractional))]!r} in {rows_text(fractional)}; "
            "expected group labels (strings or integers): are the columns in the right order?"
        )
    cells = [int(c) if isinstance(c, float) else c for c in cells]
    whole = all(isinstance(c, int) for c in cells) and np.array(cells).dtype == np.int64
    texts = np.array(cells if whole else [str(c) for c in cells])
    labels, numbered = np.unique(texts, return_inverse=True)
    if len(set(cells)) > labels.size:
        raise DataError(
            "holds different labels that read the same, such as 1 and '1'; expected labels that "
            "differ as text: make the column of one type"
        )
    return numbered.astype(np.int64), labels


def is_text(raw: Any) -> bool:
    """Whether a column is one of text, missing cells among it or not."""
    array, missing = _plain(raw)
    cells = array[~missing]
    return cells.size > 0 and all(isinstance(cell, str) for cell in cells)


def is_numeric(raw: Any) -> bool:
    """Whether a column is one of numbers, missing or infinite ones among them or not."""
    array, missing = _plain(raw)
    return not _is_categorical(raw) and bool(_are_numbers(array[~missing]).all())


def _is_categorical(raw: Any) -> bool:
    return isinstance(raw, pd.Series) and isinstance(raw.dtype, pd.CategoricalDtype)


def _plain(raw: Any) -> tuple[np.ndarray, np.ndarray]:
    """The column as an array without a mask, and where it is missing."""
    if isinstance(raw, pd.Series):
        cells = raw.astype(object) if _is_categorical(raw) else raw
        return cells.to_numpy(), raw.isna().to_numpy(dtype=bool)
    masked = plain_array(raw)
    array = np.ma.getdata(masked)
    missing = np.zeros(array.shape, bool) if array.dtype.kind in "USV" else pd.isna(array)
    if isinstance(masked, np.ma.MaskedArray):
        missing |= np.ma.getmaskarray(masked)
    return array, missing


def _complete(raw: Any) -> np.ndarray:
    """The column as an array; refused where it is missing."""
    array, missing = _plain(raw)
    _refuse_some(missing, "missing", "none: drop or impute them")
    return array


def _are_numbers(array: np.ndarray) -> np.ndarray:
    """Which cells are real numbers, shape (rows,)."""
    if array.dtype.kind != "O":
        return np.full(array.shape, array.dtype.kind in "iuf")
    known = {
        kind: issubclass(kind, Real | Decimal)
        and not issubclass(kind, bool | np.bool_ | np.timedelta64)
        for kind in set(map(type, array))
    }
    return np.array([known[type(cell)] for cell in array], dtype=bool)


def _refuse_some(rows: np.ndarray, kind: str, expected: str) -> None:
    if count := int(rows.sum()):
        values = f"{count} {kind} value{'s' if count > 1 else ''}"
        raise DataError(f"has {values} in {rows_text(rows)}; expected {expected}")


def _refuse_kind(array: np.ndarray, bad: np.ndarray, expected: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        cell = array[row]
        named = (text for kind, text in _NO_NUMBERS if isinstance(cell, kind))
        raise DataError(
            f"holds {next(named, type(cell).__name__)} such as {str(cell)[:40]!r} in row {row} "
            f"(counted from 0); expected {expected}: choose another column or convert it"
        )
