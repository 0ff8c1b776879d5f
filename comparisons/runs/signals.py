"""Signals: the first one asks the run to end, a second one ends it at once.

An exception that a handler raises can be lost inside a library's callback.  The request is
therefore kept, and whoever waits or goes from one fit to the next looks for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_asked = False
_polled = False
_last_words = "interrupted"


def install() -> None:
    """Handles SIGINT, unless whoever started this process ignores it, and SIGTERM."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _handle)
    signal.signal(signal.SIGTERM, _handle)


def check() -> None:
    """Raises KeyboardInterrupt if the run has been asked to end."""
    if _asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def polled() -> Iterator[None]:
    """While this lasts, a first signal raises nothing: the caller calls `check` often enough."""
    global _polled
    _polled = True
    try:
        yield
    finally:
        _polled = False


def last_words(message: str) -> None:
    """Sets the message that a second signal leaves on standard error."""
    global _last_words
    _last_words = message


def end(process: int) -> None:
    """Kills a process with everything it has started; one that has ended is none."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for one in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def _handle(number: int, frame: FrameType | None) -> None:
    global _asked
    if _asked:
        _end_at_once()
    _asked = True
    if not _polled:
        raise KeyboardInterrupt


def _end_at_once() -> None:
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=5)
    with contextlib.suppress(OSError, ValueError):
        print(_last_words, file=sys.stderr, flush=True)
    os._exit(130)
