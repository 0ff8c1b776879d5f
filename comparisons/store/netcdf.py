"""netCDF files of the store, read through h5py: xarray's own reader takes three times as long.

A variable's dimensions are the names of the scales attached to it; a scale that holds no values of
its own is a dimension alone.  Source: netCDF-4 file format specification, Unidata.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_VALUES = b"This is a netCDF dimension but not a netCDF variable"
_OF_THE_FORMAT = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"}


def read(payload: bytes) -> xr.DataTree:
    """The tree that `DataTree.to_netcdf` wrote, in memory; dates are not decoded."""
    with h5py.File(io.BytesIO(payload)) as file:
        return xr.DataTree.from_dict(dict(_groups("/", file)))


def _groups(path: str, group: Any) -> Iterator[tuple[str, xr.Dataset]]:
    inner = {name: item for name, item in group.items() if isinstance(item, h5py.Group)}
    variables = {
        name: _variable(name, item)
        for name, item in group.items()
        if name not in inner and not item.attrs.get("NAME", b"").startswith(_NO_VALUES)
    }
    dataset = xr.Dataset(variables, attrs=_attributes(group))
    # dates are never stored, and an attribute "units" must not turn numbers into them
    yield path, xr.decode_cf(dataset, decode_times=False, decode_timedelta=False).load()
    for name, item in inner.items():
        yield from _groups(f"{path.rstrip('/')}/{name}", item)


def _variable(name: str, item: Any) -> xr.Variable:
    scales = item.attrs.get("DIMENSION_LIST", ())
    dims = [item.file[found[0]].name.rpartition("/")[2] for found in scales]
    if item.attrs.get("CLASS") == b"DIMENSION_SCALE":
        dims = [name]
    text = h5py.check_string_dtype(item.dtype)
    values = np.asarray(item.asstr()[...], str) if text else item[...]
    return xr.Variable(dims, values, _attributes(item))


def _attributes(item: Any) -> dict[str, Any]:
    return {
        name: value.item() if isinstance(value, np.ndarray) and value.shape == (1,) else value
        for name, value in item.attrs.items()
        if name not in _OF_THE_FORMAT and not name.startswith("_N")
    }
