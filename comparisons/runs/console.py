"""Lines for whoever called: results on standard output, complaints on standard error."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from models.errors import ConcordError, ConfigError, printable

_results: TextIO | None = None  # standard output, where what else is printed no longer goes there


def reserve() -> None:
    """Keeps standard output for results: what a user's code prints goes to standard error."""
    global _results
    if sys.stdout is None or sys.stderr is None or _results is not None:
        return
    sys.stdout.flush()
    _results = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    os.dup2(2, 1)


def say(line: str) -> None:
    """Prints to standard output, whether or not anybody still reads it."""
    stream = _results or sys.stdout
    if stream is None:
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        # what Python flushes at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell_reading(*data: Any) -> None:
    """Says once how the files of data were read, and what of them is left out."""
    attrs = [getattr(one, "attrs", {}) for one in data]
    for line in dict.fromkeys(one.get(kind, "") for kind in ("read", "labels") for one in attrs):
        if line:
            complain(line)


def complain(message: str) -> None:
    """Prints to standard error, where there is one."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(printable(message), file=sys.stderr)


def refuse_bytes(arguments: list[str]) -> None:
    """Refuses arguments that are no text: no file that is written could hold them."""
    for text in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ConfigError(f"{text[:60]}: holds bytes that are not UTF-8; rename or retype it")


def explained(error: BaseException, place: str) -> tuple[str, int]:
    """The message and the exit code of an error, which a line of a user's may have raised."""
    if isinstance(error, ConcordError):  # by name: what defines them takes long to import
        return str(error), {"InUseError": 3, "FitError": 4}.get(type(error).__name__, 2)
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}; ask for less, or for a smaller N", 2
    if place:
        return f"{place}: {type(error).__name__}: {error}", 2
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; name a path that can be used", 2
    told = "This is a bug in concord itself. Finished fits are kept; add --debug for the traceback."
    return f"{type(error).__name__}: {error}\n{told}", 4
