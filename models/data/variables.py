"""Raw columns to the variables of a model's schema: numbers stay numbers.

Whole numbers are int64 where the model simulates integers; all others are float64.  Labels become
positions 0 … G−1 only where the model says that a variable holds groups
(`models.capabilities.HasGroups`), or where it is named like a dimension of a parameter and holds
text.  Codes that `groups` made are taken as they are, with their labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from models.capabilities import HasGroups
from models.data.column import codes, extreme, is_text, measurements, rows_text
from models.data.table import Table, table_of
from models.errors import DataError

if TYPE_CHECKING:
    from models.spec import Model

_EXACT = 2**53
"""Whole numbers beyond are not exact in float64."""


def groups(column: Any) -> xr.DataArray:
    """Numbers the labels of a column: 0 … G−1 in sorted order, whatever the order of the rows.

    Args:
        column: labels (strings, whole numbers, categories, dates), a row each: a pandas or polars
            Series, an array or a list.

    Returns:
        Codes, int64, dim `obs`, with the labels of the rows as coordinate `label` and those of the
        index, if there are any, as coordinate `obs`. Data take it as a column:
        `{"y": df["y"], "county": cc.groups(df["county"])}`.

    Raises:
        DataError: labels are missing or no labels: says where and what was expected.
    """
    table = table_of(column, ("obs",), "groups")
    if len(table.columns) != 1:
        raise DataError(
            f"groups: got {len(table.columns)} columns; expected one: cc.groups(df['county'])"
        )
    ((name, raw),) = table.columns.items()
    try:
        numbered, labels = codes(raw)
    except DataError as error:
        called = f"column {name!r}" if table.named else "the column"
        raise DataError(f"groups: {called} {error}") from None
    found: dict[str, Any] = {"label": ("obs", labels[numbered])}
    if table.index is not None and pd.Index(table.index).is_unique:
        found["obs"] = table.index
    return xr.DataArray(numbered, found, ("obs",), name if table.named else None)


def converted(
    model: Model,
    parts: dict[str, Table],
    schema: dict[str, xr.DataArray],
    name: str,
    *,
    any_size: bool,
) -> xr.Dataset:
    """Raw columns as the variables of the schema.

    Args:
        model: says which variables hold labels.
        parts: the columns of each variable.
        schema: the variables that the model simulates.
        name: what to call the data in messages.
        any_size: whether measurements may be too large or too small to compute with.

    Raises:
        DataError: tells every unusable column at once.
    """
    rows = {variable: part.length for variable, part in parts.items()}
    if len(set(rows.values())) > 1:
        lengths = ", ".join(f"{variable}: {n}" for variable, n in rows.items())
        raise DataError(f"{name}: variables differ in length ({lengths}); expected one length")
    variables: dict[str, xr.Variable] = {}
    labels: dict[str, Any] = {}
    problems: list[str] = []
    blamed: list[str] = []  # the columns that have them
    for variable, part in parts.items():
        template = schema[variable]
        if _numbers_labels(model, variable, template, part):
            array, numbered, found = _grouped(part, variable)
        else:
            array, found = _measured(part, template, variable, any_size=any_size)
            numbered = _labels_of_codes(part, array)
            if _holds_positions(model, variable, template):
                found += _no_positions(array, variable)
        if not np.array_equal(numbered, np.arange(numbered.size)):
            labels[f"{variable}_label"] = numbered
        problems += [f"{name}: {problem}" for problem in found]
        blamed += part.columns if found else ()
        variables[variable] = xr.Variable(template.dims, frozen(array), part.attrs)
        labels |= _labels(variable, template, part)
    if problems:
        hidden = f"\n… and {len(problems) - 5} more columns" if len(problems) > 5 else ""
        error = DataError("\n".join(problems[:5]) + hidden)
        error.columns = tuple(blamed)
        raise error
    return xr.Dataset(variables, labels)


def _holds_positions(model: Model, variable: str, template: xr.DataArray) -> bool:
    """Whether a variable is an integer one, named like the dimension of a parameter it indexes."""
    named = any(variable in parameter.dims for parameter in model.parameters)
    return named and template.dtype.kind in "iu" and template.ndim == 1


def _numbers_labels(model: Model, variable: str, template: xr.DataArray, part: Table) -> bool:
    """Whether the model asks for the positions of a variable's labels."""
    if isinstance(model, HasGroups) and variable in model.group_variables:
        return True
    raw = next(iter(part.columns.values()))
    return _holds_positions(model, variable, template) and is_text(raw)


