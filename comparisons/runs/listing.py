"""Every entry there is, one line each: a name and what it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import models.catalogue
from comparisons.claims import GATE
from comparisons.runs.selection import chosen, title
from comparisons.runs.theory import NAME, catalogue
from comparisons.studies import studies
from inference.catalogue import catalogue as methods
from inference.method import label, variants
from models.data.files import bundled, bundled_names
from models.registry import lookup, subclasses
from models.spec import Model


def listing(kind: str | None) -> Iterator[str]:
    """The lines of a list, or of every list under its name.

    Raises:
        ConfigError: there is no such list.
    """
    kinds: dict[str, Callable[[], Iterator[str]]] = {
        "models": _models,
        "methods": _methods,
        "comparisons": _comparisons,
        "studies": _studies,
        "theory": _theory,
        "data": _data,
    }
    if kind is not None:
        yield from lookup("list", kind, kinds)()
        return
    for number, (name, lines) in enumerate(kinds.items()):
        yield f"{'\n' if number else ''}{name}:"
        yield from (f"  {line}" for line in lines())


def _models() -> Iterator[str]:
    for name, cls in subclasses(models.catalogue, Model).items():
        yield f"{name:<28} {_first_line(cls)}"


def _methods() -> Iterator[str]:
    for name, cls in methods().items():
        labels = ", ".join(label(method) for method in variants(cls, "standard"))
        yield f"{name:<28} {_first_line(cls)}"
        if labels != name:
            yield f"{'':<28} variants: {labels}"


def _comparisons() -> Iterator[str]:
    for name, module in sorted(chosen().items()):
        always = " (always made first)" if name == GATE else ""
        yield f"{name:<28} {title(module)}{always}"


def _studies() -> Iterator[str]:
    for name, module in studies().items():
        yield f"{name:<28} {title(module)}"
    yield f"{NAME:<28} Every claim of the theory, shown by running it"


def _theory() -> Iterator[str]:
    for name, module in catalogue().items():
        yield f"{name:<28} {title(module)}"


def _data() -> Iterator[str]:
    for name in bundled_names():
        table = bundled(name)
        yield f"{name:<28} {len(table)} rows: {', '.join(map(str, table.columns))}"


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]
