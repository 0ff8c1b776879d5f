"""Conducting a study: rounds of batches until every verdict is decided or the budget is spent.

Batches are kept as they finish, so that a study that was killed goes on and ends with the same
numbers; summaries are merged in the order of the replicates, in the memory of one batch.
"""

import inspect
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

import numpy as np

from comparisons.policy import LADDER
from comparisons.replicated.moments import Moments
from comparisons.runs.batches import Work, Workers, description, here
from comparisons.runs.console import tell_reading
from comparisons.runs.programs import at_truth, guarded
from comparisons.store.entries import Store, disk
from comparisons.store.keys import digest
from comparisons.store.output import Output
from comparisons.studies import Setting, Study, further
from comparisons.studies import study as find_study
from comparisons.verdict import at_tolerance
from inference.method import Method
from models.data.files import opened
from models.errors import ConfigError, FitError, refuse, shown
from models.programs.adopt import Reading
from models.programs.adopted.classes import adopt_class, chosen
from models.programs.adopted.model import AdoptedModel
from models.programs.precision import float64
from models.settings import MOST, check_seed, sequence
from models.spec import Model

BATCH = 250  # most replicates of a batch: what a killed study loses
_SHARE = 1 / 20  # of a worker's memory, for a batch's data: what is computed of them takes more
_OPEN = {"UNSURE", "CONSISTENT"}  # what more replicates may still turn into AGREE or DIFFER
FIRST = 1_000  # replicates before the first look at the verdicts; each further look is at twice
_TIMES = 4  # the second N of a user's own programs is so many times that of their data
_LEAST = 100  # fewest replicates that may be asked for


