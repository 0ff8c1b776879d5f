"""The executor: cases, batches of replicates and theory entries, here or on Dask workers.

A worker that dies is replaced and its task tried once more; what kills a worker twice is left out
of the task, with the reason, or is itself given up where it has no parts.  What a task tells goes
through a file: a message that is under way when its worker is killed would be lost.
"""

import contextlib
import json
import logging
import os
import pkgutil
import queue
import re
import shutil
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import Any, final

from comparisons.runs import signals, supervisor
from comparisons.runs.environment import memory_limit
from comparisons.runs.remote import in_words, perform
from comparisons.store.output import write_whole
from inference.threads import THREADS
from models.errors import ConfigError, FitError, StoreError

ONE_THREAD = {THREADS: "1", "PJRT_NPROC": "1"}  # of a worker that computes in one, JAX too
_DASK = {
    "distributed.scheduler.allowed-failures": 0,  # who tries again is decided here
    "distributed.scheduler.worker-ttl": None,  # a long compilation is no death
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.comm.timeouts.connect": "60s",  # a new worker may start on a busy machine
    "distributed.scheduler.http.routes": [],  # nothing is served to whoever else is logged in
    "distributed.worker.http.routes": [],
}
_POLL = 0.1  # seconds between two looks at signals and events
_PATIENCE = 60  # seconds without any worker after which processes of our own are started anew
_MOST_DEATHS = 2
_MOST_LOST = 10  # times that a task may be lost before its worker has begun it
_BETWEEN = "the time between two fits"
_EXIT = re.compile(r"Worker process (\d+) (?:exited with status|(was killed by signal)) (\d+)")
"""How Dask's log tells the end of a worker."""


class LostError(FitError):
    """Every worker that tried a task has died."""


type Told = Callable[[str, str, str, float], None]
"""(task, event, name, seconds); events: a case's, `compare`, `warning` (a message), `ended`."""
type Executor = Here | Cluster  # does the work, and ends what it started as its context ends


@dataclass(eq=False)
class _Attempt:
    """A task on its way: what to skip, and what its worker was at when it was last heard of."""

    task: str
    arguments: tuple[Any, ...]
    events: Path
    skip: dict[str, str] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doing: str = ""
    place: str = ""
    since: float = field(default_factory=time.monotonic)
    late: bool = False
    worker: int = 0
    read: int = 0

    def listen(self, told: Told) -> None:
        """Passes on all that the task has told since the last call."""
        if not self.events.is_file():
            return
        with self.events.open("rb") as file:
            file.seek(self.read)
            lines = [line for line in file if line.endswith(b"\n")]
        for line in lines:
            self.read += len(line)
            event, name, seconds = json.loads(line)
            self.since = time.monotonic()
            if event == "began":
                self.worker = int(name)
                continue
            if event == "left":
                self.place = name
                continue
            if event != "warning":
                self.doing = name if event in ("fit", "compare") else _BETWEEN
            told(self.task, event, name, seconds)


