"""Labels of groups as positions: what a program that indexes by group is given."""

from __future__ import annotations

from typing import Any

import xarray as xr

from models.data.column import codes
from models.data.table import table_of
from models.errors import DataError


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
    numbered, labels, problem = codes(raw)
    if problem:
        raise DataError(f"groups: {f'column {name!r}' if table.named else 'the column'} {problem}")
    found: dict[str, Any] = {"label": ("obs", labels[numbered])}
    if table.index is not None and len(set(table.index.tolist())) == table.index.size:
        found["obs"] = table.index
    return xr.DataArray(numbered, found, ("obs",), name if table.named else None)