@float64
def study(
    name: str,
    model: Model | None = None,
    data: object = None,
    *,
    pymc: object = None,
    numpyro: Callable[..., object] | None = None,
    names: Mapping[str, str] | None = None,
    truth: Mapping[str, object] | None = None,
    n: Sequence[int] | int = (),
    replicates: int = 1_000,
    methods: Sequence[Method] = (),
    tolerance: float = 1.0,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> Study:
    """The verdicts on repeated data sets; `models.programs.adopted.sizes` says on which.

    Args:
        name: the study: `coverage`, `calibration`, `asymptotics`, …
        model: a model of the catalogue or of your own class; else pass `pymc`, `numpyro` or both.
        data: as `compare` takes them.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.
        truth: where your own programs draw; at your posterior mode for what is not given.
        n: numbers of units; by default `default_ladder`.
        replicates: most data sets at each n; fewer if all is decided.
        methods: those to study besides its own, each data set by itself.
        tolerance: factor on every practical bound.
        seed: of every random stream.
        reading: `latent`, `likelihood` and `allow_constant`, as `models.adopt` takes them.

    Raises:
        ConcordError: the study, a name, a number, the data or a program cannot be used; says why.
    """
    find_study(name)
    data, programs = opened(data), {"pymc": pymc, "numpyro": numpyro, "names": names}
    find = partial(chosen, model, data, programs, **reading)
    given = guarded("programs", find)
    own = data is None or isinstance(given, AdoptedModel)
    model = at_truth(given if own else adopt_class(given, data), truth)
    setting = Setting(model, seed, sequence("methods", methods, Method, "(cc.NUTS(),)"), tolerance)
    ladder, module = _ladder(model, n, replicates, seed), prepared(name, setting)
    with tempfile.TemporaryDirectory() as folder:
        return conduct(module, setting, ladder, replicates, Store(Path(folder)), lambda *_: None)


def prepared(name: str, setting: Setting) -> ModuleType:
    """The study of that name; refuses what it cannot study."""
    module = find_study(name)
    tell_reading(getattr(setting.model, "data", None))
    further(name, setting.model, setting.methods)
    return module


def default_ladder(model: Model) -> tuple[int, ...]:
    """The N at which a model is studied unless others are named, smallest first."""
    if not isinstance(model, AdoptedModel):
        return LADDER
    units = model.size
    return (units, _TIMES * units) if model.grows else (units,)


def _ladder(model: Model, n: Sequence[int] | int, replicates: int, seed: object) -> tuple[int, ...]:
    """The ladder that was asked for; refuses numbers that cannot be used."""
    asked = list(np.ravel(np.asarray(n, object)))
    found = [
        f"n={shown(one)}: expected integers from 2 to {MOST:,}, as in n=[50, 200]"
        for one in asked
        if not isinstance(one, int | np.integer) or not 2 <= int(one) <= MOST
    ]
    if not isinstance(replicates, int | np.integer) or not _LEAST <= int(replicates) <= MOST:
        found.append(f"replicates={shown(replicates)}: expected {_LEAST} or more, to {MOST:,}")
    refuse(found)
    check_seed(seed)
    return tuple(sorted({int(one) for one in asked})) or default_ladder(model)


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
    """
    workers = workers or here(module, setting)
    sums = {n: _Sum() for n in units}
    sizes = {n: _size(setting, n, workers.memory) for n in units}
    total = 0
    while True:
        before, total = total, min(max(2 * total, FIRST), replicates)
        works = [  # which begin at the same places for every budget
            Work(n, first, min(first + sizes[n], total))
            for n in reversed(units)
            for first in range(before, total, sizes[n])
        ]
        _fill(module, setting, works, sums, store, progress, workers, keep)
        summaries = _summaries(sums)
        verdicts = at_tolerance(module.judge(setting, summaries), setting.tolerance)
        if total >= replicates or not {one.outcome for one in verdicts} & _OPEN:
            break
    name = module.__name__.rpartition(".")[2]
    if not verdicts:
        raise FitError(f"{name} has nothing to say of {setting.model.name}")
    others = tuple(vars(module).get("descriptive", lambda *_: ())(setting, summaries))
    statement, model = inspect.getdoc(module) or name, setting.model
    failures = {n: dict(sums[n].failures) for n in units if sums[n].failures}
    return Study(name, statement, model, tuple(units), total, verdicts, failures, others)


def _size(setting: Setting, n: int, memory: int) -> int:
    """Replicates of a batch, as many as the memory holds."""
    rng = np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(n, 0)))
    bytes_each = setting.model.simulate(rng, setting.model.truth, n).nbytes
    size = min(BATCH, int(_SHARE * memory / bytes_each))
    if size < 1:
        raise ConfigError(
            f"--n {n}: a data set of {bytes_each / 2**20:,.0f} MiB is too large for a worker that "
            f"has {memory / 2**20:,.0f} MiB of memory. Use fewer units or fewer --jobs."
        )
    return size


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
    if keep is not None:  # of these settings, seed and code alone
        keep = keep[0], f"{keep[1]}/{digest(source)[:12]}"
    total = sum(work.stop - work.start for work in works)
    done, missing = 0, []
    for work in works:
        stored = store.load_json({**source, "work": work}, partial(_kept, work))
        if stored is not None and (keep is None or keep[0].intact(_raw(keep[1], work))):
            sums[work.n].add(work, stored, {})
            done += work.stop - work.start
        else:
            missing.append(work)
    if done:
        progress("kept from before", done, total)
    for work, (arrays, failures) in workers.measured(missing):
        columns = {name: Moments.of(x) for name, x in arrays.items()}
        if keep is not None and arrays:
            _write_raw(*keep, setting, work, arrays)
        if not failures:  # failures are never stored
            plain = {name: moments.plain for name, moments in columns.items()}
            store.save_json({**source, "work": work}, plain)
        sums[work.n].add(work, columns, failures)
        done += work.stop - work.start
        progress(f"N = {work.n}", done, total)


def _kept(work: Work, stored: Mapping[str, Any]) -> dict[str, Moments]:
    """The moments of a batch from the store."""
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
    with disk(output.path):
        output.write(_raw(folder, work), pd.DataFrame(table).to_parquet())
