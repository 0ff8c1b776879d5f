"""Every `x.py` beside this file that defines `compare(case)` is a comparison."""

import inspect
from collections.abc import Sequence
from types import ModuleType

import comparisons.claims
from comparisons.claims import GATE
from models.errors import did_you_mean, refuse
from models.registry import entries


def chosen(names: Sequence[str] = ()) -> dict[str, ModuleType]:
    """The comparisons named, all if none is, alphabetical; the gate is always first."""
    catalogue = {
        name: module
        for name, module in entries(comparisons.claims).items()
        if "compare" in vars(module)
    }
    mistakes = [
        f"unknown comparison {name!r}.{did_you_mean(name, catalogue)}"
        for name in names
        if name not in catalogue
    ]
    refuse(mistakes)
    rest = [name for name in catalogue if name != GATE and (not names or name in names)]
    return {name: catalogue[name] for name in (GATE, *rest)}


def title(module: ModuleType) -> str:
    """The first line of a comparison's statement."""
    return (inspect.getdoc(module) or module.__name__).partition("\n")[0].rstrip(".")
