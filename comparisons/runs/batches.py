"""Batches of replicates: measured here or by Dask workers, summarised, kept as they finish.

A batch depends on its replicates' indices alone, so that neither the number of workers nor the
order in which they finish changes a number.  A replicate that fails is counted with its reason and
the rest of its batch is kept; a worker that dies costs the batch it was at, which another one makes
again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, final

import numpy as np

from comparisons.runs.environment import memory_limit
from comparisons.runs.executor import LostError
from comparisons.runs.remote import require_same
from comparisons.store.keys import canonical, digest, source_digest, versions
from inference.method import label
from models.capabilities import HasOwnPrograms
from models.data.dataset import content_hash
from models.errors import ConcordError, FitError, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from comparisons.runs.executor import Cluster, Told
    from comparisons.studies import Setting
    from models.spec import Model

_LOOKS = 6
"""Replicates looked at singly to tell whether all of a batch fail."""


class Work(NamedTuple):
    """Replicates `start` to `stop` of n units each."""

    n: int
    start: int
    stop: int


class Measured(NamedTuple):
    """The result of a batch."""

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
class There:
    """Dask workers."""

    def __init__(self, cluster: Cluster, described: Mapping[str, Any], told: Told) -> None:
        """Measures what is described for `from_spec`, and tells of workers that die."""
        self._cluster = cluster
        self._spec = json.dumps(described)
        self._told = told

    @property
    def memory(self) -> int:
        """The least that a worker may use."""
        return self._cluster.memory

    def measured(self, works: Sequence[Work]) -> Iterator[tuple[Work, Measured]]:
        """The batches as they finish."""
        source = digest(description(*from_spec(self._spec)))
        named = {f"N = {work.n}, replicates from {work.start}": work for work in works}
        tasks = {name: (self._spec, source, tuple(work)) for name, work in named.items()}
        call = f"{__name__}:{measure_spec.__name__}"
        for name, found in self._cluster.results(call, tasks, self._told, "its batch"):
            work = named[name]
            if isinstance(found, LostError):
                yield work, Measured({}, {str(found): work.stop - work.start})
            elif isinstance(found, Exception):
                raise found if isinstance(found, ConcordError) else FitError(told(found))
            else:
                yield work, found


def measure_spec(
    spec: str,
    source: str,
    work: tuple[int, int, int],
    *,
    skip: Mapping[str, str],
    tell: Callable[[str, str, float], None],
) -> Measured:
    """Measures a batch on a worker.

    Args:
        spec: what `from_spec` reads.
        source: digest of the code, libraries and settings that the numbers must come from.
        work: the fields of a `Work`.
        skip: nothing, since a batch has no parts.
        tell: not needed.

    Raises:
        ConfigError: the source is another one here.
    """
    module, setting = from_spec(spec)
    require_same(description(module, setting), source)
    return measured(module, setting, Work(*work))


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
                f"{name} of {setting.model.name} failed at N = {work.n}: {told(error)}"
            ) from error
    rows: dict[int, dict[str, np.ndarray]] = {}
    failures: Counter[str] = Counter()
    waiting = [everyone]
    while waiting:
        part = waiting.pop()
        try:
            columns = attempt(part)
        except Exception as error:  # whatever it is, it is counted with its reason
            if len(part) == 1:
                failures[told(error)] += 1
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
    except Exception as error:  # of a user's program, told and not raised
        return told(error)
    return ""


def description(module: ModuleType, setting: Setting) -> dict[str, object]:
    """Everything a batch depends on but its replicates."""
    return {
        "study": module.__name__,
        "model": canonical(setting.model),
        "own": _own(setting.model),
        "seed": setting.seed,
        "methods": canonical(setting.methods),
        "versions": versions(),
        "source": source_digest(
            type(setting.model),
            Path(str(module.__file__)),
            *map(type, setting.methods),
        ),
    }


def _own(model: Model) -> object:
    """The data and the truth of a user's own programs; None of a model that is a value."""
    if not isinstance(model, HasOwnPrograms):
        return None
    return [content_hash(model.data), canonical(model.truth)]


@lru_cache(maxsize=8)
def from_spec(spec: str) -> tuple[ModuleType, Setting]:
    """The study and the setting of a JSON object that `spec` made."""
    from comparisons.runs.plan import chosen_methods, studied_model
    from comparisons.studies import Setting, study

    content = json.loads(spec)
    model = studied_model(content["model"], content["truth"])
    methods = chosen_methods("quick", content["methods"], {}) if content["methods"] else ()
    return study(content["study"]), Setting(model, content["seed"], methods)


def spec(name: str, model: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """A study and a setting in plain JSON types, which `from_spec` reads.

    The truth of a user's own programs goes with it: a mode that a worker finds again may differ in
    its last digit.

    Args:
        name: the study.
        model: how to build the model, of `plan.studied_spec`.
        setting: what is studied.
    """
    own = isinstance(setting.model, HasOwnPrograms)
    truth = {n: np.asarray(x).tolist() for n, x in setting.model.truth.items()} if own else None
    return {
        "study": name,
        "model": model,
        "truth": truth,
        "seed": setting.seed,
        "methods": [label(method) for method in setting.methods],
    }
