"""Studies on worker processes: two against one, and what scheduling costs.

Both sides measure the same batches of a mixture study, on workers that have already compiled.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from _row import Row, timed

from comparisons import asymptotics
from comparisons._batches import Cluster, Here, Work, cluster
from comparisons._environment import prepare
from comparisons._study import Setting
from inference._threads import THREADS
from models.gaussian_mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATES, BATCH, UNITS = 10_000, 250, 200
SPEC = {
    "study": "asymptotics", "model": "gaussian_mixture", "set": {"k": 2}, "seed": 0, "methods": [],
}  # fmt: skip


def rows() -> Iterator[Row]:
    """Two workers against one; one against the bare call in this process, on one thread."""
    prepare()
    os.environ[THREADS] = "1"  # the bare call has what one worker has
    one, first = _on_workers(1)
    two, _ = _on_workers(2)
    name = f"{REPLICATES:,} replicates of a mixture study, N = {UNITS}"
    yield Row(f"{name}, two workers", "one worker", two, one, first, 1.8)
    here = Here(asymptotics, Setting(GaussianMixture(2), 0))
    warm = timed(lambda: _all(here, BATCH, 0))
    bare = timed(lambda: _all(here, REPLICATES, 0))
    yield Row(f"{name}, one worker", "the bare compiled call", one, bare, warm, 1 / 1.05)


def _on_workers(jobs: int) -> tuple[float, float]:
    """Seconds of all replicates, and of the first batches, on which everything is compiled."""
    with cluster(jobs, None) as client:
        workers = Cluster(client, SPEC)
        first = timed(lambda: _all(workers, 4 * jobs * BATCH, REPLICATES))
        return timed(lambda: _all(workers, REPLICATES, 0)), first


def _all(workers: Any, count: int, start: int) -> None:
    works = [Work(UNITS, i, i + BATCH) for i in range(start, start + count, BATCH)]
    assert sum(len(found.columns) > 0 for _, found in workers.measured(works)) == len(works)
