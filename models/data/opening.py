"""The bytes of a file, if it is one: kinds and sizes are looked at before anything is read."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from models.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from models.errors import ConcordError

LARGEST = 2**30
"""Bytes of a file of data that is read."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def contents(
    path: Path,
    expected: str = "a file of data",
    most: int = LARGEST,
    error: type[ConcordError] = DataError,
) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        expected: what it should be, for messages.
        most: bytes beyond which it is not read.
        error: what is raised where it cannot be read; says what stands there, and what to do.
    """
    try:
        found = path.stat()
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "")
        raw = b""
        if not kind and found.st_size <= most:
            with path.open("rb") as stream:
                raw = stream.read(most + 1)  # a file of the system may be longer than it says
    except FileNotFoundError:
        near = path.parent if path.parent.is_dir() else "its folder does not exist either"
        raise error(f"{path}: no such file (looked in {near}); check the path") from None
    except PermissionError:
        raise error(f"{path}: no permission to read it; change its mode or copy it") from None
    except (OSError, ValueError) as problem:  # such as a name too long, or one with a zero byte
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path}: cannot be read ({reason}); expected {expected}") from problem
    if kind:
        raise error(f"{path}: is {kind}; expected {expected}: name a file")
    if (size := max(found.st_size, len(raw))) > most:
        raise error(f"{path}: {too_large(size, most)}")
    return raw


def too_large(size: int, most: int) -> str:
    """The complaint about a file of more bytes than are read."""
    unit, word = (2**30, "GiB") if most >= 2**30 else (2**20, "MiB")
    return (
        f"holds {size / unit:,.1f} {word} or more, and at most {most / unit:,.0f} {word} are read: "
        "keep only what is needed"
    )
