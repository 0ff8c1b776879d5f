"""The registry of studies of repeated data sets: every file is one theorem."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comparisons.studies._study import (
        Descriptive,
        Number,
        Setting,
        Study,
        Summaries,
        further,
        studies,
        study,
    )

__all__ = [
    "Descriptive",
    "Number",
    "Setting",
    "Study",
    "Summaries",
    "further",
    "studies",
    "study",
]


def __getattr__(name: str) -> object:
    """A public name, loaded when it is first used."""
    if name in __all__:
        return getattr(import_module("comparisons.studies._study"), name)
    raise AttributeError(f"module 'comparisons.studies' has no attribute {name!r}")
