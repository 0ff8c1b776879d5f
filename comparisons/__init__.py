"""Fits that must agree, and why: claims of one data set, studies of repeated ones, the theory."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comparisons import distances, testing
    from comparisons.case import Case
    from comparisons.posteriors import SamePosterior, same_posterior
    from comparisons.runs.check import Checked, check
    from comparisons.runs.comparison import Comparison, compare
    from comparisons.runs.conduct import study
    from comparisons.studies import Study
    from comparisons.verdict import Verdict

_HOMES = {
    "Case": "case",
    "Checked": "runs.check",
    "Comparison": "runs.comparison",
    "SamePosterior": "posteriors",
    "Study": "studies",
    "Verdict": "verdict",
    "check": "runs.check",
    "compare": "runs.comparison",
    "same_posterior": "posteriors",
    "study": "runs.conduct",
}
"""The module in which each public name is defined that is none itself."""

__all__ = [
    "Case",
    "Checked",
    "Comparison",
    "SamePosterior",
    "Study",
    "Verdict",
    "check",
    "compare",
    "distances",
    "same_posterior",
    "study",
    "testing",
]


def __getattr__(name: str) -> object:
    """A public name, loaded when first asked for."""
    if name not in __all__:
        raise AttributeError(
            f"module 'comparisons' has no attribute {name!r}; see dir(comparisons)"
        )
    home = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return getattr(home, name) if name in _HOMES else home


def __dir__() -> list[str]:
    """Every public name."""
    return list(__all__)
