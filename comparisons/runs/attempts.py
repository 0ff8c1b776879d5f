"""Attempts at a task by workers, and what they tell through a file of lines."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

type Told = Callable[[str, str, str, float], None]
"""Told (task, event, name, seconds): the events of a case's progress, `compare`, `warning` (a
message), `ended`."""

BETWEEN = "the time between two fits"


@final
class Attempt:
    """A task on its way: what to skip, and what its worker was at when it was last heard of."""

    def __init__(self, task: str, arguments: tuple[Any, ...], events: Path | None) -> None:
        self.task = task
        self.arguments = arguments
        self.events = events
        self.skip: dict[str, str] = {}
        self.deaths: Counter[str] = Counter()
        self.lost = 0
        self.doing = ""
        self.place = ""
        self.since = time.monotonic()
        self.late = False
        self.worker = 0
        self._read = 0

    def _news(self) -> Iterator[tuple[str, str, float]]:
        if self.events is None or not self.events.is_file():
            return
        with self.events.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    yield tuple(json.loads(line))

    def listen(self, told: Told) -> None:
        """Passes on all that the task has told since the last call."""
        for event, name, seconds in self._news():
            self.since = time.monotonic()
            if event == "began":
                self.worker = int(name)
                continue
            if event == "left":
                self.place = name
                continue
            if event != "warning":
                self.doing = name if event in ("fit", "compare") else BETWEEN
            told(self.task, event, name, seconds)
