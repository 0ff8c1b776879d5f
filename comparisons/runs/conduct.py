"""Conducting a study: rounds of batches until every verdict is decided or the budget is spent.

Batches are kept as they finish, so that a study that was killed goes on and ends with the same
numbers; their summaries are merged in the order of the replicates, so that any number of replicates
needs no more memory than one batch.  Of the columns that a study names in `SKETCHED`, quantiles are
kept too.
"""

from __future__ import annotations

import inspect
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from comparisons.replicated.moments import Moments
from comparisons.runs.batches import Here, Work, description
from comparisons.store.entries import disk_error
from comparisons.store.keys import digest
from comparisons.studies import Study
from comparisons.verdict import at_tolerance
from models.errors import ConfigError, FitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

    from comparisons.runs.batches import Workers
    from comparisons.store.entries import Store
    from comparisons.store.output import Output
    from comparisons.studies import Setting

BATCH = 250
"""Most replicates of a batch: what a killed study loses."""
_SHARE = 1 / 20
"""Most of a worker's memory that the simulated data of a batch take: what is computed of them takes
as much again a few times."""
_OPEN = {"UNSURE", "CONSISTENT"}
"""What more replicates may still turn into AGREE or DIFFER."""
FIRST = 1_000
"""Replicates before the first look at the verdicts; each further look is at twice as many."""


def conduct(
    module: ModuleType,
    setting: Setting,
    units: Sequence[int],
    replicates: int,
    store: Store,
    progress: Callable[[str, int, int], None],
    workers: Workers | None = None,
    keep: tuple[Output, str] | None = None,
) -> Study:
    """Replicates until every verdict is decided within its bound or the budget is spent.

    Each look at the verdicts has their false-alarm rate anew: there are log₂(budget / FIRST) + 1.

    Args:
        module: the study.
        setting: what is studied.
        units: the ladder of N.
        replicates: the budget, at each N.
        store: where finished batches are kept.
        progress: told of (what was done, replicates done, replicates in this round).
        workers: who measures; this process by default.
        keep: a folder in an output directory that takes what was measured, as Parquet.

    Raises:
        ConfigError: a worker's memory does not hold a data set.
        FitError: the model cannot be fitted to many data sets at once, or no number came out.
        StoreError: the store cannot be read or written.
    """
    workers = workers or Here(module, setting)
    sums = {n: _Sum() for n in units}
    sizes = {n: _size(setting, n, workers.memory) for n in units}
    total = 0
    while True:
        before, total = total, min(max(2 * total, FIRST), replicates)
        works = [work for n in reversed(units) for work in _works(n, before, total, sizes[n])]
        _fill(module, setting, works, sums, store, progress, workers, keep)
        summaries = _summaries(sums)
        verdicts = at_tolerance(module.judge(setting, summaries), setting.tolerance)
        if total >= replicates or not {one.outcome for one in verdicts} & _OPEN:
            break
    name = module.__name__.rpartition(".")[2]
    if not verdicts:
        raise FitError(f"{name} has nothing to say of {setting.model.name}")
    others = module.descriptive(setting, summaries) if "descriptive" in vars(module) else ()
    statement = inspect.getdoc(module) or name
    failures = {n: dict(sums[n].failures) for n in units if sums[n].failures}
    return Study(
        name, statement, setting.model, tuple(units), total, verdicts, failures, tuple(others)
    )


def _size(setting: Setting, n: int, memory: int) -> int:
    """Replicates of a batch, as many as the memory holds.

    Raises:
        ConfigError: it does not hold one.
    """
    rng = np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(n, 0)))
    bytes_each = setting.model.simulate(rng, setting.model.truth, n).nbytes
    size = min(BATCH, int(_SHARE * memory / bytes_each))
    if size < 1:
        raise ConfigError(
            f"--n {n}: a data set of {bytes_each / 2**20:,.0f} MiB is too large for a worker that "
            f"has {memory / 2**20:,.0f} MiB of memory. Use fewer units or fewer --jobs."
        )
    return size


def _works(n: int, start: int, stop: int, size: int) -> Iterator[Work]:
    """Batches of replicates start to stop, which begin at the same places for every budget."""
    for first in range(start, stop, size):
        yield Work(n, first, min(first + size, stop))


