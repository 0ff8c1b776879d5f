"""Where a command works: an output directory that is its own for so long, and its workers."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout

from comparisons.report.tables import VERDICTS
from comparisons.runs.executor import Cluster, Executor, Here
from comparisons.runs.progress import say
from comparisons.runs.publish import note_used
from comparisons.store.entries import Store, disk_error
from comparisons.store.output import LOCK, STORE, Output
from models.errors import ConcordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons.runs.settings import Settings

_LOG = "run.log"
_ENDING = 1.0
"""Seconds that a run which was killed a moment ago has to be gone."""


class InUseError(ConcordError):
    """Another run writes to the same output directory."""


class Place(NamedTuple):
    """Where a command keeps things, and who works for it."""

    output: Output
    store: Store
    executor: Executor


@contextmanager
def place(
    settings: Settings,
    environment: Mapping[str, str],
    names: Sequence[str],
    *,
    debug: bool,
    force: bool = False,
    most: int = 1024,
) -> Iterator[Place]:
    """The output directory, made if it is not there and kept from other runs, and an executor.

    Args:
        settings: the directory and the workers.
        environment: environment of worker processes, besides this process's.
        names: the files that will be written there, the page first.
        debug: whether to work in this process and to let exceptions through.
        force: whether to write into a directory of somebody else.
        most: most processes that are of use.

    Raises:
        ConfigError: the directory, or a file where one of ours would be, is somebody else's.
        InUseError: another run uses the directory.
        StoreError: it cannot be written.
    """
    here = debug or (settings.jobs == 1 and not settings.scheduler)
    with held(Path(settings.out).absolute(), force=force) as output:
        output.claim([*names, *([] if here else [_LOG])])
        store = Store(output.path / STORE, warn=say)
        store.root.mkdir(exist_ok=True)
        store.sweep()
        jobs = min(settings.jobs or os.cpu_count() or 1, most)
        log = output.path / _LOG
        at, limit = settings.scheduler, settings.timeout
        cluster = Cluster(jobs, at, store.root, log, environment, limit)
        yield Place(output, store, Here(debug=debug) if here else cluster)
        note_used(output.path, names[0], store.used)


@contextmanager
def held(out: Path, *, force: bool = False) -> Iterator[Output]:
    """An output directory of ours, made if it is not there and kept from other runs.

    Raises:
        ConfigError: it is somebody else's, and nobody said `force`.
        InUseError: another run uses it.
        StoreError: it cannot be written.
    """
    try:
        # verdicts of ours are kept where all else that a run writes is not, as in version control
        output = Output(out, force=force, signs={"verdicts.csv": ",".join(VERDICTS[:4])}, tell=say)
        output.refuse_others()
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=_ENDING):
            yield output
    except Timeout as error:
        raise InUseError(
            f"another run writes to {out}: it holds the lock {out / LOCK}. "
            "Wait for it to end, or choose another directory with --out."
        ) from error
    except OSError as error:
        raise disk_error(error, out) from error
