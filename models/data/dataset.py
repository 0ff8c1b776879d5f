"""From any array-like to a validated Dataset with named dims: what a model simulates is the schema.

A model's own simulation names the variables, their dims and their kind, measurements or whole
numbers. Whatever the user brings is bound to that schema and checked before anything is compiled:
float64 or int64, C-contiguous, finite, nothing missing. Numbers stay what they are; labels become
positions 0 … G−1 only where the model asks for it (`models.capabilities.HasGroups`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
import xarray as xr

from models.capabilities import HasDataRule, HasOwnPrograms
from models.data.column import is_numeric
from models.data.files import data_name, opened, read
from models.data.table import Table, table_of
from models.data.variables import converted, frozen
from models.errors import ConcordError, DataError, ModelError, listing
from models.registry import lookup
from models.settings import sequence
from models.spec import refuse_other

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.spec import Model

_NUMBERING = ("id", "index", "no", "nr", "number", "obs", "row", "rownames", "unnamed: 0")
"""What a column that only numbers the rows may be called, in lower case."""


def load_data(
    source: Any, model: Model, columns: Iterable[str] = (), *, standardised: bool = False
) -> xr.Dataset:
    """Data as the model's programs read them.

    Args:
        source: the name of a bundled data set, the path of a CSV or Parquet file, or the data:
            whatever `as_dataset` takes.
        model: what the data are for.
        columns: names of the columns to use, in the order of the model's variables; all if empty.
        standardised: whether to bring every column to mean zero and standard deviation one.

    Returns:
        A validated Dataset, float64 and read-only, with the model's variables and dims.

    Raises:
        DataError: the data cannot be used: says what, where, what was expected and what to do.
        ConfigError: a column that the data do not have.
    """
    columns = sequence("columns", columns, str, "('height',)")
    found = opened(source, columns)
    return as_dataset(found, model, columns, data_name(source), standardised=standardised)


def as_dataset(
    data: Any,
    model: Model,
    columns: Iterable[str] = (),
    name: str = "data",
    *,
    standardised: bool = False,
) -> xr.Dataset:
    """Data as the model's programs read them.

    Tables of several columns bind to a schema of one variable by `columns`, in that order, or by
    all their numeric columns; to a schema of several variables by name, else by `columns`, in the
    order of the schema.

    Args:
        data: NumPy or masked array, list, pandas or polars Series or DataFrame (or any Arrow
            table), xarray DataArray or Dataset, or a dict of columns. Never changed.
        model: whose simulation is the schema.
        columns: names (of nameless columns: positions) of the columns to use.
        name: what to call the data in messages.
        standardised: return `standardise` of the data, which may then be of any size.

    Returns:
        A Dataset with the schema's variables and dims; arrays are read-only, C-contiguous float64
        or int64 copies. Coordinates: column names along the second dim (of a one-dimensional
        variable `v`: the scalar `v_column`), row labels along the first (as `obs_label` where they
        repeat), the labels of a variable `g` that holds groups along a dim `g_label`. The attribute
        `read` says how a file was read, and what is left out unasked.

    Raises:
        DataError: the data cannot be used: says what, where, what was expected and what to do.
        ConfigError: a column in `columns` that the data do not have.
        ModelError: the model's simulation is no schema.
    """
    if isinstance(model, HasOwnPrograms):
        return model.data
    refuse_other(model)
    columns = sequence("columns", columns, str, "('height',)")
    parts = _Binding(model, schema := _schema(model), name).parts(data, columns)
    try:
        result = converted(model, parts, schema, name, any_size=standardised)
    except DataError as error:
        if file := getattr(data, "attrs", {}).get("file"):  # its own reader knows the line
            read(file, error.columns)
        raise
    if told := _told(data, parts, columns, name):
        result.attrs["read"] = told
    if isinstance(model, HasDataRule) and (sentence := model.unusable(result)):
        raise DataError(f"{name}: {sentence}")
    return standardise(result) if standardised else result


def _told(data: Any, parts: dict[str, Table], columns: tuple[str, ...], name: str) -> str:
    """How a file was read, and what is left out of a table unasked."""
    told = [str(getattr(data, "attrs", {}).get("read", ""))]
    used = {column for part in parts.values() for column in part.columns}
    spare = [str(c) for c in getattr(data, "columns", ()) if str(c) not in used]
    if spare and not columns:
        choose = "choose columns (on the command line: --column)"
        told.append(f"{name}: left out {listing(spare)}; {choose}")
    return "\n".join(filter(None, told))


def coords(data: xr.Dataset) -> dict[str, np.ndarray]:
    """The labels of every dim, 0 … size−1 where it has none."""
    return {
        str(dim): np.asarray(data.coords[dim].values) if dim in data.coords else np.arange(size)
        for dim, size in data.sizes.items()
    }


def content_hash(data: xr.Dataset) -> str:
    """SHA-256 of names, dims, values and coordinates; hexadecimal.

    The same on every platform and for every container the data came in; attributes do not count.
    """
    digest = hashlib.sha256()
    for role, variables in (("data", data.data_vars), ("coordinate", data.coords)):
        for key in sorted(variables, key=str):
            kind, content = _canonical(variables[key].values)
            header = [role, str(key), list(variables[key].dims), list(variables[key].shape), kind]
            digest.update(json.dumps([*header, len(content)]).encode())
            digest.update(content)
    return digest.hexdigest()


def standardise(data: xr.Dataset) -> xr.Dataset:
    """Every column of the measurement at mean zero and standard deviation one (1/N).

    Returns:
        A copy; the measurement's attributes `original_mean` and `original_sd`, in the original
        units, scalars or one for each column, undo it.

    Raises:
        DataError: a column is constant, or there are several measurements, of which one may be
            in the units of another (a known standard error).
    """
    names = [key for key, variable in data.data_vars.items() if variable.dtype.kind == "f"]
    if len(names) != 1:
        raise DataError(
            f"cannot standardise {', '.join(map(str, names)) or 'labels'}: expected one "
            "measurement, since another may be in its units; rescale them together yourself"
        )
    values = data[names[0]].values
    peak = np.abs(values).max(axis=0)
    scaled = values / np.where(peak > 0, peak, 1.0)  # squares of extreme values would overflow
    mean, sd = scaled.mean(axis=0), scaled.std(axis=0)
    constant = np.atleast_1d(np.ptp(scaled, axis=0) == 0)
    if constant.any():
        called = ", ".join(np.array(column_names(data, names[0]))[constant])
        raise DataError(f"cannot standardise {called}: it is constant; leave it out")
    attrs = data[names[0]].attrs | {"original_mean": mean * peak, "original_sd": sd * peak}
    array = frozen((scaled - mean) / sd)
    return data.assign({names[0]: xr.Variable(data[names[0]].dims, array, attrs)})


def _schema(model: Model) -> dict[str, xr.DataArray]:
    """The variables that the model simulates."""
    try:
        simulated = model.simulate(np.random.default_rng(0), model.truth, 8)
    except ConcordError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise ModelError(f"{model.name}.simulate raised {type(error).__name__}: {error}") from error
    if not isinstance(simulated, xr.Dataset) or not simulated.data_vars:
        raise ModelError(
            f"{model.name}.simulate returned {type(simulated).__name__}; expected an xarray "
            "Dataset with at least one variable"
        )
    schema = {str(key): variable for key, variable in simulated.data_vars.items()}
    leading = next(iter(schema.values())).dims[:1]
    for key, variable in schema.items():
        fits = variable.ndim in (1, 2) and variable.dtype.kind in "fiu"
        if variable.dims[:1] != leading or not fits:
            raise ModelError(
                f"{model.name}.simulate: {key!r} is {variable.dtype} with dims {variable.dims}; "
                "expected floats or integers of one or two dims, the first that of every variable"
            )
    return schema


@final
@dataclass(frozen=True)
class _Binding:
    """Data on their way to the variables of the schema; `name` is what messages call them."""

    model: Model
    schema: dict[str, xr.DataArray]
    name: str

    def parts(self, data: Any, columns: tuple[str, ...]) -> dict[str, Table]:
        """The raw columns of every variable."""
        if isinstance(data, Mapping) and all(isinstance(c, pd.Series) for c in data.values()):
            data = pd.DataFrame(dict(data))  # aligned by their index
        keys: list[Any] = list(data if isinstance(data, Mapping) else ())  # a Dataset is one
        single = len(keys) == 1
        if set(self.schema) <= set(keys) and (len(self.schema) > 1 or single) and not columns:
            parts = {variable: self._named_part(data, variable) for variable in self.schema}
        else:
            block = single and getattr(data[keys[0]], "ndim", 1) == 2
            parts = self._dealt(self._chosen(data[keys[0]] if block else data, columns))
        return {variable: self._fitting(part, variable) for variable, part in parts.items()}

    def _named_part(self, data: Any, variable: str) -> Table:
        """One variable of a dict or Dataset that has all of the schema's names."""
        raw, template = data[variable], self.schema[variable]
        if isinstance(data, xr.Dataset) and f"{variable}_label" in data.coords:
            labels = data.coords[f"{variable}_label"].values
            if raw.dtype.kind in "iu" and raw.size and 0 <= raw.min() <= raw.max() < labels.size:
                raw = raw.assign_coords(label=(raw.dims, labels[raw.values]))
        part = table_of(raw, template.dims, f"{self.name}[{variable!r}]")
        if not isinstance(data, xr.Dataset):
            return replace(part, named=part.named and template.ndim == 2)
        if f"{variable}_column" in data.coords:
            column = str(data.coords[f"{variable}_column"].item())
            part = replace(part, columns=dict(zip([column], part.columns.values(), strict=True)))
        return part

    def _chosen(self, data: Any, columns: tuple[str, ...]) -> Table:
        """A table of the chosen columns; without a choice of those that can only be meant."""
        table = table_of(data, next(iter(self.schema.values())).dims, self.name)
        self._refuse_empty(table, self.schema)
        if columns:
            if len(columns) > len(set(columns)):
                twice = f"a column is chosen twice ({', '.join(columns)})"
                raise DataError(f"{self.name}: {twice}; choose each once")
            return table.of({name: lookup("column", name, table.columns) for name in columns})
        if not table.named or len(table.columns) == 1:
            return table
        if len(self.schema) > 1:
            if set(self.schema) <= set(table.columns):
                return table.of({key: table.columns[key] for key in self.schema})
            raise DataError(
                f"{self.name}: has columns {listing(table.columns)}; {self.model.name} needs "
                f"{', '.join(self.schema)}: name a column for each, in this order (on the command "
                "line: --column)"
            )
        (template,) = self.schema.values()
        numeric = {key: raw for key, raw in table.columns.items() if is_numeric(raw)}
        measured = {key: raw for key, raw in numeric.items() if not _counts_rows(key, raw)}
        numeric = measured or numeric
        if template.ndim == 1 and len(numeric) > 1:
            raise DataError(
                f"{self.name}: has {len(numeric)} numeric columns, {listing(numeric)}; "
                f"{self.model.name} takes one: choose one (on the command line: --column)"
                f"{self._dim_hint(len(numeric))}"
            )
        width = template[0].size
        meant = self._is_free(template) or len(numeric) == width or len(table.columns) != width
        return table.of(numeric) if numeric and meant else table

    def _dealt(self, table: Table) -> dict[str, Table]:
        """The columns of a table dealt out to the variables, by name or in order."""
        if len(self.schema) == 1:
            return dict.fromkeys(self.schema, table)
        count, widths = len(table.columns), {key: t[0].size for key, t in self.schema.items()}
        for key in [key for key, template in self.schema.items() if self._is_free(template)][:1]:
            widths[key] = max(count - sum(widths.values()) + widths[key], 1)
        if (needed := sum(widths.values())) != count:
            raise DataError(
                f"{self.name}: {count} column{'s' if count > 1 else ''} "
                f"({listing(table.columns)}); {self.model.name} needs {needed}, for "
                f"{', '.join(self.schema)}: choose them in this order (on the command line: "
                "--column)"
            )
        by_name = set(self.schema) == set(table.columns)
        remaining = iter(widths if by_name else table.columns)
        return {
            key: table.of({name: table.columns[name] for name in islice(remaining, width)})
            for key, width in widths.items()
        }

    def _fitting(self, part: Table, variable: str) -> Table:
        """The part itself, if its shape is the one that the schema gives the variable."""
        template = self.schema[variable]
        self._refuse_empty(part, {variable: template})
        found, width, free = len(part.columns), template[0].size, self._is_free(template)
        flat = len(part.shape) == 1 and template.ndim == 2
        if not flat and (found == width or free):
            return part
        if flat and (free or width == 1):
            remedy = "give it two dimensions"
        elif len(part.shape) == 2 and part.shape[0] == width:
            remedy = "it looks transposed: swap its dimensions"
        else:
            remedy = f"choose columns (on the command line: --column){self._dim_hint(found)}"
        names = f" with columns {listing(part.columns)}" if part.named else ""
        raise DataError(
            f"{self.name}: {found} column{'s' if found > 1 else ''}, shape {part.shape}{names}; "
            f"{self._expectation({variable: template})}: {remedy}"
        )

    def _is_free(self, template: xr.DataArray) -> bool:
        """Whether the data decide how many columns a variable has."""
        return template.ndim == 2 and template.dims[1] in self.model.free_dims

    def _refuse_empty(self, part: Table, schema: dict[str, xr.DataArray]) -> None:
        if not part.columns or 0 in part.shape:
            raise DataError(
                f"{self.name}: is empty, of shape {part.shape}; {self._expectation(schema)}: add "
                "at least one row and column"
            )

    def _expectation(self, schema: dict[str, xr.DataArray]) -> str:
        shapes = []
        for key, template in schema.items():
            free = {template.dims[0], *self.model.free_dims}
            sizes = ["any" if dim in free else str(n) for dim, n in template.sizes.items()]
            dims = ", ".join(map(str, template.dims))
            shapes.append(f"{key} ({dims}) of shape ({', '.join(sizes)})")
        return f"{self.model.name} expects {' and '.join(shapes)}"

    def _dim_hint(self, found: int) -> str:
        if is_dataclass(self.model) and any(field.name == "dim" for field in fields(self.model)):
            return f", or use all of them with dim={found} (--set dim={found})"
        return ""


