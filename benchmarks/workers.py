"""Studies on worker processes: two against one, and what scheduling costs.

All sides measure the same batches of a mixture study, on processes that have already compiled and
have one thread each.  The bare call is made in a process of its own, with a worker's environment:
`python benchmarks/workers.py` prints its seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _row import Row, timed

from comparisons.runs.batches import Work, from_spec, here, there
from comparisons.runs.environment import prepare
from comparisons.runs.executor import ONE_THREAD, Cluster
from comparisons.runs.plan import model_spec
from comparisons.runs.settings import CaseSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATES, BATCH, UNITS, REPEATS = 10_000, 250, 200, 3
SPEC = {
    "study": "asymptotics",
    "model": model_spec(CaseSettings(model="gaussian_mixture", set={"k": 2})),
    "truth": None,
    "seed": 0,
    "methods": [],
}


def rows() -> Iterator[Row]:
    """Two workers against one; one against the bare call; the best of three runs of each."""
    prepare()  # the environment of the bare calls: this process has read its own
    one, compilation = _on_workers(1)
    two, _ = _on_workers(2)
    [(bare, its_compilation)] = _bare(1)
    # what the machine has to give to a second process, whatever runs in it
    both = max(seconds for seconds, _ in _bare(2)) / 2
    name = f"{REPLICATES:,} replicates of a mixture study, N = {UNITS}"
    against = f"one worker (two bare processes at once against one: {bare / both:.2f}×)"
    yield Row(f"{name}, two workers", against, two, one, compilation, 1.8)
    call = "the bare compiled call"
    yield Row(f"{name}, one worker", call, one, bare, its_compilation, 1 / 1.05)


def _bare(count: int) -> list[tuple[float, float]]:
    """Seconds of all replicates and of compilation, in each of some processes at once."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__], env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE
        )
        for _ in range(count)
    ]
    printed = [process.communicate()[0].split() for process in processes]
    return [(float(seconds), float(compilation)) for seconds, compilation in printed]


def _on_workers(jobs: int) -> tuple[float, float]:
    """Seconds of all replicates, and of compilation."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(jobs, None, Path(folder), environment=ONE_THREAD) as cluster,
    ):
        return _measured(there(cluster, SPEC, lambda *event: None), jobs)


def _measured(workers: Any, jobs: int) -> tuple[float, float]:
    first, again = (timed(lambda: _all(workers, 4 * jobs * BATCH, REPLICATES)) for _ in range(2))
    return min(timed(lambda: _all(workers, REPLICATES, 0)) for _ in range(REPEATS)), first - again


def _all(workers: Any, count: int, start: int) -> None:
    works = [Work(UNITS, i, i + BATCH) for i in range(start, start + count, BATCH)]
    assert sum(len(found.columns) > 0 for _, found in workers.measured(works)) == len(works)


if __name__ == "__main__":
    import json

    print(*_measured(here(*from_spec(json.dumps(SPEC))), 1))