def _measured(
    part: Table, template: xr.DataArray, variable: str, *, any_size: bool
) -> tuple[np.ndarray, list[str]]:
    """Columns as an array of the template's dims, with a problem for each that is unusable."""
    array, problems = np.zeros((part.length, len(part.columns))), []
    whole = template.dtype.kind in "iu"
    for j, (column, raw) in enumerate(part.columns.items()):
        try:
            array[:, j] = measurements(raw)
            problem = "" if any_size else extreme(array[:, j])
        except DataError as error:
            problem = str(error)
            if is_text(raw):
                given = column if part.named else variable
                problem += f", or number its labels: cc.groups(df[{given!r}])"
                if whole:
                    problem += f"; a model asks for that by group_variables = ({variable!r},)"
        if problem:
            problems.append(f"{_called(part, column, variable)} {problem}")
    if whole and not (array % 1).any() and np.abs(array).max() <= _EXACT:
        array = array.astype(np.int64)
    return array[:, 0] if template.ndim == 1 else array, problems


def _no_positions(array: np.ndarray, variable: str) -> list[str]:
    """The problem of a variable that holds positions, if some are none."""
    bad = (array < 0) | (array % 1 != 0)
    remedy = f"its positions count from 0: cc.groups(df[{variable!r}])"
    return [f"{variable} is {array[bad][0]:g} in {rows_text(bad)}; {remedy}"] if bad.any() else []


def _grouped(part: Table, variable: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A label column as codes and what they stand for, with its problem if it is unusable."""
    ((column, raw),) = part.columns.items()
    try:
        return *codes(raw.coords["label"].values if _is_labelled(raw) else raw), []
    except DataError as error:
        nothing = np.zeros(part.length, dtype=np.int64)
        return nothing, nothing, [f"{_called(part, column, variable)} {error}"]


def _is_labelled(raw: Any) -> bool:
    """Whether a column is one that `groups` made."""
    return isinstance(raw, xr.DataArray) and "label" in raw.coords


def _labels_of_codes(part: Table, array: np.ndarray) -> np.ndarray:
    """Labels of the codes 0 … G−1 of a column that `groups` made; none of any other."""
    raw = next(iter(part.columns.values()))
    if _is_labelled(raw):
        found, first = np.unique(array, return_index=True)
        if np.array_equal(found, np.arange(found.size)):
            return raw.coords["label"].values[first]
    return np.arange(0)


def _called(part: Table, column: str, variable: str) -> str:
    return f"column {column!r}" if part.named or len(part.columns) > 1 else variable


def _labels(variable: str, template: xr.DataArray, part: Table) -> dict[str, Any]:
    """Coordinates that keep the names of a part's rows and columns."""
    labels: dict[str, Any] = {}
    if part.index is not None:
        dim = str(template.dims[0])
        labels[dim if pd.Index(part.index).is_unique else f"{dim}_label"] = (dim, part.index)
    if part.named and template.ndim == 2:
        labels[str(template.dims[1])] = np.array(list(part.columns))
    if part.named and template.ndim == 1 and list(part.columns) != [variable]:
        labels[f"{variable}_column"] = next(iter(part.columns))
    return labels


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only, C-contiguous copy."""
    array = np.array(array, order="C")
    array.setflags(write=False)
    return array
