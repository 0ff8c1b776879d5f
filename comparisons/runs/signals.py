"""Requests to end: kept for whoever waits for fits and looks for them, carried out elsewhere.

An exception that a handler raises can be lost inside a library's callback, so that none is raised
in a command: what is on disk is whole at any moment.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_asked = False
_polled = False


def request(number: int, frame: FrameType | None) -> None:
    """The handler of a signal that is a request to end."""
    global _asked
    _asked = True
    if not _polled:
        end(os.getpid())


def check(*_: object) -> None:
    """Raises KeyboardInterrupt if the run has been asked to end, whatever progress it is told."""
    if _asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def polled() -> Iterator[None]:
    """While this lasts, a request ends nothing: the caller calls `check` often enough."""
    global _polled
    _polled = True
    try:
        yield
    finally:
        _polled = False


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """While this lasts, an interruption that a library swallows is found by the next `check`."""
    global _asked
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield  # whoever has a handler of their own keeps it
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
        check()
    finally:
        _asked = False
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end(process: int) -> None:
    """Kills a process with everything it has started; one that has ended is none."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for one in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def _raise(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
