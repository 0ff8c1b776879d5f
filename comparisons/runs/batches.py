"""Batches of replicates: measured here or by Dask workers, summarised, kept as they finish.

A batch depends on its replicates' indices alone, and on no other batch nor on who makes it.  A
replicate that fails is counted with its reason and the rest of its batch is kept; the batch of a
worker that dies is made again.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from comparisons.runs.environment import memory_limit
from comparisons.runs.executor import Cluster, LostError, Told
from comparisons.runs.plan import chosen_methods, studied_model
from comparisons.runs.remote import require_same
from comparisons.store.keys import canonical, digest, source_digest, versions
from comparisons.studies import Setting, study
from inference.method import label
from models.data.dataset import content_hash
from models.errors import ConcordError, FitError
from models.errors import told as reason
from models.programs.adopted.model import AdoptedModel

_LOOKS = 6  # replicates looked at singly to tell whether all of a batch fail


class Work(NamedTuple):
    """Replicates `start` to `stop` of n units each."""

    n: int
    start: int
    stop: int


class Measured(NamedTuple):
    """The result of a batch."""

    columns: dict[str, np.ndarray]
    """By name, a row per replicate: NaN where it failed, +∞ where not asked; {} if all failed."""
    failures: dict[str, int]  # how many replicates failed, by reason


class Workers(NamedTuple):
    """Whoever measures batches."""

    memory: int  # bytes that the measurement of one batch has to itself
    measured: Callable[[Sequence[Work]], Iterator[tuple[Work, Measured]]]
    """The batches as they finish; FitError where no replicate of one can be measured."""


def here(module: ModuleType, setting: Setting) -> Workers:
    """This process, one batch after the other, with all of its processors and memory."""
    measure = partial(measured, module, setting)
    return Workers(memory_limit(), lambda works: ((work, measure(work)) for work in works))


def there(cluster: Cluster, described: Mapping[str, Any], told: Told) -> Workers:
    """Dask workers, which measure what is described for `from_spec`; told of those that die."""
    text = json.dumps(described)

    def measure(works: Sequence[Work]) -> Iterator[tuple[Work, Measured]]:
        source = digest(description(*from_spec(text)))
        named = {f"N = {work.n}, replicates from {work.start}": work for work in works}
        tasks = {name: (text, source, tuple(work)) for name, work in named.items()}
        call = f"{__name__}:{measure_spec.__name__}"
        for name, found in cluster.results(call, tasks, told, "its batch"):
            work = named[name]
            if isinstance(found, LostError):
                yield work, Measured({}, {str(found): work.stop - work.start})
            elif isinstance(found, Exception):
                raise found if isinstance(found, ConcordError) else FitError(reason(found))
            else:
                yield work, found

    return Workers(cluster.memory, measure)


def measure_spec(text: str, source: str, work: tuple[int, int, int], **_: object) -> Measured:
    """Measures a batch on a worker, which has the same code, libraries and settings by `source`."""
    module, setting = from_spec(text)
    require_same(description(module, setting), source)
    return measured(module, setting, Work(*work))


def measured(module: ModuleType, setting: Setting, work: Work) -> Measured:
    """A study's columns for some replicates; FitError where what fails is not the replicate's."""

    def attempt(indices: range) -> dict[str, np.ndarray]:
        columns = module.measure(setting, work.n, indices)
        return {name: np.asarray(rows, float) for name, rows in columns.items()}

    everyone = range(work.start, work.stop)
    try:
        return Measured(attempt(everyone), {})
    except Exception as error:  # whatever it is, it is the replicate's or the study's
        # the same failure wherever one looks is none of a replicate
        places = np.unique(np.linspace(0, len(everyone) - 1, _LOOKS).astype(int))
        looks = [next(_singly(attempt, everyone[place : place + 1]))[1] for place in places]
        if len(everyone) > 1 and isinstance(looks[0], str) and looks.count(looks[0]) == len(looks):
            name = module.__name__.rpartition(".")[2]
            raise FitError(
                f"{name} of {setting.model.name} failed at N = {work.n}: {reason(error)}"
            ) from error
    found = dict(_singly(attempt, everyone))
    rows = {index: one for index, one in found.items() if not isinstance(one, str)}
    failures = Counter(one for one in found.values() if isinstance(one, str))
    stacked = {
        name: np.stack([rows[i][name] if i in rows else np.full_like(row, np.nan) for i in found])
        for name, row in next(iter(rows.values()), {}).items()
    }
    return Measured(stacked, dict(failures))


def _singly(
    attempt: Callable[[range], dict[str, np.ndarray]], part: range
) -> Iterator[tuple[int, dict[str, np.ndarray] | str]]:
    """Replicates in order, each with its row of every column, or with the reason of its failure."""
    try:
        columns = attempt(part)
    except Exception as error:  # of a user's program, told and not raised
        if len(part) == 1:
            yield part[0], reason(error)
        else:
            middle = len(part) // 2
            yield from _singly(attempt, part[:middle])
            yield from _singly(attempt, part[middle:])
    else:
        for place, index in enumerate(part):
            yield index, {name: column[place] for name, column in columns.items()}


def description(module: ModuleType, setting: Setting) -> dict[str, object]:
    """Everything a batch depends on but its replicates."""
    model, own = setting.model, None
    if isinstance(model, AdoptedModel):
        own = [content_hash(model.data), canonical(model.truth)]
    study_file = Path(str(module.__file__))
    return {
        "study": module.__name__,
        "model": canonical(model),
        "own": own,
        "seed": setting.seed,
        "methods": canonical(setting.methods),
        "versions": versions(),
        "source": source_digest(type(model), study_file, *map(type, setting.methods)),
    }


@lru_cache(maxsize=8)
def from_spec(text: str) -> tuple[ModuleType, Setting]:
    """The study and the setting of a JSON object that `spec` made."""
    content = json.loads(text)
    model = studied_model(content["model"], content["truth"])
    methods = chosen_methods("quick", content["methods"], {}) if content["methods"] else ()
    return study(content["study"]), Setting(model, content["seed"], methods)


def spec(name: str, model: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """A study, its model by `plan.model_spec`, and its setting in plain JSON types.

    The truth of a user's own programs goes with it: a mode that a worker finds again may differ in
    its last digit.
    """
    own = isinstance(setting.model, AdoptedModel)
    truth = {n: np.asarray(x).tolist() for n, x in setting.model.truth.items()} if own else None
    given = {"seed": setting.seed, "methods": [label(method) for method in setting.methods]}
    return {"study": name, "model": model, "truth": truth, **given}
