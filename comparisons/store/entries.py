"""The store: one directory per fit, named by its content, checksummed, written atomically.

An entry is a directory named by the SHA-256 of the canonical JSON of everything its content
depends on.  It holds one payload (`fit.nc`, or `content.json`) and `meta.json`, which repeats that
description and the payload's SHA-256.  Nothing on disk is ever unpickled: netCDF and JSON only.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import psutil

from comparisons.store.keys import canonical, digest
from comparisons.store.trees import from_netcdf, to_netcdf
from models.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.estimate import Estimate


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
            return from_netcdf(payload)
        except Exception as error:  # whatever a hostile file provokes, it is of no use
            self._set_aside(key, f"fit.nc cannot be read ({type(error).__name__})")
            return None

    def save(self, description: object, estimate: Estimate) -> None:
        """Stores a fit.

        Raises:
            FitError: the estimate holds something netCDF cannot.
            StoreError: the disk is full, read-only or gone.
        """
        self._write(description, "fit.nc", to_netcdf(estimate))

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
