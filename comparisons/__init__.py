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
    "Case": "comparisons.case",
    "Checked": "comparisons.runs.check",
    "Comparison": "comparisons.runs.comparison",
    "SamePosterior": "comparisons.posteriors",
    "Study": "comparisons.studies",
    "Verdict": "comparisons.verdict",
    "check": "comparisons.runs.check",
    "compare": "comparisons.runs.comparison",
    "distances": "",
    "same_posterior": "comparisons.posteriors",
    "study": "comparisons.runs.conduct",
    "testing": "",
}
"""Where each public name is defined; "" where it is a module of this package."""

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
    if name not in _HOMES:
        raise AttributeError(
            f"module 'comparisons' has no attribute {name!r}; see dir(comparisons)"
        )
    home = _HOMES[name]
    return getattr(import_module(home), name) if home else import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Every public name."""
    return list(_HOMES)
