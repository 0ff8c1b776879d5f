"""Every method beside the reference: shifts and ratios of sd, with what its intervals hold.

The grades are those that `posterior_agreement` publishes (`comparisons.grades`); without them the
shifts and ratios stand alone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

from comparisons.grades import Grade, from_table
from comparisons.reference import reference, scalars
from comparisons.report.result import CaseResult
from comparisons.verdict import OUTCOMES, Outcome, Verdict
from inference.estimate import Scalar
from inference.method import Method, label

NOTABLE = 6
"""Scalars in figures that show every method."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One method against the reference at one scalar.

    Attributes:
        shift: location less the reference's, in reference standard deviations.
        shift_error: its Monte Carlo standard error.
        ratio: standard deviation over the reference's.
        ratio_error: its Monte Carlo standard error.
        holds: what the method's 95 % interval holds of the reference posterior; NaN if unknown.
        holds_error: its Monte Carlo standard error.
        mark: the grade; "" if it has none.
        cause: what makes the grade, or why there is none.
    """

    shift: float
    shift_error: float
    ratio: float
    ratio_error: float
    holds: float = math.nan
    holds_error: float = math.nan
    mark: str = ""
    cause: str = ""


class Agreement(NamedTuple):
    """Every method against the reference, None if none can be relied on.

    The scalars are the flat names of the distinct ones, those of the reference if there is one; the
    cells are by scalar, and empty without a reference.
    """

    reference: Method | None
    scalars: tuple[str, ...]
    cells: Mapping[Method, Mapping[str, Cell]]


def published_grades(result: CaseResult) -> list[Grade]:
    """The grades of a case; none where `posterior_agreement` was not asked for."""
    table = result.figures.get("posterior_agreement")
    return [] if table is None else from_table(table)


def agreement(result: CaseResult) -> Agreement:
    """Every method against the reference, at every distinct scalar."""
    numbers = {method: scalars(result.model, fit) for method, fit in result.estimates.items()}
    against = reference(result.estimates)
    if against is None:
        largest = max(numbers.values(), key=len, default={})
        return Agreement(None, tuple(largest), {})
    graded = {(grade.method, grade.parameter): grade for grade in published_grades(result)}
    truth = numbers.pop(against)
    cells: dict[Method, dict[str, Cell]] = {}
    for method, own in numbers.items():
        problems = "; ".join(result.estimates[method].problems)
        cells[method] = {
            name: _cell(one, truth[name], graded.get((label(method), name)), problems)
            for name, one in own.items()
            if name in truth
        }
    return Agreement(against, tuple(truth), cells)


def _cell(one: Scalar, truth: Scalar, grade: Grade | None, problems: str) -> Cell:
    shift, ratio = (one.location - truth.location) / truth.sd, one.sd / truth.sd
    shift_error = math.hypot(one.location_error, truth.location_error) / truth.sd
    ratio_error = math.hypot(one.sd_error, ratio * truth.sd_error) / truth.sd
    numbers = shift, shift_error, ratio, ratio_error
    if grade is None:
        return Cell(*numbers, cause=problems)
    return Cell(*numbers, grade.holds, grade.holds_error, grade.mark, grade.cause)


def notable(found: Agreement, most: int = NOTABLE) -> tuple[str, ...]:
    """At most so many scalars: those on which the methods differ most, in their own order."""
    if len(found.scalars) <= most:
        return found.scalars

    def disagreement(name: str) -> float:
        cells = [cells[name] for cells in found.cells.values() if name in cells]
        sizes = [abs(cell.shift) for cell in cells]
        sizes += [abs(math.log(cell.ratio)) for cell in cells if cell.ratio > 0]
        return max((size for size in sizes if math.isfinite(size)), default=0.0)

    chosen = sorted(found.scalars, key=disagreement, reverse=True)[:most]
    return tuple(name for name in found.scalars if name in chosen)


def counts(verdicts: Iterable[Verdict]) -> dict[Outcome, int]:
    """How many there are of each outcome, those of zero included."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def summary(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of the outcomes that could be compared."""
    found = set(outcomes)
    for outcome in ("DIFFER", "UNSURE", "EXPLAINED", "CONSISTENT", "AGREE"):
        if outcome in found:
            return outcome
    return "NOT COMPARABLE"


def family_name(method: Method) -> str:
    """A method's name with its family, the same in both languages: `gaussian_vi[mean_field]`."""
    return f"{method.name}[{method.family}]" if method.family else method.name
