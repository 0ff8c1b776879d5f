"""A program's arguments, filled by name from the data as they are.

Numbers stay numbers.  Strings become the indices 0 … G−1 of their sorted labels, those of
a categorical column in the order of its categories; an argument
called `data` or `df`, or the only one of a program, that is no name of the data gets all of them.
"""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import wraps
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from models.data.cells import is_number
from models.data.column import extreme
from models.errors import ConfigError, DataError, did_you_mean

_KINDS = {"M": "dates", "m": "durations", "c": "complex numbers"}


def columns(data: Any, *programs: Callable[..., Any]) -> dict[str, np.ndarray]:
    """The arrays of the data, by name.

    The data are None, a mapping (a Dataset is one), a DataFrame of pandas or polars, or one array
    for the only argument of one of the programs.

    Raises:
        ConfigError: one array, and a program has several arguments.
        DataError: there are no rows, or values are of different lengths, numbers that are text, or
            too large or too small to compute with.
    """
    if data is None:
        return {}
    if hasattr(data, "collect"):
        raise DataError("the frame is lazy: collect it, as data.collect()")
    items, arrays = names_of(data), dict[str, np.ndarray]()
    if len(items) < len(getattr(data, "columns", ())):
        raise DataError("two columns of the frame have one name: rename one")
    named = isinstance(data, Mapping) or hasattr(data, "columns")
    given = {name: data[key] for name, key in items.items()}
    for name, column in (given if named else {_only_argument(programs, data): data}).items():
        if column is None:
            continue
        try:
            arrays[name] = array = as_numbers(column)
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error
        numbers = array[np.isfinite(array)] if array.dtype.kind in "iuf" else np.empty(0)
        empty = "has no rows; expected one at least" if 0 in array.shape[:1] else ""
        if problem := empty or extreme(numbers):
            raise DataError(f"{name} {problem}")
    return arrays


def _only_argument(programs: tuple[Callable[..., Any], ...], data: Any) -> str:
    named = getattr(data, "name", None)
    for program in programs:
        names = list(inspect.signature(program).parameters)
        if len(names) == 1:
            return names[0]
        if named in names:
            return str(named)
    raise ConfigError(
        f"data is one {type(data).__name__}, and the program has several arguments; "
        'give them by name: data={"x": x, "y": y}'
    )


def as_numbers(column: Any) -> np.ndarray:
    """An array of numbers, NaN where masked; text and categories as indices of their labels."""
    if isinstance(column, np.ma.MaskedArray):
        column = np.ma.filled(column.astype(float), np.nan) if column.mask.any() else column.data
    array = np.asarray(column)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(int).max:
        return array.astype(object)  # which is refused by name
    if array.dtype.kind in "iuf":  # of any precision and order of bytes, the same answer
        return array.astype(float if array.dtype.kind == "f" else int, copy=False)
    if array.dtype.kind in "bcmM":
        return array  # complex numbers, dates and durations are refused where a program takes them
    labels = label_names(column)
    if labels is None:
        found = np.array(array.tolist())  # of objects that are numbers; None is a missing one
        try:
            return found if found.dtype.kind in "biuf" else array.astype(float)
        except (TypeError, ValueError):
            return array
    if decimals := [
        x for x in labels.astype(str) if is_number(x) and not x.lstrip("+-").isdecimal()
    ]:
        raise ValueError(
            f"numbers such as {str(decimals[0])!r} are text among {labels.size} labels: "
            "correct what is no number, and convert it to floats"
        )
    places = {label: i for i, label in enumerate(labels.tolist())}
    numbers = [places[label] for label in array.astype(str).flat]
    return np.array(numbers, np.int64).reshape(array.shape)


def label_names(column: Any) -> np.ndarray | None:
    """The labels of a column of strings or one that `cc.groups` made, in order; None if neither.

    The order is that of a categorical column's own categories; else they are sorted.
    """
    if isinstance(column, xr.DataArray) and "label" in column.coords:
        return np.unique(column.coords["label"].values)
    array = np.asarray(column)
    if array.dtype.kind in "US" or (
        array.dtype.kind in "OT" and array.size and all(isinstance(x, str) for x in array.flat)
    ):
        categories = getattr(getattr(column, "dtype", None), "categories", None)
        return np.unique(array.astype(str)) if categories is None else np.asarray(categories, str)
    return None


def called(program: Callable[..., Any], data: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The program's result, its arguments filled by name.

    `arrays` are the `columns` of the data, which an argument that gets all of them gets as given.

    Raises:
        ConfigError: an argument without default is no name of the data; lists the names.
        DataError: an argument would be neither numbers nor labels.
    """
    given: dict[str, Any] = {}
    missing: list[str] = []
    for name, parameter in inspect.signature(program).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= {key: value for key, value in arrays.items() if key not in given}
        elif name in arrays:
            array = _checked(name, arrays[name])
            given[name] = array.copy() if array.ndim else array.item()  # it may write into it
        elif name in ("data", "df") and data is not None:
            given[name] = deepcopy(data)
        elif parameter.default is parameter.empty and parameter.kind != parameter.VAR_POSITIONAL:
            missing.append(name)
    if len(missing) == 1 and not given and data is not None:
        given[missing[0]], missing = deepcopy(data), []
    if missing:
        hints = "".join(did_you_mean(name, list(arrays)) for name in missing if arrays)
        hints = hints or " Give them with data= or --data."
        raise ConfigError(
            f"{program.__name__} asks for {', '.join(missing)}, which the data do not have; "
            f"they have {', '.join(arrays) or 'nothing'}.{hints}"
        )
    return program(**given)


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        kind = _KINDS.get(array.dtype.kind, f"values of type {array.dtype}")
        raise DataError(
            f"{name} holds {kind}; a program takes numbers or labels: convert it first, "
            "for example to days since a date"
        )
    return array


def source(program: Callable[..., Any]) -> str:
    """Its text; "" where there is none."""
    try:
        return inspect.getsource(program)
    except (OSError, TypeError):
        return ""


def names_of(data: Any) -> dict[str, Any]:
    """By name, what a mapping or frame calls its columns: not all names are text."""
    names = data if isinstance(data, Mapping) else getattr(data, "columns", ())
    return {str(name): name for name in names}


def on_jax_arrays(program: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which is given JAX's arrays in the place of NumPy's."""

    @wraps(program)
    def converted(**given: Any) -> Any:
        arrays = {n: jnp.asarray(x) for n, x in given.items() if isinstance(x, np.ndarray)}
        return program(**{**given, **arrays})

    return converted


def replaced(data: Any, arrays: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> Any:
    """The data as they were given, with other columns and perhaps other rows.

    `rows` are the places of those; None for all.
    """
    names = names_of(data)
    if isinstance(data, Mapping) or data is None:
        new = {names.get(name, name): array for name, array in arrays.items()}
        return None if data is None else {**data, **new}
    if hasattr(data, "with_columns"):  # of polars
        data = data if rows is None else data[rows]
        return data.with_columns(**{n: type(data[n])(n, array) for n, array in arrays.items()})
    if hasattr(data, "columns"):
        data = data if rows is None else data.iloc[rows].reset_index(drop=True)
        found = data.copy()
        for name, array in arrays.items():
            found[names.get(name, name)] = array
        return found
    return next(iter(arrays.values()))
