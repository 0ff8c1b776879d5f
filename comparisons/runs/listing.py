"""Every entry there is, one line each: a name and what it is."""

from collections.abc import Iterator

import models.catalogue
from comparisons.claims import GATE
from comparisons.runs.plan import chosen, title
from comparisons.runs.theory import NAME, catalogue
from comparisons.studies import studies
from inference.catalogue import catalogue as methods
from inference.method import label, not_installed, variants
from models.data.files import bundled, bundled_names
from models.registry import lookup, subclasses
from models.spec import Model

_KINDS = ("models", "methods", "comparisons", "studies", "theory", "data")


def listing(kind: str | None) -> Iterator[str]:
    """The lines of a list, or of every list under its name."""
    if kind is not None:
        lookup("list", kind, dict.fromkeys(_KINDS))  # refuses another one
        yield from (f"{name:<28} {text}" for name, text in _entries(kind))
        return
    for number, one in enumerate(_KINDS):
        yield f"{'\n' if number else ''}{one}:"
        yield from (f"  {name:<28} {text}" for name, text in _entries(one))


def _entries(kind: str) -> Iterator[tuple[str, str]]:
    """The names of a list, each with a few words."""
    match kind:
        case "models":
            for name, cls in subclasses(models.catalogue, Model).items():
                yield name, title(cls)
        case "methods":
            yield from _methods()
        case "comparisons":
            for name, module in sorted(chosen().items()):
                yield name, title(module) + (" (always made first)" if name == GATE else "")
        case "studies":
            yield from ((name, title(module)) for name, module in studies().items())
            yield NAME, "Every claim of the theory, shown by running it"
        case "theory":
            yield from ((name, title(module)) for name, module in catalogue().items())
        case "data":
            for name in bundled_names():
                table = bundled(name)
                yield name, f"{len(table)} rows: {', '.join(map(str, table.columns))}"


def _methods() -> Iterator[tuple[str, str]]:
    for name, cls in methods().items():
        yield name, title(cls)
        labels = ", ".join(label(method) for method in variants(cls, "standard"))
        if labels != name:
            yield "", f"variants: {labels}"
        if missing := not_installed(cls):
            yield "", missing
