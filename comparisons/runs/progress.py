"""Progress on standard error: a bar in a terminal, one plain line per fit elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self, final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from models.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import Task

_ENDED = {"fitted": "", "stored": "stored", "failed": "failed"}


@final
class _Rate(ProgressColumn):
    """How many are done in a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        digits = ",.0f" if speed and speed >= 10 else ".2g"
        return Text("–/s" if speed is None else f"{speed:{digits}}/s")


@final
class _Bar:
    """A line below what is printed, in a terminal alone; a closed standard error silences both."""

    def __init__(self, what: str, *columns: ProgressColumn) -> None:
        self._columns = (
            TextColumn(what),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            *columns,
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left · {task.description}"),
        )
        self._console = Console(stderr=True, soft_wrap=True) if sys.stderr else None
        self._progress: Progress | None = None

    def start(self, total: int) -> None:
        """Shows the bar, if anything is to be done."""
        if self._console and self._console.is_terminal and total:
            self._progress = Progress(*self._columns, console=self._console, transient=True)
            self._progress.add_task("starting", total=total)
            self._progress.start()

    def stop(self) -> None:
        """Removes the bar."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    @property
    def shown(self) -> bool:
        """Whether there is a bar to look at."""
        return self._progress is not None

    def update(self, done: int, total: int, description: str) -> None:
        """Shows how much is done, and what is under way."""
        if self._progress:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=done, total=total, description=description)

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self._console:
            with suppress(OSError):
                self._console.print(printable(message), markup=False, highlight=False)


def say(message: str) -> None:
    """Prints a line on standard error, if it is open."""
    _Bar("").say(message)


@final
class Report:
    """Progress of a run: one line for each fit where there is no bar."""

    def __init__(self, planned: Iterable[tuple[str, str]], what: str = "fits") -> None:
        """A report of what is planned, each (slug of the case, name of the fit)."""
        self._known = set(planned)
        self._done: set[tuple[str, str]] = set()
        self._running: dict[str, str] = {}
        self._bar = _Bar(what)

    def __enter__(self) -> Self:
        self._bar.start(len(self._known))
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._bar.stop()

    @property
    def done(self) -> int:
        """Number of fits that have ended."""
        return len(self._done)

    @property
    def total(self) -> int:
        """Number of fits known of; comparisons may ask for more on the way."""
        return len(self._known)

    def told(self, slug: str, event: str, name: str, seconds: float) -> None:
        if event == "warning":
            self.say(name)
        elif event in _ENDED:
            self._ended(slug, event, name, seconds)
        elif event == "ended":
            self._running.pop(slug, None)
        elif event in ("fit", "compare"):
            if event == "fit":
                self._known.add((slug, name))
            self._running[slug] = f"{slug} {name}"
        self._bar.update(self.done, self.total, escape("; ".join(self._running.values())))

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        self._bar.say(message)

    def _ended(self, slug: str, event: str, name: str, seconds: float) -> None:
        self._known.add((slug, name))
        self._done.add((slug, name))
        if event == "failed" or not self._bar.shown:
            spent = _ENDED[event] or f"{seconds:.1f} s"
            self.say(f"[{self.done}/{self.total}] {slug} {name}: {spent}")


@final
class Counting:
    """A bar of replicates with their rate; one plain line for each round elsewhere."""

    def __init__(self) -> None:
        self._bar = _Bar("data sets", _Rate())

    def __enter__(self) -> Self:
        self._bar.start(1)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._bar.stop()

    def told(self, what: str, done: int, total: int) -> None:
        """Shows how many data sets of a round are done."""
        self._bar.update(done, total, what)
        if done == total and not self._bar.shown:
            self._bar.say(f"{done:,} data sets")

    def listen(self, task: str, event: str, name: str, seconds: float) -> None:
        if event == "warning":
            self._bar.say(name)
