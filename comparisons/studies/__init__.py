"""The registry of studies of repeated data sets: every file is one theorem."""

import sys
from collections.abc import Sequence
from types import ModuleType

from comparisons.studies._study import Descriptive, Number, Setting, Study, Summaries
from inference.method import Method, label, refusal
from models.errors import refuse
from models.registry import entries, lookup
from models.spec import Model

__all__ = ["Descriptive", "Number", "Setting", "Study", "Summaries", "further", "studies", "study"]


def studies() -> dict[str, ModuleType]:
    """Every entry that defines `measure` and `judge`, by name, alphabetical."""
    found = entries(sys.modules[__name__]).items()
    return {name: module for name, module in found if {"measure", "judge"} <= vars(module).keys()}


def study(name: str) -> ModuleType:
    """The study of a name; a ConfigError if there is none."""
    return lookup("study", name, studies())


def further(name: str, model: Model, methods: Sequence[Method]) -> None:
    """Refuses methods that a study of a model cannot take besides its own."""
    mistakes = []
    takers = [study for study, module in studies().items() if "TAKES_METHODS" in vars(module)]
    if methods and name not in takers:
        listed = ", ".join(takers)
        mistakes.append(f"--methods is for the studies {listed}; {name} has methods of its own")
    for method in methods:
        reason = refusal(method, model)
        if method.target != "posterior":
            reason = "it has no posterior draws"
        if reason:
            mistakes.append(f"--methods {label(method)}: {reason}")
    refuse(mistakes)
