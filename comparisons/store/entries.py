"""The store: one directory per fit, named by its content, checksummed, written atomically.

An entry is a directory named by the SHA-256 of the canonical JSON of everything its content
depends on.  It holds one payload (`fit.nc`, or `content.json`) and `meta.json`, which repeats that
description and the payload's SHA-256.  Nothing on disk is ever unpickled: netCDF and JSON only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import platform
import shutil
import uuid
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import psutil
import xarray as xr

from comparisons.store.netcdf import read
from inference.estimate import Estimate, Quantity
from models.errors import ConfigError, FitError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIBRARIES = (
    "arviz", "arviz-base", "arviz-stats", "blackjax", "equinox", "jax", "jaxlib", "numba", "numpy",
    "numpyro", "nutpie", "optax", "pymc", "pytensor", "scipy", "statsmodels", "xarray",
)  # fmt: skip
"""Distributions whose versions can change a number."""

# ---------------------------------------------------------------- content keys


def canonical(value: object) -> Any:
    """`value` in plain JSON types, equal for equal values (1 and 1.0 alike).

    Raises:
        ConfigError: a part of it is neither a number, a string, an array nor a collection of them.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, "settings": settings}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if type(value).__module__.partition(".")[0] in {"numpy", "jax", "jaxlib"}:
        array = np.asarray(value)
        return {"shape": list(array.shape), "values": canonical(array.ravel().tolist())}
    raise ConfigError(
        f"a setting of type {type(value).__name__} has no content key: {value!r:.80}. "
        "Expected numbers, strings, arrays, frozen dataclasses, tuples or mappings of them."
    )


