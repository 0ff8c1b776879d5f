"""The output directory: only what we have written in it is replaced or removed.

`.concord` lists that, a line for each file, as `sha256sum` writes and checks it.  A directory that
is not empty and has no such list is somebody else's.  Links are never followed: one that bears a
name of ours is replaced itself where that name is listed, and is somebody else's where it is not.
"""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import final

import psutil

from models.errors import ConfigError, shown

LIST = ".concord"
LOCK = ".lock"
STORE = "fits"
FILE, DIRECTORY = "a file", "a directory"
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
_LINE = re.compile(r"([0-9a-f]{64})  ((?:[\w-][\w.-]*/)*[\w.-]+)", re.ASCII)
_LEFT = re.compile(r"\.tmp-(\d{1,9})-[0-9a-z_-]{8,32}")
_ENTRY = re.compile(r"[0-9a-f]{64}(\.corrupt-\d+)?")
_UNKNOWN = "0" * 64  # in the place of a hash: the file is ours, and changes while a command runs
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
_SHOWN = 3


def kind(path: Path) -> str:
    """The kind of what is there, itself if it is a link: `a file`, `a link`, …; "" if nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return _KINDS.get(stat.S_IFMT(mode), "a device")


def read(path: Path) -> bytes | None:
    """The content of a file; None of anything else, such as a link or a pipe."""
    if kind(path) != FILE:
        return None
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()


def temporary(folder: Path) -> Path:
    """A new path in a directory, which tells `left_behind` whose it was."""
    return folder / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"


def left_behind(folder: Path) -> Iterator[Path]:
    """All that processes that have ended left half-written in a directory."""
    for path in folder.iterdir() if folder.is_dir() else ():
        name = _LEFT.fullmatch(path.name)
        if name and not psutil.pid_exists(int(name[1])):
            yield path


def remove(path: Path) -> None:
    """Removes a directory with all that is in it, or anything else; never what a link leads to."""
    if kind(path) == DIRECTORY:
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sweep(folder: Path) -> None:
    """Removes what processes that have ended left half-written in a directory."""
    for path in left_behind(folder):
        remove(path)


def write_whole(path: Path, payload: bytes) -> None:
    """Writes a file, or puts it in the place of what is there, so that it is seen whole or not."""
    new = temporary(path.parent)
    try:
        with new.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        remove(new)


@final
@dataclass(eq=False)
class Output:
    """An output directory, and what is ours in it; nothing is written as it is made."""

    path: Path  # it may itself be a link: its user has named it
    _: KW_ONLY
    force: bool = False  # whether to write into a directory of somebody else, over files too
    signs: Mapping[str, str] = field(default_factory=dict)
    """The first line of a file by which it is ours though no list says so."""
    tell: Callable[[str], object] = str
    """Told of what is replaced, or made anew, that is not as we wrote it; by default nobody is."""

    def __post_init__(self) -> None:
        self.listed = self._read_list()

    def refuse_others(self) -> None:
        """Refuses a directory of somebody else, without writing anything."""
        if kind(self.path) == "a link" and not self.path.exists():
            raise ConfigError(f"--out {self.path} is a link to nothing; make what it leads to")
        for name, expected in ((LOCK, FILE), (STORE, DIRECTORY)):
            if kind(self.path / name) not in ("", expected):
                raise self._in_the_way(name)
        if self.force or kind(self.path / LIST) == FILE or any(map(self._signed, self.signs)):
            return
        there = sorted(self.path.iterdir()) if kind(self.path) else []
        found = [path.name for path in there if path.name != LOCK and not _made(path)]
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ConfigError(
                f"--out {self.path}: concord has not written this directory, and it is not empty: "
                f"it holds {', '.join(map(shown, found[:_SHOWN]))}{more}. Name another directory, "
                "or add --force (force=True): then files that bear a name of the report's are "
                "replaced, and all others stay as they are."
            )

    def claim(self, names: Iterable[str]) -> None:
        """Makes files ours that a command is going to write; call it while you hold the lock."""
        sweep(self.path)
        self.listed = self._read_list()
        for name in names:
            self._claim(name)
        write_whole(self.path / LIST, self._list())

    def intact(self, name: str) -> bool:
        """Whether a file is there as we wrote it."""
        try:
            payload = read(self.path / name) if name in self.listed else None
        except OSError:  # it may not be read, or a disk is failing
            return False
        return payload is not None and self.listed[name] in (_UNKNOWN, sha256(payload).hexdigest())

    def damaged(self) -> list[str]:
        """Names of files that are not there as we wrote them."""
        known = (name for name, written in self.listed.items() if written != _UNKNOWN)
        return [name for name in known if not self.intact(name)]

    def write(self, name: str, payload: bytes) -> None:
        """Writes a file of ours, in folders below the directory that are made as needed."""
        folder = self.path
        for part in Path(name).parent.parts:
            folder /= part
            if kind(folder) not in ("", DIRECTORY):
                raise self._in_the_way(str(folder.relative_to(self.path)))
            folder.mkdir(exist_ok=True)
        if name not in self.listed or kind(self.path / name) == DIRECTORY:
            self._claim(name)
        self.listed[name] = sha256(payload).hexdigest()
        # at the end, where the last line of a name counts: many files cost no more than few
        with os.fdopen(os.open(self.path / LIST, _APPEND, 0o644), "ab") as file:
            file.write(f"{self.listed[name]}  {name}\n".encode())
        write_whole(self.path / name, payload)

    def publish(self, stage: Path) -> None:
        """Moves files to their places in the directory: all of them, or none."""
        names = sorted(path.name for path in stage.iterdir())
        for name in names:
            self._claim(name)
            self.listed[name] = sha256((stage / name).read_bytes()).hexdigest()
        (stage / LIST).write_bytes(self._list())
        # the list first, so that nothing of ours is ever missing in it; the first page last, so
        # that it never links to what is not there
        names = [LIST, *sorted(names, key=lambda name: (name == "index.html", name))]
        moved = list[str]()
        try:
            for name in names:
                _keep(self.path / name, stage / f"{name}.before")
                (stage / name).replace(self.path / name)
                moved.append(name)
        except OSError:
            for name in reversed(moved):
                with suppress(OSError):
                    if kind(stage / f"{name}.before"):
                        (stage / f"{name}.before").replace(self.path / name)
                    else:
                        (self.path / name).unlink()
            raise

    def _claim(self, name: str) -> None:
        """Takes a name for ours, or refuses to; what is listed is ours but for a directory."""
        path = self.path / name
        found = kind(path)
        if found == DIRECTORY or (
            found and name not in self.listed and not (self.force or self._signed(name))
        ):
            raise self._in_the_way(name)
        if found and name in self.listed and not self.intact(name):
            self.tell(f"{path} is not as concord wrote it; it is made anew")
        elif found and name not in self.listed and not self._signed(name):
            self.tell(f"{path}: {found} that concord has not written is replaced, as --force says")
        self.listed.setdefault(name, _UNKNOWN)

    def _in_the_way(self, name: str) -> ConfigError:
        path, found = self.path / name, kind(self.path / name)
        solid = found == DIRECTORY or name in (LOCK, STORE) or "/" in name
        force = "" if solid else ", or add --force (force=True) to replace it"
        return ConfigError(
            f"{path} is {found} that concord has not written, where it would write. Move it away, "
            f"choose another directory with --out{force}."
        )

    def _signed(self, name: str) -> bool:
        sign = self.signs.get(name)
        return sign is not None and (read(self.path / name) or b"").startswith(sign.encode())

    def _read_list(self) -> dict[str, str]:
        text = (read(self.path / LIST) or b"").decode(errors="replace")
        lines = filter(None, map(_LINE.fullmatch, text.splitlines()))
        return {line[2]: line[1] for line in lines}

    def _list(self) -> bytes:
        return "".join(f"{self.listed[name]}  {name}\n" for name in sorted(self.listed)).encode()


def _made(path: Path) -> bool:
    """Whether only we can have made it: a leftover, or a store of nothing but fits."""
    if path.name != STORE or kind(path) != DIRECTORY:
        return bool(_LEFT.fullmatch(path.name))
    return all(_ENTRY.fullmatch(one.name) or _LEFT.fullmatch(one.name) for one in path.iterdir())


def _keep(path: Path, before: Path) -> None:
    """Keeps what is there under another name, too."""
    try:
        os.link(path, before, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError:  # a file system without second names
        shutil.copy2(path, before, follow_symlinks=False)
