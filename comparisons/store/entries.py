"""The store: one directory per fit, named by its content, checksummed, written atomically.

An entry is a directory named by the SHA-256 of the canonical JSON of everything its content
depends on.  It holds one payload (`fit.nc`, or `content.json`) and `meta.json`, which repeats that
description and the payload's SHA-256.  Nothing on disk is ever unpickled: netCDF and JSON only.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, final

from comparisons.store.keys import canonical, digest, versions
from comparisons.store.output import (
    DIRECTORY,
    FILE,
    kind,
    left_behind,
    read,
    remove,
    sweep,
    temporary,
    write_whole,
)
from comparisons.store.trees import from_netcdf, to_netcdf
from inference.estimate import Estimate
from models.errors import StoreError

FIT, VALUE, META = "fit.nc", "content.json", "meta.json"
_MOST = 2**26  # most bytes of a description; no more are read
_DAMAGE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.ELOOP, errno.EISDIR}
"""What only this entry suffers from, when it cannot be opened."""
_KEY = re.compile(r"[0-9a-f]{64}")
_ASIDE = re.compile(r"[0-9a-f]{64}\.corrupt-\d+")


class Entry(NamedTuple):
    """An entry of a store, as `entries` tells of it."""

    path: Path
    what: str  # its method, model and data, or what else it is; "" if it does not say
    size: int  # bytes
    written: float  # seconds since 1970
    current: bool  # whether it was made with the versions of Python and of libraries that are here


def checked(directory: Path, filename: str) -> bytes | str:
    """The payload of an entry, or a few words on what is wrong with the entry."""
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


@final
class Store:
    """Entries by description, in one directory.

    Several processes may share a store: entries appear whole or not at all, and the first of two
    writers of the same entry wins.
    """

    def __init__(self, root: Path, warn: Callable[[str], None] = warnings.warn) -> None:
        """A store in the directory `root`, made when first written to."""
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
        """The stored fit; None if there is none, or if it was corrupt and has been set aside."""
        return self._load(description, FIT, lambda payload: read(from_netcdf(payload)))

    def save(
        self, description: object, estimate: Estimate, about: Mapping[str, str] | None = None
    ) -> None:
        """Stores a fit."""
        self._write(description, FIT, to_netcdf(estimate), about)

    def load_json[T](
        self, description: object, read: Callable[[Any], T] = lambda value: value
    ) -> T | None:
        """The stored JSON value as `read` reads it; None if there is none or it was corrupt."""
        return self._load(description, VALUE, lambda payload: read(json.loads(payload)))

    def save_json(self, description: object, value: object) -> None:
        """Stores a JSON value (lists, dicts, numbers, strings)."""
        self._write(description, VALUE, json.dumps(value).encode())

    def intact(self, description: object) -> bool:
        """Whether the fit is stored and whole; a corrupt one is set aside."""
        return self._payload(digest(description), FIT) is not None

    def sweep(self) -> None:
        """Removes what killed processes left half-written."""
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
        with disk(self.root / key):
            places = (self.root / f"{key}.corrupt-{number}" for number in count(1))
            target = next(place for place in places if not kind(place))
            try:
                (self.root / key).rename(target)
            except FileNotFoundError:
                return  # another process has set it aside
        self._warn(f"stored entry {key[:12]}… is corrupt: {reason}. Set aside as {target}; redone.")


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns an operating-system error into a StoreError with path and free space."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


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


def entries(root: Path) -> Iterator[Entry]:
    """The entries of a store, those written last at the end; none of them is checked."""
    found = [path for path in _there(root) if _KEY.fullmatch(path.name)]
    for path in sorted(found, key=lambda one: (one.lstat().st_mtime, one.name)):
        try:
            meta = json.loads((kind(path) == DIRECTORY and read(path / META)) or b"{}")
            content = meta["content"]
            current = content.get("versions", versions()) == versions()
            what = " ".join(_what(content, meta.get("about")).split())
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            what, current = "", False
        yield Entry(path, what, size(path), path.lstat().st_mtime, current)


def damage(path: Path) -> str:
    """Why an entry cannot be used; "" if it is whole."""
    filename = "it"
    try:
        filename = VALUE if kind(path / VALUE) else FIT
        payload = checked(path, filename)
        if isinstance(payload, str):
            return payload
        (json.loads if filename == VALUE else from_netcdf)(payload)
    except ImportError:  # a library is missing, and the entry may be whole
        raise
    except Exception as error:  # whatever a hostile file or a failing disk provokes
        return f"{filename} cannot be read ({type(error).__name__})"
    return ""


def superfluous(root: Path, used: Collection[str]) -> Iterator[tuple[Path, str]]:
    """All that nobody needs of a store, and why; of somebody else's files, nothing."""
    yield from ((path, "left half-written") for path in left_behind(root))
    for path in _there(root):
        if _ASIDE.fullmatch(path.name) and _ours(path):
            yield path, "set aside"
        elif used and _KEY.fullmatch(path.name) and path.name not in used and _ours(path):
            yield path, "not used by the report"


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; links are not followed."""
    if kind(path) != DIRECTORY:
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if kind(one) != DIRECTORY)


def _there(root: Path) -> list[Path]:
    with disk(root):
        return sorted(root.iterdir()) if kind(root) == DIRECTORY else []


def _ours(path: Path) -> bool:
    """Whether nothing of somebody else's goes with it; a link goes without what it leads to."""
    try:
        return kind(path) != DIRECTORY or {one.name for one in path.iterdir()} <= {FIT, VALUE, META}
    except PermissionError:
        return False


def _what(content: Any, about: Any) -> str:
    match content:
        case {"study": study, "model": {"class": model}, "work": [n, *_]}:
            return f"a batch of {str(study).rpartition('.')[2]} of {model} at N = {n}"
        case {"theory": name}:
            return f"what {name} shows"
        case {"verdicts": name}:
            return f"verdicts of {name}"
        case {"record": _}:
            return "results of a case"
    if isinstance(about, dict):
        return f"{about['method']} of {about['model']} on {about['data']}"
    return f"{content['method']['class']} of {content['model']['class']}"
