"""Two processes for a command: one works, the other waits for its end and for signals.

What a user's code does to its process (it ends it, crashes it, swallows an interruption, never
returns) it does to the working one.  The other was told what was under way, ends everything when it
is asked to, and decides the exit code.  It imports next to nothing, so that a signal finds its
handler within milliseconds of the start.
"""

import contextlib
import faulthandler
import json
import os
import re
import select
import signal
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import Path
from typing import IO, Any, final

from comparisons.runs import signals

GRACE = 3.0  # seconds that the working process has to end by itself when it is asked to
_POLL = 0.1
_KEPT = "finished fits are kept"
_LEAVING = ("_exit", "abort", "execv", "execve", "kill")  # of `os`: end it without exception
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in', re.MULTILINE)
_OURS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        *(Path(__file__).parents[2] / name for name in ("models", "inference", "comparisons")),
        *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib", "scripts")),
    )
)
_exit = os._exit
_pipe = -1  # where the working process tells; -1 where nobody waits for it
_stage = ""
_told_leaving: Callable[[str], object] | None = None


def supervised(work: Callable[[], object]) -> int:
    """The exit code of work in a process of its own: 130 if interrupted, 2 if it ended oddly."""
    reading, writing = os.pipe()
    held, alive = os.pipe()
    asked = _requests()
    with tempfile.TemporaryFile() as traces:
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.close(alive)
            _work(work, writing, held, traces)
        os.close(writing)
        os.close(held)
        return _Waiting(child, reading, traces, asked).code()


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """While this lasts, the process is at code that a user wrote, which has a limit of time."""
    global _stage
    before, _stage = _stage, what
    tell("stage", what)
    try:
        yield
    finally:
        _stage = before
        tell("stage", before)


def tell(kind: str, *what: object) -> None:
    """Tells whoever waits: of a `stage`, the `limit` of one in seconds, or the last `words`."""
    if active():
        with contextlib.suppress(OSError):
            os.write(_pipe, json.dumps([kind, *what]).encode() + b"\n")


def active() -> bool:
    """Whether this is the process that works for one that waits."""
    return _pipe >= 0


def own_line(frames: Iterable[tuple[str, int]]) -> str:
    """`file:line` of the first frame that is neither of this project nor of a library, or ""."""
    for name, line in frames:
        if not name.startswith(("<", *_OURS)):
            return f"{name}:{line}"
    return ""


def raised_at(error: BaseException) -> str:
    """`file:line` of the innermost line of a user's code that an error went through, or ""."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return own_line((frame.filename, frame.lineno or 0) for frame in frames)


def watch_leaving(told: Callable[[str], object]) -> None:
    """From now on, tells `file:line` of a user's code that is about to end this process."""
    global _told_leaving
    first, _told_leaving = _told_leaving is None, told

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            frames = traceback.walk_stack(sys._getframe().f_back)
            place = own_line((frame.f_code.co_filename, line) for frame, line in frames)
            if place and _told_leaving:
                _told_leaving(place)
            return function(*arguments, **named)

        return call

    for name in _LEAVING if first else ():
        setattr(os, name, watched(getattr(os, name)))


def _work(work: Callable[[], object], writing: int, held: int, traces: IO[bytes]) -> None:
    """The working process: it never returns from here."""
    global _pipe
    _pipe = writing
    me = os.getpid()
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the process that waits
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signals.request)
    faulthandler.enable(traces)
    faulthandler.register(signal.SIGUSR2, traces)
    watch_leaving(lambda place: tell("place", place) if os.getpid() == me else None)
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    code: object = 0
    try:
        work()
    except SystemExit as ended:
        code = ended.code
    if os.getpid() != me:  # a user's code has forked, and this is the fork
        _exit(0)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    tell("end", code if isinstance(code, int) else int(code is not None))  # as Python has it
    raise SystemExit(code)


def _end_with(held: int) -> None:
    """Ends this process and all that it has started once the one that waits for it is gone."""
    os.read(held, 1)
    signals.end(os.getpid())


def _requests() -> list[float]:
    """When this process was asked to end: it grows from now on."""
    found: list[float] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` and shells ask for
            signal.signal(number, lambda *_: found.append(time.monotonic()))
    return found


@final
class _Waiting:
    """The process that waits, with all that it was told by the one that works."""

    def __init__(self, child: int, pipe: int, traces: IO[bytes], asked: list[float]) -> None:
        self._child, self._pipe, self._traces, self._asked = child, pipe, traces, asked
        self._stage = self._place = ""
        self._words = "interrupted; the same command goes on with what is kept"
        self._limit = self._since = inf
        self._ended: int | None = None
        self._rest = b""
        os.set_blocking(pipe, False)

    def code(self) -> int:
        """Waits, and returns the exit code of the command."""
        forwarded = False
        while True:
            select.select([self._pipe], [], [], _POLL)
            done = os.waitpid(self._child, os.WNOHANG)
            self._listen()
            if done[0]:
                return self._concluded(done[1])
            now = time.monotonic()
            late = len(self._asked) > 1 or (self._asked and now - self._asked[0] > GRACE)
            if late or (self._ended is not None and now - self._since > GRACE):
                self._kill()  # a thread may keep what has ended, and said so itself
                return self._told(130, self._words) if self._ended is None else self._ended
            if self._asked and not forwarded:
                os.kill(self._child, signal.SIGUSR1)
                forwarded = True
            if self._stage and now - self._since > self._limit:
                return self._late()

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 65_536):
                self._rest += data
            time.sleep(_POLL / 10)  # the other end is closed: its process is about to end
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            match json.loads(line):
                case ["stage", what]:
                    self._stage, self._since = what, time.monotonic()
                case ["limit", seconds]:
                    self._limit = seconds
                case ["words", words]:
                    self._words = words
                case ["place", place]:
                    self._place = place
                case ["end", code]:
                    self._ended, self._since = code, time.monotonic()

    def _concluded(self, status: int) -> int:
        if self._ended is not None:
            return self._ended
        if self._asked:
            return self._told(130, self._words)
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed (signal {-code})" if code < 0 else f"ended (exit status {code})"
        during = f" during {self._stage}" if self._stage else ""
        place = self._place or self._traced()
        problem = f"the process {how}{during}, and not by concord itself"
        return self._told(2, f"{problem}. A model's code must return or raise; {_KEPT}", place)

    def _late(self) -> int:
        os.kill(self._child, signal.SIGUSR2)  # leaves a traceback, whatever it is at
        time.sleep(2 * _POLL)
        self._kill()
        problem = f"{self._stage} took longer than {self._limit:g} s; {_KEPT}"
        return self._told(2, f"{problem}. Allow more with --timeout SECONDS", self._traced())

    def _traced(self) -> str:
        self._traces.seek(0)
        text = self._traces.read().decode(errors="replace")
        return own_line((name, int(line)) for name, line in _FRAME.findall(text))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGSTOP)  # it must not replace what is ended
        signals.end(self._child)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)

    def _told(self, code: int, message: str, place: str = "") -> int:
        """Says a last sentence, with the place of an error, and returns the code."""
        if code != 130:
            message = f"error: {place}: {message}" if place else f"error: {message}"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stderr.isatty():
                message = f"\r\x1b[2K\x1b[?25h{message}"  # where a bar may have been
            print(message, file=sys.stderr, flush=True)
        return code
