"""The claims of the theory, each shown by running it: entries to demonstrations.

An entry's numbers depend on its name, the seed and the effort alone.  What was shown is kept, so
that an interrupted run goes on and an unchanged one shows nothing anew.
"""

import dataclasses
import hashlib
import inspect
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np
from pydantic import TypeAdapter

from comparisons import theory
from comparisons.case import Progress
from comparisons.exhibits import Curves, Shown, Table
from comparisons.runs.executor import Executor
from comparisons.runs.remote import require_same
from comparisons.store.entries import Store
from comparisons.store.keys import digest, source_digest, versions
from comparisons.verdict import Verdict, not_comparable
from models.errors import FitError
from models.errors import told as reason
from models.programs.density import require_float64
from models.registry import entries

NAME = "theory"  # the name of all of it on the command line
_VERDICT = TypeAdapter(Verdict)
EFFORT = {"quick": 1, "standard": 4, "thorough": 16}  # multiples of the sample sizes, by profile


@final
@dataclass(frozen=True)
class Demonstration:
    """All that an entry has shown."""

    name: str
    statement: str  # the theorem, with its conditions and reference
    shown: tuple[Shown, ...]  # claims, figures and tables, in their order
    failure: str = ""  # why it ended early; "" if it did not

    @property
    def claims(self) -> list[Verdict]:
        """The claims; an entry that failed has one more, which says so."""
        found = [shown for shown in self.shown if isinstance(shown, Verdict)]
        if self.failure:
            statement = f"Every claim of {self.name} can be shown."
            rest = f"the rest of {self.name}"
            found.append(not_comparable(rest, self.failure, statement=statement))
        return found


def catalogue() -> dict[str, ModuleType]:
    """The entries by name, alphabetical."""
    return entries(theory)


def demonstrations(
    seed: int,
    effort: int,
    store: Store,
    executor: Executor,
    told: Progress,
) -> list[Demonstration]:
    """Everything there is to show, alphabetical.

    Args:
        seed: of every random stream.
        effort: the multiple of all sample sizes.
        store: where what was shown is kept; what failed is not.
        executor: who shows it.
        told: told of (`fit`, `fitted`, `stored` or `failed`; the entry; seconds), and of
            (`warning`; a message; 0).
    """
    found: dict[str, Demonstration] = {}
    tasks = {}
    for name in catalogue():
        description = _description(name, seed, effort)
        stored = store.load_json(description, partial(_demonstration, name))
        if stored is None:
            tasks[name] = (name, seed, effort, digest(source(name)))
        else:
            found[name] = stored
            told("stored", name, 0.0)

    def listen(task: str, event: str, name: str, seconds: float) -> None:
        if event != "ended":  # what became of it is known here
            told(event, name, seconds)

    for name, content in executor.results(f"{__name__}:{_show.__name__}", tasks, listen):
        if isinstance(content, Exception):
            content = {"shown": [], "failure": reason(content), "seconds": 0.0}
        seconds = content.pop("seconds")
        found[name] = _demonstration(name, content)
        if not content["failure"]:
            store.save_json(_description(name, seed, effort), content)
        told("failed" if content["failure"] else "fitted", name, seconds)
    return [found[name] for name in catalogue()]


def _show(
    name: str,
    seed: int,
    effort: int,
    expected: str,
    *,
    skip: Mapping[str, str],
    tell: Progress,
) -> dict[str, Any]:
    """The `content` of an entry and the `seconds` that it took, on a worker.

    Refused where its source has another digest than `expected`; `skip` says why it is left out.
    """
    require_same(source(name), expected)
    if name in skip:
        return {"shown": [], "failure": skip[name], "seconds": 0.0}
    tell("fit", name, 0.0)
    began = time.perf_counter()
    return {**content(name, seed, effort), "seconds": time.perf_counter() - began}


def content(name: str, seed: int, effort: int) -> dict[str, Any]:
    """All that an entry shows, in JSON types: a failure is data, and keeps what came before."""
    require_float64()
    # by name, not by place: a new entry changes no number of the others
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(word,)))
    shown, failure = [], ""
    try:
        for one in catalogue()[name].show(rng, effort):
            shown += [{"kind": type(one).__name__, **dataclasses.asdict(one)}]
    except Exception as error:  # an entry runs libraries and users' models; the others go on
        failure = reason(error)
    return json.loads(json.dumps({"shown": shown, "failure": failure}, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise FitError(f"a theory entry shows a {type(value).__name__}; expected numbers and strings")


def _demonstration(name: str, content: Mapping[str, Any]) -> Demonstration:
    statement = inspect.getdoc(catalogue()[name]) or name
    return Demonstration(name, statement, tuple(map(_read, content["shown"])), content["failure"])


def _read(content: Mapping[str, Any]) -> Shown:
    fields = {name: value for name, value in content.items() if name != "kind"}
    if content["kind"] == "Verdict":
        return _VERDICT.validate_python(fields)
    if content["kind"] == "Table":
        rows = tuple(map(tuple, fields["rows"]))
        return Table(fields["title"], tuple(fields["columns"]), rows)
    for one in (*fields["measured"].values(), *fields["theory"].values()):
        np.asarray(one, float)  # refuses what is no line
    return Curves(**fields)


def source(name: str) -> dict[str, object]:
    """Code and libraries that an entry's numbers come from."""
    entry = Path(str(catalogue()[name].__file__))
    return {"versions": versions(), "source": source_digest(entry)}


def _description(name: str, seed: int, effort: int) -> dict[str, object]:
    return {NAME: name, "seed": seed, "effort": effort, **source(name)}