def _counts_rows(name: str, column: Any) -> bool:
    """Whether a column only numbers the rows."""
    values = np.asarray(column)
    return name.lower() in _NUMBERING and any(
        np.array_equal(values, np.arange(first, first + values.size)) for first in (0, 1)
    )


def _canonical(values: np.ndarray) -> tuple[str, bytes]:
    """Kind and bytes of an array, little-endian whatever the platform; −0.0 counts as 0.0."""
    if values.dtype.kind == "f":
        return "float", np.ascontiguousarray(values + 0.0, dtype="<f8").tobytes()
    if values.dtype.kind in "iub":
        return "integer", np.ascontiguousarray(values, dtype="<i8").tobytes()
    if values.dtype.kind == "M":
        return "date", np.ascontiguousarray(values.astype("M8[ns]")).astype("<i8").tobytes()
    return "text", json.dumps([str(value) for value in values.ravel()]).encode()


def column_names(data: xr.Dataset, name: Any) -> list[str]:
    """Names for the columns of a variable, as in a message."""
    variable = data[name]
    if variable.ndim < 2:
        label = data.coords.get(f"{name}_column")
        return [str(name) if label is None else str(label.item())]
    labels = coords(data)[str(variable.dims[1])]
    return [str(c) if labels.dtype.kind not in "iu" else f"{name}[{c}]" for c in labels]