def digest(description: object) -> str:
    """SHA-256 of the canonical JSON of a description, 64 hexadecimal digits."""
    text = json.dumps(canonical(description), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def source_digest(*sources: type | Path) -> str:
    """SHA-256 of the source of classes (the files that define them) and of files."""
    total = hashlib.sha256()
    for source in sources:
        total.update(_class_source(source) if isinstance(source, type) else _file_source(source))
    return total.hexdigest()


def _class_source(cls: type) -> bytes:
    try:
        path = Path(inspect.getfile(cls))
        # a class of a notebook has no file, but its cell is its source
        return _file_source(path) if path.is_file() else inspect.getsource(cls).encode()
    except (OSError, TypeError) as error:
        raise ConfigError(
            f"{cls.__qualname__} has no source that could be hashed, so its fits cannot be kept. "
            "Define it in a file, or use a Case without a store."
        ) from error


@cache
def _file_source(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of the processor family and of every library that can change a number."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# ---------------------------------------------------------------- Estimate <-> DataTree

_OURS = "estimate"
_PARTS = ("location", "location_error", "sd", "sd_error", "point", "covariance", "record")
_JSON = "json:"


def to_tree(estimate: Estimate) -> xr.DataTree:
    """The estimate as a tree that netCDF can hold: ArviZ groups at the root, ours in `estimate`.

    Raises:
        FitError: it holds something netCDF cannot (object arrays, dates, complex numbers), or
            draws whose groups do not follow ArviZ's layout.
    """
    header = {
        "log_likelihood": float(estimate.log_likelihood),
        "problems": list(estimate.problems),
        "sd_kind": estimate.sd_kind,
        "draws": estimate.draws is not None,
        "covariance_name": estimate.covariance.name,
    }
    parts = (
        estimate.location.value,
        estimate.location.error,
        estimate.sd.value,
        estimate.sd.error,
        estimate.point,
        estimate.covariance.to_dataset(name="covariance"),
        estimate.record,
    )
    nodes = {
        f"/{_OURS}/{name}": _encoded(part, f"{_OURS}/{name}")
        for name, part in zip(_PARTS, parts, strict=True)
    }
    nodes[f"/{_OURS}"] = xr.Dataset(attrs={"header": _JSON + json.dumps(header)})
    if estimate.draws is not None:
        if estimate.draws.to_dataset(inherit=False).variables or _OURS in estimate.draws.children:
            raise FitError(f"draws must be ArviZ groups, with nothing at the root nor in {_OURS!r}")
        for node in estimate.draws.subtree:
            path = "/" + node.relative_to(estimate.draws).strip("./")
            nodes[path] = _encoded(node.to_dataset(inherit=False), path)
    return xr.DataTree.from_dict(nodes)


def from_tree(tree: xr.DataTree) -> Estimate:
    """The estimate that `to_tree` wrote, bit for bit."""
    header = json.loads(tree[_OURS].attrs["header"].removeprefix(_JSON))
    part = {name: _decoded(tree.children[_OURS].children[name]) for name in _PARTS}
    draws = None
    if header["draws"]:
        nodes = {
            "/" + node.relative_to(tree).strip("./"): _decoded(node)
            for node in tree.subtree
            if node.path.split("/")[1] != _OURS
        }
        draws = xr.DataTree.from_dict(nodes)
    return Estimate(
        location=Quantity(part["location"], part["location_error"]),
        sd=Quantity(part["sd"], part["sd_error"]),
        log_likelihood=header["log_likelihood"],
        draws=draws,
        problems=tuple(header["problems"]),
        point=part["point"],
        covariance=part["covariance"]["covariance"].rename(header["covariance_name"]),
        sd_kind=header["sd_kind"],
        record=part["record"],
    )


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


def _decoded(node: xr.DataTree) -> xr.Dataset:
    dataset = node.to_dataset(inherit=False).drop_encoding()
    for variable in dataset.variables.values():
        variable.attrs = {key: _decoded_attribute(item) for key, item in variable.attrs.items()}
    attributes = {key: _decoded_attribute(item) for key, item in dataset.attrs.items()}
    dataset.attrs = attributes
    return dataset


def _decoded_attribute(value: Any) -> object:
    if isinstance(value, str) and value.startswith(_JSON):
        return _untagged(json.loads(value.removeprefix(_JSON)))
    return value.item() if isinstance(value, np.generic) else value


# ---------------------------------------------------------------- the store


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


@final
class Store:
    """Entries by description, in one directory.

    Several processes may share a store: entries appear whole or not at all, and the first of two
    writers of the same entry wins.
    """

    def __init__(self, root: Path, warn: Callable[[str], None] = _warn) -> None:
        """A store in the directory `root`, made when first written to.

        Args:
            root: the directory.
            warn: told once, in a sentence, of every entry that is set aside.
        """
        self.root = root
        self._warn = warn

    def fit_path(self, description: object) -> Path:
        """Where the netCDF file of a fit lies, or would lie."""
        return self.root / digest(description) / "fit.nc"

    def load(self, description: object) -> Estimate | None:
        """The stored fit; None if there is none, or if it was corrupt and has been set aside."""
        key = digest(description)
        payload = self._read(key, "fit.nc")
        if payload is None:
            return None
        try:
            return from_tree(read(payload))
        except Exception as error:  # whatever a hostile file provokes, it is of no use
            self._set_aside(key, f"fit.nc cannot be read ({type(error).__name__})")
            return None

    def save(self, description: object, estimate: Estimate) -> None:
        """Stores a fit.

        Raises:
            FitError: the estimate holds something netCDF cannot.
            StoreError: the disk is full, read-only or gone.
        """
        tree = to_tree(estimate)
        try:
            # in memory first: the netCDF library never meets a full disk half-way through a file
            payload = bytes(tree.to_netcdf(None, engine="h5netcdf"))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise FitError(f"the estimate cannot be written as netCDF: {error}") from error
        self._write(description, "fit.nc", payload)

    def load_json(self, description: object) -> Any:
        """The stored JSON value; None if there is none or it was corrupt."""
        key = digest(description)
        payload = self._read(key, "content.json")
        if payload is None:
            return None
        try:
            return json.loads(payload)
        except (ValueError, RecursionError) as error:
            self._set_aside(key, f"content.json cannot be read ({type(error).__name__})")
            return None

    def save_json(self, description: object, value: object) -> None:
        """Stores a JSON value (lists, dicts, numbers, strings).

        Raises:
            StoreError: the disk is full, read-only or gone.
        """
        self._write(description, "content.json", json.dumps(value).encode())

    def intact(self, description: object) -> bool:
        """Whether the fit is stored and whole; a corrupt one is set aside."""
        return self._read(digest(description), "fit.nc") is not None

    def sweep(self) -> None:
        """Removes what killed processes left half-written.

        Raises:
            StoreError: the directory cannot be read.
        """
        with _disk(self.root):
            for path in self.root.glob(".tmp-*") if self.root.is_dir() else ():
                pid = path.name.split("-")[1]
                if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                    shutil.rmtree(path, ignore_errors=True)

    def _read(self, key: str, filename: str) -> bytes | None:
        directory = self.root / key
        with _disk(directory):
            if not directory.exists():
                return None
            try:
                meta = json.loads((directory / "meta.json").read_bytes())
                payload = (directory / filename).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                missing = Path(error.filename or directory).name
                self._set_aside(key, f"{missing} is missing")
                return None
            except (ValueError, RecursionError):
                self._set_aside(key, "meta.json is not JSON")
                return None
        if not isinstance(meta, dict) or digest(meta.get("content")) != key:
            self._set_aside(key, "meta.json does not match the directory's name")
            return None
        if meta.get("sha256") != hashlib.sha256(payload).hexdigest():
            self._set_aside(key, f"the SHA-256 of {filename} is not the recorded one")
            return None
        return payload

    def _write(self, description: object, filename: str, payload: bytes) -> None:
        content = canonical(description)
        meta = {"content": content, "sha256": hashlib.sha256(payload).hexdigest()}
        final = self.root / digest(content)
        temporary = self.root / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with _disk(self.root):
                temporary.mkdir(parents=True)
                _write_through(temporary / filename, payload)
                _write_through(temporary / "meta.json", json.dumps(meta, indent=1).encode())
                _sync(temporary)
                try:
                    temporary.rename(final)
                except OSError:
                    # another process has stored the same content: the first one wins
                    if not (final / filename).is_file():
                        raise
                _sync(self.root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _set_aside(self, key: str, reason: str) -> None:
        source = self.root / key
        with _disk(source):
            for number in range(1, 10_000):
                target = self.root / f"{key}.corrupt-{number}"
                if target.exists():
                    continue
                try:
                    source.rename(target)
                except FileNotFoundError:
                    return  # another process has set it aside
                break
            else:
                raise StoreError(f"{source}: too many corrupt copies; remove {key}.corrupt-*")
        self._warn(f"stored entry {key[:12]}… is corrupt: {reason}. Set aside as {target}; redone.")


@final
class _disk:  # noqa: N801, a context manager reads as a verb
    """Turns an operating-system error into a StoreError with path and free space."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise disk_error(error, self.path) from error


def disk_error(error: OSError, path: Path) -> StoreError:
    """The StoreError for an operating-system error: path, reason, free bytes, what to do."""
    where = Path(os.fsdecode(error.filename)) if error.filename else path
    return StoreError(
        f"{where}: {error.strerror or error}; {_free(where)}. "
        "Free some space, make the directory writable, or choose another with --out."
    )


def _free(path: Path) -> str:
    for parent in (path, *path.absolute().parents):
        try:
            return f"{shutil.disk_usage(parent).free:,} bytes are free there"
        except OSError:
            continue
    return "its free space is unknown"


def _write_through(path: Path, payload: bytes) -> None:
    with path.open("xb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def machinery(package_file: str) -> Iterator[Path]:
    """The `_*.py` files beside a package's `__init__.py`, alphabetical."""
    yield from sorted(Path(package_file).parent.glob("_*.py"))
