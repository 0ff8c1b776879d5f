"""Estimates as netCDF: ArviZ groups at the root, all else in the group `estimate`.

netCDF knows neither tuples nor None nor booleans: attributes that it would change are kept as JSON.
"""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from comparisons.store.keys import digest
from inference.estimate import Estimate, Quantity
from models.errors import FitError

_OURS = "estimate"
_JSON = "json:"
_PACKED = {"zlib": True, "shuffle": True, "complevel": 1}
_SMALL = 1_000  # most numbers of a variable that is not compressed


def to_netcdf(estimate: Estimate) -> bytes:
    """The estimate as a netCDF file."""
    groups = dict(_groups(estimate))
    groups[f"/{_OURS}"].attrs["layout"] = _layout(groups)
    numbers = {
        path: {name: _PACKED for name, x in group.variables.items() if x.size > _SMALL}
        for path, group in groups.items()
    }
    try:
        # in memory first: the netCDF library never meets a full disk half-way through a file
        tree = xr.DataTree.from_dict(groups)
        return bytes(tree.to_netcdf(None, engine="h5netcdf", encoding=numbers))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise FitError(f"the estimate cannot be written as netCDF: {error}") from error


def from_netcdf(payload: bytes) -> Estimate:
    """The estimate that `to_netcdf` wrote, bit for bit."""
    # dates are never stored, and an attribute "units" must not turn numbers into them
    options: Any = {"engine": "h5netcdf", "decode_times": False, "decode_timedelta": False}
    groups = xr.open_groups(io.BytesIO(payload), **options)
    header = json.loads(groups[f"/{_OURS}"].attrs["header"].removeprefix(_JSON))
    if groups[f"/{_OURS}"].attrs.get("layout", layout := _layout(groups)) != layout:
        raise ValueError("its variables are not those that were written")
    whole = {path: _decoded(group) for path, group in groups.items()}
    ours = f"/{_OURS}/"
    part = {path.removeprefix(ours): x for path, x in whole.items() if path.startswith(ours)}
    theirs = {path: x for path, x in whole.items() if path.split("/")[1] != _OURS}
    draws = xr.DataTree.from_dict(theirs) if header["draws"] else None
    return Estimate(
        location=Quantity(part["location"], part["location_error"]),
        sd=Quantity(part["sd"], part["sd_error"]),
        log_likelihood=float(header["log_likelihood"]),
        draws=draws,
        problems=tuple(map(str, header["problems"])),
        point=part["point"],
        covariance=part["covariance"]["covariance"].rename(header["covariance_name"]),
        sd_kind=header["sd_kind"],
        record=part["record"],
    )


def _layout(groups: Mapping[str, xr.Dataset]) -> str:
    """Digest of the dims, sizes and kind of every variable, which tells parts that are not ours."""
    text = dict.fromkeys("OTU", "U")  # one kind in memory, another in a file
    return digest(
        {
            f"{path}/{name}": [*variable.sizes.items(), text.get(kind, kind)]
            for path, group in groups.items()
            for name, variable in group.variables.items()
            if (kind := variable.dtype.kind)
        }
    )


def _groups(estimate: Estimate) -> Iterator[tuple[str, xr.Dataset]]:
    header = {
        "log_likelihood": float(estimate.log_likelihood),
        "problems": list(estimate.problems),
        "sd_kind": estimate.sd_kind,
        "draws": estimate.draws is not None,
        "covariance_name": estimate.covariance.name,
    }
    yield f"/{_OURS}", xr.Dataset(attrs={"header": _JSON + json.dumps(header)})
    parts = {
        "location": estimate.location.value,
        "location_error": estimate.location.error,
        "sd": estimate.sd.value,
        "sd_error": estimate.sd.error,
        "point": estimate.point,
        "covariance": estimate.covariance.to_dataset(name="covariance"),
        "record": estimate.record,
    }
    for name, part in parts.items():
        yield f"/{_OURS}/{name}", _encoded(part, f"{_OURS}/{name}")
    if estimate.draws is None:
        return
    if estimate.draws.to_dataset(inherit=False).variables or _OURS in estimate.draws.children:
        raise FitError(f"draws must be ArviZ groups, with nothing at the root nor in {_OURS!r}")
    for node in estimate.draws.subtree:
        path = "/" + node.relative_to(estimate.draws).strip("./")
        yield path, _encoded(node.to_dataset(inherit=False), path)


def _encoded(dataset: xr.Dataset, where: str) -> xr.Dataset:
    dataset = dataset.drop_encoding()
    for name, variable in dataset.variables.items():
        strings = variable.dtype == object and all(isinstance(v, str) for v in variable.values.flat)
        if variable.dtype.kind not in "biufUT" and not strings:
            raise FitError(
                f"{where}/{name} has dtype {variable.dtype}, which is never stored. "
                "Expected numbers, booleans or strings."
            )
        variable.attrs = {key: _encoded_attribute(item) for key, item in variable.attrs.items()}
    return dataset.assign_attrs({k: _encoded_attribute(v) for k, v in dataset.attrs.items()})


def _encoded_attribute(value: object) -> str | int | float:
    """Plain text and numbers as they are; everything else netCDF would change, as JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is float or (type(value) is int and abs(value) < 2**63):
        return value
    if type(value) is str and value and not value.startswith(_JSON) and "\0" not in value:
        return value
    return _JSON + json.dumps(_tagged(value))


def _tagged(value: object) -> object:
    match value:
        case np.ndarray():
            return {"array": value.tolist(), "dtype": value.dtype.str}
        case tuple():
            return {"tuple": [_tagged(item) for item in value]}
        case list():
            return [_tagged(item) for item in value]
        case Mapping():
            return {"mapping": {str(key): _tagged(item) for key, item in value.items()}}
        case np.generic():
            return value.item()
        case _:
            return value if value is None or isinstance(value, bool | int | float) else str(value)


def _untagged(value: Any) -> object:
    match value:
        case {"array": items, "dtype": dtype}:
            return np.array(items, dtype)
        case {"tuple": items}:
            return tuple(map(_untagged, items))
        case {"mapping": items}:
            return {key: _untagged(item) for key, item in items.items()}
        case list():
            return [_untagged(item) for item in value]
        case _:
            return value


def _decoded(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.load().drop_encoding()
    texts = {name: x.astype(str) for name, x in dataset.variables.items() if x.dtype == object}
    dataset = dataset.assign(texts)
    for variable in dataset.variables.values():
        variable.attrs = {key: _decoded_attribute(item) for key, item in variable.attrs.items()}
    return dataset.assign_attrs({k: _decoded_attribute(v) for k, v in dataset.attrs.items()})


def _decoded_attribute(value: Any) -> object:
    if isinstance(value, str) and value.startswith(_JSON):
        return _untagged(json.loads(value.removeprefix(_JSON)))
    return value.item() if isinstance(value, np.generic) else value
