"""The claims of the theory, each shown by running it: entries to demonstrations.

An entry's numbers depend on its name, the seed and the effort alone, so that neither the number of
workers nor the order in which they finish changes one.  What was shown is kept, so that an
interrupted run goes on and an unchanged one shows nothing anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from comparisons import theory
from comparisons.exhibits import Curves, Shown, Table
from comparisons.store.keys import digest, source_digest, versions
from comparisons.verdict import Verdict, not_comparable
from models.errors import FitError
from models.programs.density import require_float64
from models.registry import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from comparisons.store.entries import Store

NAME = "theory"
"""What the command line calls all of it."""
EFFORT = {"quick": 1, "standard": 4, "thorough": 16}
"""Multiples of the sample sizes, by profile."""


@final
@dataclass(frozen=True)
class Demonstration:
    """What an entry has shown.

    Attributes:
        name: the entry.
        statement: the theorem, with its conditions and reference.
        shown: claims, figures and tables, in their order.
        failure: why it ended early; "" if it did not.
    """

    name: str
    statement: str
    shown: tuple[Shown, ...]
    failure: str = ""

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
    seed: int, effort: int, store: Store, client: Any, told: Callable[[str, str, float], None]
) -> list[Demonstration]:
    """Everything there is to show, alphabetical.

    Args:
        seed: of every random stream.
        effort: the multiple of all sample sizes.
        store: where what was shown is kept; what failed is not.
        client: a Dask client whose workers show it; None: this process.
        told: told of (`fit`, `fitted`, `stored` or `failed`; the entry; seconds).

    Raises:
        StoreError: the store cannot be read or written.
    """
    found: dict[str, Demonstration] = {}
    missing = []
    for name in catalogue():
        content = store.load_json(_description(name, seed, effort))
        if content is None:
            missing.append(name)
        else:
            found[name] = _demonstration(name, content)
            told("stored", name, 0.0)
    shown = (
        _here(missing, seed, effort, told)
        if client is None
        else _there(missing, seed, effort, client)
    )
    for name, content, seconds in shown:
        found[name] = _demonstration(name, content)
        if content["failure"]:
            told("failed", name, seconds)
        else:
            store.save_json(_description(name, seed, effort), content)
            told("fitted", name, seconds)
    return [found[name] for name in catalogue()]


def content(name: str, seed: int, effort: int) -> dict[str, Any]:
    """What an entry shows, in plain JSON types: a failure is data, and keeps what came before."""
    require_float64()
    # by name, not by place: a new entry changes no number of the others
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(word,)))
    shown, failure = [], ""
    try:
        for one in catalogue()[name].show(rng, effort):
            shown += [{"kind": type(one).__name__, **dataclasses.asdict(one)}]
    except Exception as error:  # whatever it is, the other entries go on
        failure = f"{type(error).__name__}: {error}"
    return json.loads(json.dumps({"shown": shown, "failure": failure}, default=_plain))


def _here(
    names: list[str], seed: int, effort: int, told: Callable[[str, str, float], None]
) -> Iterator[tuple[str, dict[str, Any], float]]:
    for name in names:
        told("fit", name, 0.0)
        began = time.perf_counter()
        found = content(name, seed, effort)
        yield name, found, time.perf_counter() - began


def _there(
    names: list[str], seed: int, effort: int, client: Any
) -> Iterator[tuple[str, dict[str, Any], float]]:
    from dask.distributed import as_completed

    from comparisons.runs.remote import demonstration

    futures = {
        client.submit(demonstration, name, seed, effort, digest(source(name)), pure=False): name
        for name in names
    }
    try:
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                yield futures[future], *future.result()
            else:
                failure = f"{type(error).__name__}: {error}"
                yield futures[future], {"shown": [], "failure": failure}, 0.0
    finally:
        client.cancel(list(futures))


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
        return Verdict(**fields)
    if content["kind"] == "Table":
        rows = tuple(map(tuple, fields["rows"]))
        return Table(fields["title"], tuple(fields["columns"]), rows)
    return Curves(**fields)


def source(name: str) -> dict[str, object]:
    """Code and libraries that an entry's numbers come from."""
    entry = Path(str(catalogue()[name].__file__))
    return {"versions": versions(), "source": source_digest(entry)}


def _description(name: str, seed: int, effort: int) -> dict[str, object]:
    return {NAME: name, "seed": seed, "effort": effort, **source(name)}
