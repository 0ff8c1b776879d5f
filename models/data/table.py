"""Any container of columns to raw columns with names and row labels, nothing converted yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import numpy as np
import pandas as pd
import xarray as xr

from models.data.column import plain_array
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable


@runtime_checkable
class _ArrowTable(Protocol):
    """A table of another library, such as polars, that speaks the Arrow C stream protocol."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@final
@dataclass(frozen=True, slots=True)
class Table:
    """Raw columns on their way into a Dataset.

    Attributes:
        columns: raw one-dimensional column by name; by position where the container has no names.
            One that `cc.groups` made is a DataArray, with a coordinate `label`.
        named: whether the container has names.
        index: labels of the rows, None where there are none.
        shape: shape of the container, for messages.
        attrs: attributes to carry over.
    """

    columns: dict[str, Any]
    named: bool
    index: np.ndarray | None
    shape: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def of(self, columns: dict[str, Any]) -> Table:
        """The same rows with some of the columns."""
        return replace(self, columns=columns, shape=(self.length, len(columns)))


def table_of(data: Any, dims: tuple[Any, ...], name: str) -> Table:
    """Any container as raw columns; `dims` are those of the variable that it is to become."""
    if isinstance(data, xr.Dataset):
        return _from_mapping({str(key): variable for key, variable in data.data_vars.items()}, name)
    if isinstance(data, Mapping):
        return _from_mapping(data, name)
    if isinstance(data, xr.DataArray):
        return _from_dataarray(data, dims, name)
    if isinstance(data, pd.DataFrame):
        columns, named = _named(data.columns, [data.iloc[:, j] for j in range(data.shape[1])], name)
        return Table(columns, named, _row_labels(data.index), data.shape)
    if isinstance(data, pd.Series):
        named = data.name not in (None, "")
        label = str(data.name) if named else "0"
        return Table({label: data}, named, _row_labels(data.index), data.shape)
    if isinstance(data, _ArrowTable):  # pandas and xarray speak it too, but lose labels on the way
        import pyarrow as pa

        try:
            return table_of(pd.DataFrame.from_arrow(data), dims, name)
        except pa.ArrowInvalid:  # a single column: its stream is not one of records, without a name
            column = pd.Series.from_arrow(data).rename(getattr(data, "name", None))
            return table_of(column, dims, name)
    if data is None or isinstance(data, str | bytes | set | frozenset):
        raise DataError(
            f"{name}: is of type {type(data).__name__}; expected an array, a list, a table or a "
            "dict of columns: read a file first"
        )
    return _from_array(data, name)


def _from_array(data: Any, name: str) -> Table:
    try:
        array = plain_array(data)
    except ValueError as error:
        raise DataError(f"{name}: is ragged ({error}); expected rows of one length") from error
    if array.dtype.names and array.ndim == 1:
        return _from_mapping({field: array[field] for field in array.dtype.names}, name)
    if array.dtype == object and array.ndim == 1 and array.size:
        lengths = {len(row) for row in array if isinstance(row, list | tuple)}
        if lengths:
            raise DataError(
                f"{name}: is ragged, with rows of {', '.join(map(str, sorted(lengths)))} or no "
                "elements; expected rows of one length"
            )
    if array.ndim == 0 or array.ndim > 2:
        scalar = f"type {type(data).__name__} without dimensions"
        what = f"shape {array.shape}" if array.ndim else scalar
        raise DataError(
            f"{name}: is of {what}; expected one dimension (obs) or two (obs, variable): reshape it"
        )
    block = array.reshape(array.shape[0], -1) if array.size else np.empty((array.shape[0], 1))
    columns = {str(j): block[:, j] for j in range(block.shape[1])}
    return Table(columns, False, None, array.shape)


def _from_dataarray(data: xr.DataArray, dims: tuple[Any, ...], name: str) -> Table:
    if set(data.dims) == set(dims):
        data = data.transpose(*dims)
    table = _from_array(data.values, name)
    index = None
    if data.dims[0] in data.coords:
        index = _row_labels(data.indexes[data.dims[0]])
    elif f"{data.dims[0]}_label" in data.coords:
        index = data.coords[f"{data.dims[0]}_label"].values
    columns, named = table.columns, data.ndim == 1 and data.name is not None
    if data.ndim == 1:  # with the labels of its rows
        columns = {str(data.name) if named else "0": data}
    elif data.dims[1] in data.coords:
        columns, named = _named(data.coords[data.dims[1]].values, columns.values(), name)
    return Table(columns, named, index, table.shape, dict(data.attrs))


def _from_mapping(data: Mapping[Any, Any], name: str) -> Table:
    parts = {str(key): table_of(raw, (None,), f"{name}[{key!r}]") for key, raw in data.items()}
    for key, part in parts.items():
        if len(part.shape) != 1:
            raise DataError(
                f"{name}: column {key!r} is of shape {part.shape}; expected one dimension"
            )
    lengths = {key: part.shape[0] for key, part in parts.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key}: {n}" for key, n in lengths.items())
        raise DataError(f"{name}: columns differ in length ({listed}); expected one length")
    columns = {key: next(iter(part.columns.values())) for key, part in parts.items()}
    index = next((part.index for part in parts.values() if part.index is not None), None)
    return Table(columns, True, index, (next(iter(lengths.values()), 0), len(columns)))


def _named(labels: Iterable[Any], columns: Iterable[Any], name: str) -> tuple[dict[str, Any], bool]:
    """Columns by their labels, and whether these do more than count them."""
    texts = [str(label) for label in labels]
    repeated = [text for text, count in Counter(texts).items() if count > 1]
    if repeated:
        raise DataError(f"{name}: the column name {repeated[0]!r} is used twice; rename one")
    counted = texts == [str(j) for j in range(len(texts))]
    return dict(zip(texts, columns, strict=True)), not counted


def _row_labels(index: pd.Index) -> np.ndarray | None:
    """Labels of the rows as numbers, dates or text; None if they only count the rows."""
    if index.equals(pd.RangeIndex(len(index))):
        return None
    if isinstance(index, pd.MultiIndex):
        return np.array([", ".join(map(str, label)) for label in index])
    values = index.to_numpy()
    return values if values.dtype.kind in "iufM" else np.array([str(label) for label in index])