class _Sum:
    """Moments at one N, merged in the order of the replicates, whatever that of completion."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._merged: dict[str, Moments] = {}
        self._lost = 0
        self._next = 0
        self._waiting: dict[int, tuple[Work, dict[str, Moments], Mapping[str, int]]] = {}

    def add(self, work: Work, columns: dict[str, Moments], failures: Mapping[str, int]) -> None:
        """Takes what came of a batch."""
        self._waiting[work.start] = work, columns, failures
        while self._next in self._waiting:
            work, columns, failures = self._waiting.pop(self._next)
            self._next = work.stop
            self.failures.update(failures)
            self._lost += 0 if columns else work.stop - work.start
            for name, moments in columns.items():
                known = self._merged.get(name)
                self._merged[name] = known.merged(moments) if known else moments

    @property
    def moments(self) -> dict[str, Moments]:
        """By column; batches that were lost whole are missing from each."""
        return {
            name: moments._replace(left_out=moments.left_out + self._lost)
            for name, moments in self._merged.items()
        }


def _summaries(sums: Mapping[int, _Sum]) -> dict[int, dict[str, Moments]]:
    summaries = {n: one.moments for n, one in sums.items()}
    if not all(summaries.values()):
        reasons = dict.fromkeys(reason for one in sums.values() for reason in one.failures)
        raise FitError(f"at some N no replicate could be measured: {'; '.join(reasons)}")
    return summaries


def _fill(
    module: ModuleType,
    setting: Setting,
    works: Sequence[Work],
    sums: Mapping[int, _Sum],
    store: Store,
    progress: Callable[[str, int, int], None],
    workers: Workers,
    keep: tuple[Output, str] | None,
) -> None:
    """Adds the batches of a round to the sums, from the store where they are there."""
    source = description(module, setting)
    sketched = vars(module).get("SKETCHED", ())
    if keep is not None:  # of these settings, seed and code alone
        keep = keep[0], f"{keep[1]}/{digest(source)[:12]}"
    total = sum(work.stop - work.start for work in works)
    done, missing = 0, []
    for work in works:
        known = keep is None or keep[0].intact(_raw(keep[1], work))
        stored = store.load_json({**source, "work": work}, partial(_kept, work))
        if stored is None or not known:
            missing.append(work)
            continue
        columns = stored
        sums[work.n].add(work, columns, {})
        done += work.stop - work.start
    if done:
        progress("kept from before", done, total)
    for work, (arrays, failures) in workers.measured(missing):
        columns = {
            column: Moments.of(rows, sketch=column in sketched) for column, rows in arrays.items()
        }
        if keep is not None and arrays:
            _write_raw(*keep, setting, work, arrays)
        if not failures:  # failures are never stored
            plain = {column: moments.plain for column, moments in columns.items()}
            store.save_json({**source, "work": work}, plain)
        sums[work.n].add(work, columns, failures)
        done += work.stop - work.start
        progress(f"N = {work.n}", done, total)


def _kept(work: Work, stored: Mapping[str, Any]) -> dict[str, Moments]:
    """The moments of a batch from the store.

    Raises:
        ValueError: they are those of something else.
    """
    columns = {column: Moments.read(parts) for column, parts in stored.items()}
    for one in columns.values():
        one.merged(one)  # refuses arrays that do not go together
    sizes = [one.replicates + one.left_out for one in columns.values()]
    if not 0 < max(sizes) <= work.stop - work.start:  # without those that are infinite
        raise ValueError("not the moments of this batch")
    return columns


def _raw(folder: str, work: Work) -> str:
    return f"{folder}/n{work.n}-{work.start}-{work.stop}.parquet"


def _write_raw(
    output: Output, folder: str, setting: Setting, work: Work, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes all that was measured, a row for each replicate: columns `method: parameter`.

    Further entries of a column, such as scores and levels, are numbered.

    Raises:
        ConfigError: what lies there is somebody else's.
        StoreError: the directory cannot be written.
    """
    import pandas as pd

    names = setting.names
    table: dict[str, Any] = {"replicate": range(work.start, work.stop)}
    for column, rows in arrays.items():
        wide = rows.reshape(*rows.shape[:2], -1) if rows.ndim > 1 else rows[:, None, None]
        for place, level in np.ndindex(wide.shape[1:]):
            name = names[place] if place < len(names) else f"further {place - len(names)}"
            which = f" {level}" if wide.shape[2] > 1 else ""
            table[f"{column}: {name}{which}"] = wide[:, place, level]
    try:
        output.write(_raw(folder, work), pd.DataFrame(table).to_parquet())
    except OSError as error:
        raise disk_error(error, output.path) from error
