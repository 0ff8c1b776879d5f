"""Worker processes: a case each, restarted when they die, ended with the run."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import comparisons
from models import errors as _errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from comparisons.runs.plan import Plan
    from comparisons.runs.progress import Report

_STARTING = "the start"
_BETWEEN = "the time between two fits"


@final
class _Job:
    """A plan on its way: what to skip, and what its worker was doing when it was last heard of."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.skip: dict[str, str] = {}
        self.doing = _STARTING
        self.deaths: Counter[str] = Counter()


@final
class _Worker:
    """A process of its own session, so that a terminal's Ctrl-C reaches the run alone."""

    def __init__(self, store: Path, log: Path) -> None:
        self._store = store
        self.job: _Job | None = None
        self._rest = b""
        path = [str(Path(comparisons.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "comparisons.runs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            )

        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("the worker has no pipes")
        self._input, self.output = self._process.stdin, self._process.stdout

    def take(self, job: _Job) -> None:
        """Starts a job."""
        self.job = job
        job.doing = _STARTING
        content = {
            "spec": job.plan.spec,
            "slug": job.plan.slug,
            "store": str(self._store),
            "skip": job.skip,
        }
        with contextlib.suppress(BrokenPipeError):  # it died: its closed output says so
            self._input.write(json.dumps(content).encode() + b"\n")
            self._input.flush()

    def events(self) -> list[dict[str, Any]] | None:
        """The events it has written; None once it has died."""
        read = os.read(self.output.fileno(), 1 << 16)
        if not read:
            return None
        *lines, self._rest = (self._rest + read).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> str:
        """Ends the process, with everything it started, and says how it ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        for pipe in (self._input, self.output):
            with contextlib.suppress(OSError):
                pipe.close()
        return f"was killed (signal {-status})" if status < 0 else f"ended (exit status {status})"


def run_pool(
    plans: Sequence[Plan], size: int, store: Path, log: Path, report: Report
) -> Iterator[tuple[Plan, dict[str, Any] | str]]:
    """Runs plans on worker processes.

    A worker that dies is replaced and its case tried once more; what kills a worker twice is left
    out of the case, with the reason, and the rest goes on.

    Args:
        plans: the cases, in the order in which to start them.
        size: number of processes.
        store: directory of the stored fits.
        log: file that takes what workers print.
        report: told of what they do.

    Yields:
        Each plan, as it ends, with its record, or with a sentence that says why it has none.

    Raises:
        StoreError: a worker could not read or write the store.
        OSError: a worker cannot be started.
    """
    waiting = deque(map(_Job, plans))
    workers: list[_Worker] = []
    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(min(size, len(plans))):
                _hire(workers, selector, waiting, store, log)
            while any(worker.job for worker in workers):
                for key, _ in selector.select():
                    worker: _Worker = key.data
                    events = worker.events()
                    if events is None:
                        selector.unregister(worker.output)
                        workers.remove(worker)
                        yield from _bury(worker, waiting, report)
                        if waiting:
                            _hire(workers, selector, waiting, store, log)
                        continue
                    for event in events:
                        yield from _told(event, worker, report)
                        if worker.job is None and waiting:
                            worker.take(waiting.popleft())
        finally:
            for worker in workers:
                worker.end()


def _hire(
    workers: list[_Worker],
    selector: selectors.BaseSelector,
    waiting: deque[_Job],
    store: Path,
    log: Path,
) -> None:
    worker = _Worker(store, log)
    workers.append(worker)
    selector.register(worker.output, selectors.EVENT_READ, worker)
    worker.take(waiting.popleft())


def _told(
    event: dict[str, Any], worker: _Worker, report: Report
) -> Iterable[tuple[Plan, dict[str, Any] | str]]:
    job = worker.job
    if job is None:
        return
    match event:
        case {"event": "activity", "activity": what, "name": name, "seconds": seconds}:
            job.doing = name if what in ("fit", "compare") else _BETWEEN
            report.activity(job.plan.slug, what, name, seconds)
        case {"event": "warning", "message": message}:
            report.say(message)
        case {"event": "error", "kind": "StoreError", "message": message}:
            raise _errors.StoreError(message)
        case {"event": "error", "message": message}:
            worker.job = None
            report.idle(job.plan.slug)
            yield job.plan, message
        case {"event": "record", "record": record}:
            worker.job = None
            report.idle(job.plan.slug)
            yield job.plan, record


def _bury(
    worker: _Worker, waiting: deque[_Job], report: Report
) -> Iterable[tuple[Plan, dict[str, Any] | str]]:
    how, job = worker.end(), worker.job
    if job is None:
        return
    job.deaths[job.doing] += 1
    slug, doing = job.plan.slug, job.doing
    if job.deaths[doing] == 1:
        report.say(f"{slug}: the worker {how} during {doing}; trying once more")
    elif doing in (_STARTING, _BETWEEN):
        yield (
            job.plan,
            f"the worker {how} twice during {doing}; what it printed, if anything, is in run.log",
        )
        return
    else:
        job.skip[doing] = f"the worker {how} twice"
        report.say(f"{slug}: the worker {how} twice during {doing}; going on without it")
    waiting.appendleft(job)
