"""The entries of a store, what is wrong with them, and what nobody needs any more."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from comparisons.store.entries import FIT, META, VALUE, checked, disk
from comparisons.store.keys import versions
from comparisons.store.output import DIRECTORY, kind, left_behind, read
from comparisons.store.trees import from_netcdf

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_KEY = re.compile(r"[0-9a-f]{64}")
_ASIDE = re.compile(r"[0-9a-f]{64}\.corrupt-\d+")
_FILES = {FIT, VALUE, META}


class Entry(NamedTuple):
    """An entry of a store.

    Attributes:
        path: its directory.
        what: its method, model and data, or what else it is; "" if it does not say.
        size: bytes.
        written: seconds since 1970.
        current: whether it was made with the versions of Python and of libraries that are here.
    """

    path: Path
    what: str
    size: int
    written: float
    current: bool


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
    """All that nobody needs of a store, and why; of somebody else's files, nothing.

    Args:
        root: the directory of the store.
        used: names of the entries that are needed; if there are none, none is superfluous.
    """
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
        return kind(path) != DIRECTORY or {one.name for one in path.iterdir()} <= _FILES
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
