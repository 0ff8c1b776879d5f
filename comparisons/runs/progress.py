"""Progress on standard error: a bar in a terminal, one plain line per fit elsewhere."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import final

from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from comparisons.runs.console import complain

ENDED = {"fitted": "", "stored": "stored", "failed": "failed"}


@final
class _Rate(bars.ProgressColumn):
    """How many are done in a second, of late."""

    def render(self, task: bars.Task) -> Text:
        speed = task.finished_speed or task.speed
        digits = ",.0f" if speed and speed >= 10 else ".2g"
        return Text("–/s" if speed is None else f"{speed:{digits}}/s")


def _bar(what: str, total: int, *columns: bars.ProgressColumn) -> bars.Progress:
    """A bar of one task, which is shown in a terminal alone."""
    console = Console(stderr=True, soft_wrap=True)
    bar = bars.Progress(
        bars.TextColumn(what),
        bars.MofNCompleteColumn(),
        bars.BarColumn(bar_width=24),
        *columns,
        bars.TimeElapsedColumn(),
        bars.TextColumn("elapsed,"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("left · {task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    bar.add_task("starting", total=total)
    return bar


@final
class Report(AbstractContextManager["Report"]):
    """Progress of a run: one line for each fit where there is no bar."""

    def __init__(self, planned: Iterable[tuple[str, str]], what: str = "fits") -> None:
        """A report of what is planned, each (slug of the case, name of the fit)."""
        self._known = set(planned)  # comparisons may ask for more on the way
        self._done: set[tuple[str, str]] = set()
        self._running: dict[str, str] = {}
        self._bar = _bar(what, len(self._known))
        if self._known:
            self._bar.start()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._bar.stop()

    @property
    def counted(self) -> str:
        """How many fits have ended of those that are known of."""
        return f"{len(self._done)} of {len(self._known)} fits"

    def told(self, slug: str, event: str, name: str, seconds: float) -> None:
        if event in ("fit", *ENDED):
            self._known.add((slug, name))
        if event == "warning":
            complain(name)
        elif event in ENDED:
            self._done.add((slug, name))
            if event == "failed" or not self._bar.live.is_started:
                spent = ENDED[event] or f"{seconds:.1f} s"
                complain(f"[{len(self._done)}/{len(self._known)}] {slug} {name}: {spent}")
        elif event == "ended":
            self._running.pop(slug, None)
        elif event in ("fit", "compare"):
            self._running[slug] = f"{slug} {name}"
        self._bar.update(
            self._bar.task_ids[0],
            completed=len(self._done),
            total=len(self._known),
            description=escape("; ".join(self._running.values())),
        )


@final
class Counting(AbstractContextManager["Counting"]):
    """A bar of replicates with their rate; one plain line for each round elsewhere."""

    def __init__(self) -> None:
        self._bar = _bar("data sets", 1, _Rate())
        self._bar.start()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._bar.stop()

    def told(self, what: str, done: int, total: int) -> None:
        """Shows how many data sets of a round are done."""
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=what)
        if done == total and not self._bar.live.is_started:
            complain(f"{done:,} data sets")

    def listen(self, task: str, event: str, name: str, seconds: float) -> None:
        if event == "warning":
            complain(name)
