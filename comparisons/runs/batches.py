"""Batches of replicates: measured here or by Dask workers, summarised, kept as they finish.

A batch depends on its replicates' indices alone, so that neither the number of workers nor the
order in which they finish changes a number.  A replicate that fails is counted with its reason and
the rest of its batch is kept; a worker that dies costs the batch it was at, which another one makes
again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, final

import numpy as np

from comparisons.runs.environment import memory_limit
from comparisons.runs.remote import batch
from comparisons.store.keys import canonical, digest, source_digest, versions
from inference.threads import THREADS
from models.errors import ConcordError, ConfigError, FitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from comparisons.studies import Setting

ONE_THREAD = {THREADS: "1", "PJRT_NPROC": "1"}
"""Environment of a worker that computes in one thread, as JAX does then, too."""
_DEATHS = 3
"""Workers that a batch may cost before its replicates count as failed."""
_LOOKS = 6
"""Replicates looked at singly to tell whether all of a batch fail."""


class Work(NamedTuple):
    """Replicates `start` to `stop` of n units each."""

    n: int
    start: int
    stop: int


class Measured(NamedTuple):
    """What came of a batch."""

    columns: dict[str, np.ndarray]
    """By name, one row per replicate: NaN where it failed, +∞ where it was not asked for.

    Empty where every replicate failed.
    """
    failures: dict[str, int]
    """How many replicates failed, by reason."""


class Workers(Protocol):
    """Whoever measures batches."""

    @property
    def memory(self) -> int:
        """Bytes that the measurement of one batch has to itself."""
        ...

    def measured(self, works: Sequence[Work]) -> Iterator[tuple[Work, Measured]]:
        """The batches as they finish.

        Raises:
            FitError: no replicate of a batch can be measured.
        """
        ...


@final
class Here:
    """This process, one batch after the other, with all of its processors."""

    def __init__(self, module: ModuleType, setting: Setting) -> None:
        """Measures a study's replicates of a setting."""
        self._measure = partial(measured, module, setting)

    @property
    def memory(self) -> int:
        """All that this process may use."""
        return memory_limit()

    def measured(self, works: Sequence[Work]) -> Iterator[tuple[Work, Measured]]:
        """The batches in order."""
        for work in works:
            yield work, self._measure(work)


@final
class Cluster:
    """Dask workers."""

    def __init__(self, client: Any, spec: Mapping[str, Any]) -> None:
        """Measures what a spec (see `from_spec`) describes on a Dask client's workers."""
        self._client = client
        self._spec = json.dumps(spec)

    @property
    def memory(self) -> int:
        """The least that a worker may use; as much as this process may if none has a limit."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        return min(limits, default=memory_limit())

    def measured(self, works: Sequence[Work]) -> Iterator[tuple[Work, Measured]]:
        """The batches as they finish."""
        from dask.distributed import as_completed
        from distributed.scheduler import KilledWorker

        source = digest(description(*from_spec(self._spec)))
        futures = {
            self._client.submit(batch, self._spec, source, tuple(work), pure=False): work
            for work in works
        }
        try:
            for future in as_completed(futures):
                work = futures[future]
                error = future.exception()
                if isinstance(error, KilledWorker):
                    reason = f"{error.allowed_failures + 1} workers in turn died at its batch"
                    yield work, Measured({}, {reason: work.stop - work.start})
                elif error is not None:
                    raise error if isinstance(error, ConcordError) else FitError(_told(error))
                else:
                    yield work, future.result()
                future.release()
        finally:
            self._client.cancel(list(futures))


@contextlib.contextmanager
def cluster(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client: of a running scheduler, or of worker processes of its own on loopback.

    Args:
        jobs: number of processes, if they are to be started.
        scheduler: address of a scheduler that runs already.

    Raises:
        ConfigError: nothing answers at the address.
    """
    import dask
    from dask.distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS - 1,
        "distributed.comm.timeouts.connect": "15s",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout="15s"))
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"--scheduler {scheduler}: {error}; expected the address of a Dask scheduler, "
                    "such as tcp://127.0.0.1:8786"
                ) from error
        else:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="concord-"))
            own = stack.enter_context(
                LocalCluster(
                    n_workers=jobs,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    local_directory=scratch,
                    env=ONE_THREAD,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(Client(own))
        yield client


def measured(module: ModuleType, setting: Setting, work: Work) -> Measured:
    """A study's columns for some replicates, those that fail left out with their reasons.

    Raises:
        FitError: what fails does not depend on the replicate.
    """

    def attempt(indices: range) -> dict[str, np.ndarray]:
        columns = module.measure(setting, work.n, indices)
        return {name: np.asarray(rows, float) for name, rows in columns.items()}

    everyone = range(work.start, work.stop)
    try:
        return Measured(attempt(everyone), {})
    except Exception as error:  # whatever it is, it is the replicate's or the study's
        # the same failure wherever one looks is none of a replicate
        places = np.unique(np.linspace(0, len(everyone) - 1, _LOOKS).astype(int))
        reasons = {_reason(partial(attempt, everyone[place : place + 1])) for place in places}
        if len(everyone) > 1 and len(reasons) == 1 and "" not in reasons:
            name = module.__name__.rpartition(".")[2]
            raise FitError(
                f"{name} of {setting.model.name} failed at N = {work.n}: {_told(error)}"
            ) from error
    rows: dict[int, dict[str, np.ndarray]] = {}
    failures: Counter[str] = Counter()
    waiting = [everyone]
    while waiting:
        part = waiting.pop()
        try:
            columns = attempt(part)
        except Exception as error:
            if len(part) == 1:
                failures[_told(error)] += 1
            else:
                middle = len(part) // 2
                waiting += [part[:middle], part[middle:]]
            continue
        for place, index in enumerate(part):
            rows[index] = {name: column[place] for name, column in columns.items()}
    one = next(iter(rows.values()), {})
    nothing = {name: np.full_like(row, np.nan) for name, row in one.items()}
    stacked = {
        name: np.stack([rows.get(index, nothing)[name] for index in everyone]) for name in one
    }
    return Measured(stacked, dict(failures))


def _reason(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return _told(error)
    return ""


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, ConcordError) else f"{type(error).__name__}: {error}"


def description(module: ModuleType, setting: Setting) -> dict[str, object]:
    """Everything a batch depends on but its replicates."""
    return {
        "study": module.__name__,
        "model": canonical(setting.model),
        "seed": setting.seed,
        "methods": canonical(setting.methods),
        "versions": versions(),
        "source": source_digest(
            type(setting.model),
            Path(str(module.__file__)),
            *map(type, setting.methods),
        ),
    }


@lru_cache(maxsize=8)
def from_spec(spec: str) -> tuple[ModuleType, Setting]:
    """The study and the setting of a JSON object of `study`, `model`, `set`, `seed`, `methods`."""
    from comparisons.runs.plan import built, chosen_methods, model_class
    from comparisons.studies import Setting, study

    content = json.loads(spec)
    model = built(model_class(content["model"]), content["set"])
    methods = chosen_methods("quick", content["methods"], {}) if content["methods"] else ()
    return study(content["study"]), Setting(model, content["seed"], methods)
