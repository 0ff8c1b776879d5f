"""One raw column, from whatever container, to float64 measurements, whole numbers or group codes.

A column that cannot be used is described rather than raised on, so that a caller can name every
bad column of a data set at once.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST, SMALLEST = 1e75, 1e-75
"""Fourth powers of data, as in the information about a variance, must stay in float64's range."""

_KINDS = {
    "b": "truth values",
    "c": "complex numbers",
    "M": "dates",
    "m": "time differences",
    "U": "text",
    "S": "bytes",
    "V": "records",
}


_ALIKE = (
    "holds different labels that read the same, such as 1 and '1'; expected labels that differ as "
    "text: make the column of one type"
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
    shown = ", ".join(str(p) for p in positions[:5])
    more = ", …" if positions.size > 5 else ""
    return f"row{'s' if positions.size > 1 else ''} {shown}{more} (counted from 0)"


def measurements(raw: Any) -> tuple[np.ndarray, str]:
    """A column of measurements.

    Args:
        raw: a one-dimensional array, masked array, list or pandas Series.

    Returns:
        The values as a new float64 array, shape (rows,), and "", or no values and a problem:
        what was found, where, what was expected and what to do. Values may still be too large
        or too small to compute with; see `extreme`.
    """
    nothing = np.empty(0)
    if isinstance(raw, pd.Series) and isinstance(raw.dtype, pd.CategoricalDtype):
        return nothing, "holds categories; expected numbers: choose another column or encode it"
    array, missing = _plain(raw)
    if missing.any():
        return nothing, _missing_problem(missing)
    if array.dtype.kind in _KINDS:
        return nothing, _kind_problem(_KINDS[array.dtype.kind], array, np.ones(array.size, bool))
    if array.dtype.kind == "O":
        refused = {t for t in set(map(type, array)) if not _is_number(t)}
        if refused:
            bad = np.array([type(v) in refused for v in array])
            return nothing, _kind_problem(_describe(array[bad][0]), array, bad)
    try:
        with np.errstate(over="ignore"):  # a long double may overflow; infinity is reported below
            values = np.array(array, dtype=np.float64, order="C")
    except OverflowError:
        return (
            nothing,
            "holds integers beyond the range of float64; expected finite numbers: rescale",
        )
    if np.isinf(values).any():
        infinite = np.isinf(values)
        return nothing, (
            f"has {infinite.sum()} infinite value{'s' if infinite.sum() > 1 else ''} in "
            f"{rows_text(infinite)}; expected finite numbers: drop or correct them"
        )
    return values, ""


def extreme(values: np.ndarray) -> str:
    """Why values, shape (rows,), are too large or too small to compute with; "" if they are not."""
    peak = np.abs(values).max(initial=0.0)
    if peak == 0 or SMALLEST <= peak <= LARGEST:
        return ""
    return (
        f"has values of size {peak:.3g}, whose powers leave the range of float64; expected sizes "
        f"between {SMALLEST:g} and {LARGEST:g}: rescale the column, or use --standardise"
    )


def codes(raw: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """A column of group labels, factorised.

    Labels are sorted, so that the codes do not depend on the order of the rows.

    Args:
        raw: a one-dimensional array, masked array, list or pandas Series of strings or integers.

    Returns:
        Codes 0 … G−1, int64, shape (rows,); labels, int64 or str, shape (G,); and "", or neither
        and a problem.
    """
    nothing = np.empty(0, dtype=np.int64)
    array, missing = _plain(raw)
    if array.dtype.kind in "mM":
        array = array.astype(str)
    cells = [c.item() if isinstance(c, np.generic) else c for c in array.tolist()]
    problem = _missing_problem(missing) if missing.any() else _label_problem(array, cells)
    if problem:
        return nothing, nothing, problem
    cells = [int(c) if isinstance(c, float) else c for c in cells]
    numbers = all(isinstance(c, int) for c in cells) and np.array(cells).dtype == np.int64
    labels, numbered = np.unique(
        np.array(cells if numbers else [str(c) for c in cells]), return_inverse=True
    )
    if len(set(cells)) > labels.size:
        return nothing, nothing, _ALIKE
    return numbered.astype(np.int64), labels, ""


def _label_problem(array: np.ndarray, cells: list[Any]) -> str:
    unusable = np.array([isinstance(c, list | dict | set | complex) for c in cells], dtype=bool)
    if unusable.any():
        kind = _describe(cells[int(np.argmax(unusable))])
        return _kind_problem(kind, array, unusable, "group labels")
    fractional = np.array([isinstance(c, float) and not c.is_integer() for c in cells], dtype=bool)
    if fractional.any():
        return (
            f"holds the number {cells[int(np.argmax(fractional))]!r} in {rows_text(fractional)}; "
            "expected group labels (strings or integers): are the columns in the right order?"
        )
    return ""


def is_text(raw: Any) -> bool:
    """Whether a column is one of text, missing cells among it or not."""
    array, missing = _plain(raw)
    cells = array[~missing]
    return cells.size > 0 and all(isinstance(cell, str) for cell in cells)


def is_numeric(raw: Any) -> bool:
    """Whether a column is one of numbers, missing or infinite ones among them or not."""
    if isinstance(raw, pd.Series) and isinstance(raw.dtype, pd.CategoricalDtype):
        return False
    array, missing = _plain(raw)
    if array.dtype.kind == "O":
        return all(_is_number(t) for t in set(map(type, array[~missing])))
    return array.dtype.kind not in _KINDS


def _plain(raw: Any) -> tuple[np.ndarray, np.ndarray]:
    """The column as an array without a mask, and where it is missing."""
    if isinstance(raw, pd.Series):
        missing = raw.isna().to_numpy(dtype=bool)
        dtype = raw.dtype
        return (
            raw.astype(object) if isinstance(dtype, pd.CategoricalDtype) else raw
        ).to_numpy(), missing
    array = plain_array(raw)
    if isinstance(array, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(array)
        array = np.asarray(array.data)
        return array, hidden | _absent(array)
    return array, _absent(array)


def _absent(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "USV":
        return np.zeros(array.shape, dtype=bool)
    return np.asarray(pd.isna(array), dtype=bool)


def _is_number(kind: type) -> bool:
    return issubclass(kind, Real | Decimal) and not issubclass(kind, bool | np.bool_)


def _describe(cell: Any) -> str:
    kinds: Iterable[tuple[Any, str]] = (
        (str, "text"),
        (bool | np.bool_, "truth values"),
        (complex | np.complexfloating, "complex numbers"),
        (list | tuple | np.ndarray, "rows of different lengths or nested lists"),
    )
    return next((text for kind, text in kinds if isinstance(cell, kind)), type(cell).__name__)


def _missing_problem(missing: np.ndarray) -> str:
    count = int(missing.sum())
    return (
        f"has {count} missing value{'s' if count > 1 else ''} in {rows_text(missing)}; "
        "expected none: drop or impute them"
    )


def _kind_problem(
    kind: str, array: np.ndarray, bad: np.ndarray, expected: str = "real numbers"
) -> str:
    first = int(np.argmax(bad)) if bad.any() else 0
    example = (
        f" such as {str(array[first])[:40]!r} in row {first} (counted from 0)" if array.size else ""
    )
    return f"holds {kind}{example}; expected {expected}: choose another column or convert it"
