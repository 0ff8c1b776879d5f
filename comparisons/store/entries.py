"""The store: one directory per fit, named by its content, checksummed, written atomically.

An entry is a directory named by the SHA-256 of the canonical JSON of everything its content
depends on.  It holds one payload (`fit.nc`, or `content.json`) and `meta.json`, which repeats that
description and the payload's SHA-256.  Nothing on disk is ever unpickled: netCDF and JSON only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from comparisons.store.keys import canonical, digest
from comparisons.store.output import (
    DIRECTORY,
    FILE,
    kind,
    read,
    remove,
    sweep,
    temporary,
    write_whole,
)
from comparisons.store.trees import from_netcdf, to_netcdf
from models.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inference.estimate import Estimate


FIT, VALUE, META = "fit.nc", "content.json", "meta.json"
_MOST = 2**26
"""Most bytes of a description; no more are read."""
_DAMAGE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.ELOOP, errno.EISDIR}
"""What only this entry suffers from, when it cannot be opened."""


def checked(directory: Path, filename: str) -> bytes | str:
    """The payload of an entry, or a few words on what is wrong with the entry.

    Args:
        directory: the entry.
        filename: the name of the payload.

    Raises:
        OSError: the disk is at fault, and not the entry.
    """
    if kind(directory) != DIRECTORY:
        return f"it is {kind(directory)}"
    try:
        for name in (META, filename):
            if (found := kind(directory / name)) != FILE:
                return f"{name} is {found or 'missing'}"
        size = (directory / META).stat().st_size
        meta = json.loads(read(directory / META) or b"") if size <= _MOST else None
        if not isinstance(meta, dict) or digest(meta.get("content")) != directory.name:
            return f"{META} does not match the directory's name"
        size = (directory / filename).stat().st_size
        payload = read(directory / filename) if meta.get("bytes", size) == size else None
    except (ValueError, RecursionError):
        return f"{META} is not JSON"
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        return f"it cannot be opened ({error.strerror})"
    if payload is None or meta.get("sha256") != hashlib.sha256(payload).hexdigest():
        return f"the SHA-256 of {filename} is not the recorded one"
    return payload


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
        self.used: set[str] = set()
        """The keys of all entries that were asked for or stored."""
        self._warn = warn

    def fit_path(self, description: object) -> Path:
        """Where the netCDF file of a fit lies, or would lie."""
        return self.root / digest(description) / FIT

    def load[T](
        self, description: object, read: Callable[[Estimate], T] = lambda fit: fit
    ) -> T | None:
        """The stored fit; None if there is none, or if it was corrupt and has been set aside.

        Args:
            description: everything that it depends on.
            read: what makes of it what is returned; what it cannot read is corrupt.
        """
        return self._load(description, FIT, lambda payload: read(from_netcdf(payload)))

    def save(
        self, description: object, estimate: Estimate, about: Mapping[str, str] | None = None
    ) -> None:
        """Stores a fit.

        Args:
            description: everything that it depends on.
            estimate: the fit.
            about: what people call its parts, for `concord store list`.

        Raises:
            FitError: the estimate holds something netCDF cannot.
            StoreError: the disk is full, read-only or gone.
        """
        self._write(description, FIT, to_netcdf(estimate), about)

    def load_json[T](
        self, description: object, read: Callable[[Any], T] = lambda value: value
    ) -> T | None:
        """The stored JSON value as `read` reads it; None if there is none or it was corrupt."""
        return self._load(description, VALUE, lambda payload: read(json.loads(payload)))

    def save_json(self, description: object, value: object) -> None:
        """Stores a JSON value (lists, dicts, numbers, strings).

        Raises:
            StoreError: the disk is full, read-only or gone.
        """
        self._write(description, VALUE, json.dumps(value).encode())

    def intact(self, description: object) -> bool:
        """Whether the fit is stored and whole; a corrupt one is set aside."""
        return self._payload(digest(description), FIT) is not None

    def sweep(self) -> None:
        """Removes what killed processes left half-written.

        Raises:
            StoreError: the directory cannot be read.
        """
        with disk(self.root):
            sweep(self.root)

    def _load[T](self, description: object, filename: str, read: Callable[[bytes], T]) -> T | None:
        key = digest(description)
        payload = self._payload(key, filename)
        if payload is None:
            return None
        try:
            return read(payload)
        except ImportError:  # a library is missing, and the entry may be whole
            raise
        except Exception as error:  # whatever a hostile file provokes, it is of no use
            self._set_aside(key, f"{filename} cannot be read ({type(error).__name__})")
            return None

    def _payload(self, key: str, filename: str) -> bytes | None:
        self.used.add(key)
        directory = self.root / key
        with disk(directory):
            if not kind(directory):
                return None
            payload = checked(directory, filename)
        if isinstance(payload, bytes):
            return payload
        self._set_aside(key, payload)
        return None

    def _write(
        self,
        description: object,
        filename: str,
        payload: bytes,
        about: Mapping[str, str] | None = None,
    ) -> None:
        content = canonical(description)
        fingerprint = hashlib.sha256(payload).hexdigest()
        meta = {"content": content, "sha256": fingerprint, "bytes": len(payload)}
        meta |= {"about": dict(about)} if about else {}
        key = digest(content)
        new = temporary(self.root)
        try:
            with disk(self.root):
                new.mkdir(parents=True)
                write_whole(new / filename, payload)
                write_whole(new / META, json.dumps(meta, indent=1).encode())
                _sync(new)
                try:
                    new.rename(self.root / key)
                except OSError:
                    # another process has stored the same content: the first one wins, if whole
                    if self._payload(key, filename) is None:
                        new.rename(self.root / key)
                _sync(self.root)
        finally:
            self.used.add(key)
            remove(new)

    def _set_aside(self, key: str, reason: str) -> None:
        source = self.root / key
        with disk(source):
            for number in range(1, 10_000):
                target = self.root / f"{key}.corrupt-{number}"
                if kind(target):
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
class disk:  # noqa: N801, a context manager reads as a verb
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


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
