"""Studies on worker processes: two against one, and what scheduling costs.

All sides measure the same batches of a mixture study, on processes that have already compiled and
have one thread each.  The bare call is made in a process of its own, with a worker's environment:
`python benchmarks/workers.py` prints its seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from _row import Row, timed

from comparisons._batches import ONE_THREAD, Cluster, Here, Work, cluster, from_spec
from comparisons._environment import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATES, BATCH, UNITS, REPEATS = 10_000, 250, 200, 3
SPEC = {
    "study": "asymptotics", "model": "gaussian_mixture", "set": {"k": 2}, "seed": 0, "methods": [],
}  # fmt: skip


def rows() -> Iterator[Row]:
    """Two workers against one; one against the bare call; the best of three runs of each."""
    one, compilation = _on_workers(1)
    two, _ = _on_workers(2)
    name = f"{REPLICATES:,} replicates of a mixture study, N = {UNITS}"
    yield Row(f"{name}, two workers", "one worker", two, one, compilation, 1.8)
    command = [sys.executable, __file__]
    prepare()  # the environment alone: this process has read its own
    environment = {**os.environ, **ONE_THREAD}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    bare, compilation = map(float, printed.stdout.split())
    yield Row(f"{name}, one worker", "the bare compiled call", one, bare, compilation, 1 / 1.05)


def _on_workers(jobs: int) -> tuple[float, float]:
    """Seconds of all replicates, and of compilation."""
    with cluster(jobs, None) as client:
        return _measured(Cluster(client, SPEC), jobs)


def _measured(workers: Any, jobs: int) -> tuple[float, float]:
    first, again = (timed(lambda: _all(workers, 4 * jobs * BATCH, REPLICATES)) for _ in range(2))
    return min(timed(lambda: _all(workers, REPLICATES, 0)) for _ in range(REPEATS)), first - again


def _all(workers: Any, count: int, start: int) -> None:
    works = [Work(UNITS, i, i + BATCH) for i in range(start, start + count, BATCH)]
    assert sum(len(found.columns) > 0 for _, found in workers.measured(works)) == len(works)


if __name__ == "__main__":
    import json

    print(*_measured(Here(*from_spec(json.dumps(SPEC))), 1))
