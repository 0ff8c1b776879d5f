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

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from rich.progress import Task

_ENDED = {"fitted": "", "stored": "stored", "failed": "failed"}


@final
class _Rate(ProgressColumn):
    """How many are done in a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        digits = ",.0f" if speed and speed >= 10 else ".2g"
        return Text("–/s" if speed is None else f"{speed:{digits}}/s")


def _bar(console: Console, what: str, *columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn(what),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        *columns,
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left · {task.description}"),
        console=console,
        transient=True,
    )


@final
class Report:
    """What a run tells its user while it runs; a closed standard error silences it."""

    def __init__(self, planned: Iterable[tuple[str, str]], what: str = "fits") -> None:
        """A report of what is planned, each (slug of the case, name of the fit)."""
        self._what = what
        self._known = set(planned)
        self._done: set[tuple[str, str]] = set()
        self._running: dict[str, str] = {}
        self._console = Console(stderr=True, soft_wrap=True) if sys.stderr else None
        self._bar: Progress | None = None
        self._task = None

    def __enter__(self) -> Self:
        if self._console and self._console.is_terminal and self._known:
            self._bar = _bar(self._console, self._what)
            self._task = self._bar.add_task("starting", total=len(self._known))
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    @property
    def done(self) -> int:
        """Number of fits that have ended."""
        return len(self._done)

    @property
    def total(self) -> int:
        """Number of fits known of; comparisons may ask for more on the way."""
        return len(self._known)

    def activity(self, slug: str, event: str, name: str, seconds: float) -> None:
        """Shows an event of a case: see `comparisons.case.Progress`."""
        if event in _ENDED:
            self._ended(slug, event, name, seconds)
        else:
            if event == "fit":
                self._known.add((slug, name))
            self._running[slug] = f"{slug} {name}"
        if self._bar and self._task is not None:
            description = escape("; ".join(self._running.values()))
            self._bar.update(
                self._task, completed=self.done, total=self.total, description=description
            )

    def idle(self, slug: str) -> None:
        """A case has ended."""
        self._running.pop(slug, None)

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self._console:
            with suppress(OSError):
                self._console.print(message, markup=False, highlight=False)

    def _ended(self, slug: str, event: str, name: str, seconds: float) -> None:
        self._known.add((slug, name))
        self._done.add((slug, name))
        if event == "failed" or not self._bar:
            spent = _ENDED[event] or f"{seconds:.1f} s"
            self.say(f"[{self.done}/{self.total}] {slug} {name}: {spent}")


@final
class Counting:
    """A bar of replicates with their rate; one plain line for each round elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True) if sys.stderr else None
        self._bar: Progress | None = None
        self._task = None

    def __enter__(self) -> Self:
        if self._console and self._console.is_terminal:
            self._bar = _bar(self._console, "data sets", _Rate())
            self._task = self._bar.add_task("starting", total=1)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def told(self, what: str, done: int, total: int) -> None:
        """Shows how many data sets of a round are done."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=what)
        elif self._console and done == total:
            with suppress(OSError):
                self._console.print(f"{done:,} data sets", markup=False, highlight=False)