@final
@dataclass(frozen=True)
class Here(contextlib.AbstractContextManager["Here"]):
    """This process, one task after the other; in `debug` it lets exceptions through."""

    debug: bool = False

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Nothing was started."""

    def results(
        self, call: str, tasks: Mapping[str, tuple[Any, ...]], told: Told, start: str = "the start"
    ) -> Iterator[tuple[str, Any]]:
        """Calls a function for each task, with its arguments, `skip` and `tell`.

        Args:
            call: `module:function`, so that a worker imports it after setting its environment.
            tasks: positional arguments by the name of the task, in the order in which to start.
            told: told of what the tasks tell.
            start: what a task does before it tells anything.

        Yields:
            Name of the task and its result, or the exception that it raised, as each ends; a
            StoreError is raised at once.
        """
        function = pkgutil.resolve_name(call)

        def tell(task: str, event: str, name: str, seconds: float = 0.0) -> None:
            signals.check()
            supervisor.tell("stage", f"{task} {name}" if event in ("fit", "compare") else "")
            told(task, event, name, seconds)

        for task, arguments in tasks.items():
            try:
                outcome = function(*arguments, skip={}, tell=partial(tell, task))
            except StoreError:
                raise
            except (Exception, SystemExit) as error:  # a user's program may raise anything
                signals.check()
                if self.debug:
                    raise
                outcome = in_words(error)
            tell(task, "ended", "")
            yield task, outcome


@final
@dataclass(eq=False)
class Cluster(contextlib.AbstractContextManager["Cluster"]):
    """Workers of a scheduler that runs, or processes of this machine that end with the run.

    Nothing is started, and Dask is not imported, before there is something to do.  Only processes
    of our own have a log, an environment and a limit.
    """

    jobs: int  # processes to start, if there is no scheduler
    scheduler: str | None  # address of one that runs already
    folder: Path  # an existing directory for what tasks tell; seen by all workers
    log: Path | None = None  # takes what the libraries print
    environment: Mapping[str, str] = field(default_factory=dict)  # besides that of this process
    limit: float = inf  # most seconds for one thing that a task tells of

    def __post_init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._exits: dict[int, str] = {}
        self._own: Any = None
        self._seen = time.monotonic()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._own is not None:
            # workers are at a fit: they are ended, once those who would replace them know of it
            workers = [nanny.pid for nanny in self._own.workers.values() if nanny.pid]
            threading.Timer(0.3, lambda: [signals.end(worker) for worker in workers]).start()
        self._stack.close()

    @property
    def memory(self) -> int:
        """Bytes that one worker may use: as much as this process where none has a limit."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        return min(limits, default=memory_limit())

    @cached_property
    def client(self) -> Any:
        """The Dask client."""
        import dask
        from dask.distributed import Client

        self._stack.enter_context(dask.config.set(_DASK))
        if self.scheduler is None:
            return self._stack.enter_context(Client(self._started(), set_as_default=False))
        try:
            client = Client(self.scheduler, timeout="15s", set_as_default=False)
            return self._stack.enter_context(client)
        except (OSError, TypeError, ValueError) as error:  # TypeError: TLS without a key
            raise ConfigError(
                f"--scheduler {self.scheduler}: {error}; expected the address of a Dask "
                "scheduler, such as tls://127.0.0.1:8786, with its keys in Dask's configuration "
                "under distributed.comm.tls"
            ) from error

    def results(
        self, call: str, tasks: Mapping[str, tuple[Any, ...]], told: Told, start: str = "the start"
    ) -> Iterator[tuple[str, Any]]:
        if not tasks:
            return
        events = Path(tempfile.mkdtemp(prefix=f".tmp-{os.getpid()}-", dir=self.folder))
        waiting = deque(
            _Attempt(task, arguments, events / str(number))
            for number, (task, arguments) in enumerate(tasks.items())
        )
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running: dict[Any, _Attempt] = {}

        def submit() -> None:
            while waiting and len(running) < self._places():
                attempt = waiting.popleft()
                attempt.doing, attempt.worker, attempt.place = start, 0, ""
                log = str(self.log) if self.log and self._own else ""
                arguments = (attempt.arguments, attempt.skip, str(attempt.events), log)
                future = self.client.submit(perform, call, *arguments, pure=False)
                future.add_done_callback(ended.put)
                running[future] = attempt

        try:
            with signals.polled():
                while waiting or running:
                    submit()
                    signals.check()
                    future = None
                    with contextlib.suppress(queue.Empty):
                        future = ended.get(timeout=_POLL)
                    for attempt in running.values():
                        attempt.listen(told)
                        self._end_if_late(attempt)
                    if future is None:
                        self._watch()
                        continue
                    attempt = running.pop(future)
                    outcome = self._outcome(future, attempt, start, told)
                    if outcome is attempt:
                        waiting.appendleft(attempt)
                        continue
                    submit()  # before the caller takes its time
                    told(attempt.task, "ended", "", 0.0)
                    yield attempt.task, outcome
        finally:
            if running:
                self.client.cancel(list(running))
            shutil.rmtree(events, ignore_errors=True)

    def _started(self) -> Any:
        from dask.distributed import LocalCluster
        from distributed.security import Security

        if self.log is not None:
            write_whole(self.log, b"")
            self._stack.callback(_remove_empty, self.log)
        scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="concord-"))
        self._stack.enter_context(_exits(self._exits))
        self._own = self._stack.enter_context(
            LocalCluster(
                n_workers=self.jobs,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                env=dict(self.environment),
                silence_logs=logging.CRITICAL,
                security=Security.temporary(),  # a key that only these processes have
            )
        )
        return self._own

    def _places(self) -> int:
        """How many tasks can run at once; more would wait on a worker and die with it."""
        if self.scheduler is None:
            return self.jobs if self.client else 0
        return max(1, sum(self.client.nthreads().values()))

    def _watch(self) -> None:
        """Starts processes anew if none has come back; workers of others are waited for."""
        now = time.monotonic()
        if self._own is None or now - self._seen < _PATIENCE:
            return
        if not self.client.scheduler_info(n_workers=-1)["workers"]:
            self._own.scale(0)
            self._own.scale(self.jobs)
        self._seen = time.monotonic()

    def _outcome(self, future: Any, attempt: _Attempt, start: str, told: Told) -> Any:
        """Result or error of an attempt; the attempt itself if it is to be repeated."""
        from distributed.scheduler import KilledWorker

        error = future.exception()
        attempt.listen(told)
        if isinstance(error, StoreError):
            raise error
        if not isinstance(error, KilledWorker):
            return future.result() if error is None else error
        if not attempt.worker and self._own is not None and attempt.lost < _MOST_LOST:
            attempt.lost += 1  # it waited on a worker that another task killed
            return attempt
        doing, late, attempt.late = attempt.doing, attempt.late, False
        attempt.deaths[doing] += error.allowed_failures + 1
        again = attempt.deaths[doing] < _MOST_DEATHS and not late
        if late:
            how = f"it took longer than {self.limit:g} s; allow more with --timeout SECONDS"
        else:
            at = f"{attempt.place}: " if attempt.place else ""
            how = f"{at}the worker {self._how(attempt.worker)}{'' if again else ' twice'}"
        if not again and doing in (start, _BETWEEN):
            what = "; what it printed, if anything, is in run.log" if self.log else ""
            return LostError(f"{how} during {doing}{what}")
        if not again:
            attempt.skip[doing] = how
        then = "trying once more" if again else "going on without it"
        told(attempt.task, "warning", f"{attempt.task}: {how} during {doing}; {then}", 0.0)
        return attempt

    def _end_if_late(self, attempt: _Attempt) -> None:
        if self._own is None or not attempt.worker or attempt.late:
            return
        if time.monotonic() - attempt.since > self.limit:
            attempt.late = True
            signals.end(attempt.worker)

    def _how(self, worker: int) -> str:
        deadline = time.monotonic() + 2  # the scheduler may know of it first
        while self._own is not None and worker not in self._exits and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._exits.get(worker, "died")


@contextlib.contextmanager
def _exits(found: dict[int, str]) -> Iterator[None]:
    """Collects how worker processes end, by process: Dask writes it to its log alone."""

    def read(record: logging.LogRecord) -> bool:
        if message := _EXIT.match(record.getMessage()):
            how = "was killed (signal" if message[2] else "ended (exit status"
            found[int(message[1])] = f"{how} {message[3]})"
        return True

    logger = logging.getLogger("distributed.nanny")
    level = logger.level
    logger.addFilter(read)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeFilter(read)
        logger.setLevel(level)


def _remove_empty(log: Path) -> None:
    with contextlib.suppress(OSError):
        if not log.lstat().st_size:
            log.unlink()
