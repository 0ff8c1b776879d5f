"""Lines for whoever called: results on standard output, complaints on standard error."""

import os
import sys
from contextlib import suppress
from typing import TextIO

_results: TextIO | None = None
"""Standard output, where what else is printed no longer goes there."""


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


def complain(message: str) -> None:
    """Prints to standard error, where there is one."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(message, file=sys.stderr)
