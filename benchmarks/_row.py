"""One row of the table of benchmarks: both sides measured in the same run, and the goal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Row:
    """A promise and what was measured.

    Attributes:
        work: what is done.
        against: what it is measured against.
        here, there: seconds of both sides, compilation left out.
        compilation: seconds spent on it here, once.
        goal: the least ratio there / here; below 1, it is 1 over one plus the overhead allowed.
    """

    work: str
    against: str
    here: float
    there: float
    compilation: float
    goal: float

    def cells(self) -> tuple[str, ...]:
        """Work, against, seconds of both, compilation, measured, goal."""
        ratio = self.there / self.here
        overhead = self.goal < 1
        measured = f"{100 * (1 / ratio - 1):+.0f} %" if overhead else f"{ratio:.3g}×"
        goal = f"≤ {100 * (1 / self.goal - 1):+.0f} %" if overhead else f"≥ {self.goal:g}×"
        seconds = (f"{value:.3g} s" for value in (self.here, self.there, self.compilation))
        return self.work, self.against, *seconds, measured, goal


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compiled(work: Callable[[], object]) -> float:
    """Seconds that the first call of some work takes beyond the second."""
    return timed(work) - timed(work)
