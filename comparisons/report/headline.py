"""The answer of a page: which cheap methods agree with the reference, and by how much not.

Every method is held against the reference by the rule of `comparisons.verdict`: its centre in
units of the reference's standard deviation, its spread as a ratio.  Where `posterior_agreement` has
judged the same pair, its verdict (which may know a theory) is the one shown.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from comparisons.policy import POSTERIOR
from comparisons.reference import Scalar, scalars
from comparisons.report.result import CaseResult
from comparisons.runs.selection import GATE
from comparisons.verdict import Outcome, Verdict
from inference.estimate import Estimate

OUTCOMES: tuple[Outcome, ...] = ("AGREE", "EXPLAINED", "DIFFER", "UNSURE", "NOT COMPARABLE")
"""In the order in which they are counted."""

NOTABLE = 6
"""Scalars in figures that show every method."""

_EXPENSIVE = ("nuts", "exact_posterior")


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One method against the reference at one scalar.

    Attributes:
        shift: centre less the reference's, in reference standard deviations.
        shift_error: its Monte Carlo standard error.
        ratio: spread over the reference's.
        ratio_error: its Monte Carlo standard error.
        center: the verdict on the centre.
        spread: the verdict on the spread.
        cause: what explains the verdicts, or why there are none.
    """

    shift: float
    shift_error: float
    ratio: float
    ratio_error: float
    location: Outcome
    sd: Outcome
    cause: str


@final
@dataclass(frozen=True, slots=True)
class Agreement:
    """Every method against the reference.

    Attributes:
        reference: label of the method the others are held against; "" if none can be relied on.
        scalars: flat names of the distinct scalars, those of the reference if there is one.
        cells: by label of the method, then by scalar; empty without a reference.
    """

    reference: str
    scalars: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]


class Answer(NamedTuple):
    """What the first screen says."""

    headline: str
    trusted: tuple[str, ...]
    """Cheap methods that agree in centre and spread."""


def reference(result: CaseResult) -> str:
    """The exact posterior, else the first NUTS run without problems, else ""."""
    ranked = [name for name in result.estimates if base(name) == "exact_posterior"]
    ranked += [name for name in result.estimates if base(name) == "nuts"]
    return next((name for name in ranked if not result.estimates[name].problems), "")


def base(label: str) -> str:
    """The method's name without its variant: `nuts` of `nuts[pymc]`."""
    return label.partition("[")[0]


def without_engine(label: str) -> str:
    """`gaussian_vi[mean_field]` of `gaussian_vi[pymc, mean_field]`, `nuts` of `nuts[pymc]`."""
    return re.sub(r"\[\]$", "", re.sub(r"\b(numpyro|pymc)\b(, )?", "", label))


def agreement(result: CaseResult) -> Agreement:
    """Every method against the reference, at every distinct scalar."""
    numbers = {name: scalars(result.model, fit) for name, fit in result.estimates.items()}
    against = reference(result)
    if not against:
        largest = max(numbers.values(), key=len, default={})
        return Agreement("", tuple(largest), {})
    judged = {verdict.about: verdict for verdict in result.verdicts.get("posterior_agreement", ())}
    truth = numbers[against]
    cells = {
        name: {
            scalar: _cell(fit, one, truth[scalar], _pair(judged, scalar, name, against))
            for scalar, one in numbers[name].items()
            if scalar in truth
        }
        for name, fit in result.estimates.items()
        if name != against
    }
    return Agreement(against, tuple(truth), cells)


def _pair(
    judged: Mapping[str, Verdict], scalar: str, name: str, against: str
) -> tuple[Verdict | None, Verdict | None]:
    location = judged.get(f"mean of {scalar}: {name} − {against}")
    return location, judged.get(f"sd of {scalar}: {name} − {against}")


def _cell(
    fit: Estimate, one: Scalar, truth: Scalar, judged: tuple[Verdict | None, Verdict | None]
) -> Cell:
    unit = truth.sd
    shift = (one.location - truth.location) / unit
    shift_error = math.hypot(one.location_error, truth.location_error) / unit
    ratio = one.sd / unit
    ratio_error = math.hypot(one.sd_error, ratio * truth.sd_error) / unit
    location = judged[0] or Verdict("", shift, 0.0, shift_error, POSTERIOR)
    sd = judged[1] or Verdict("", ratio, 1.0, ratio_error, POSTERIOR)
    if fit.problems:
        reason = "; ".join(fit.problems)
        return Cell(
            shift, shift_error, ratio, ratio_error, "NOT COMPARABLE", "NOT COMPARABLE", reason
        )
    causes = dict.fromkeys(
        verdict.cause
        for verdict in (location, sd)
        if verdict.cause and verdict.outcome in ("EXPLAINED", "NOT COMPARABLE")
    )
    if math.isnan(ratio):
        causes["its spread is undefined"] = None
    return Cell(
        shift, shift_error, ratio, ratio_error, location.outcome, sd.outcome, "; ".join(causes)
    )


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
    """What a set of outcomes amounts to: the worst of those that could be compared."""
    found = set(outcomes)
    for outcome in ("DIFFER", "EXPLAINED", "UNSURE", "AGREE"):
        if outcome in found:
            return outcome
    return "NOT COMPARABLE"


def worst_shift(cells: Mapping[str, Cell]) -> tuple[str, Cell] | None:
    """The scalar at which the centre is furthest off."""
    known = [(name, cell) for name, cell in cells.items() if not math.isnan(cell.shift)]
    return max(known, key=lambda item: abs(item[1].shift), default=None)


def answer(result: CaseResult, found: Agreement) -> Answer:
    """The sentence a reader takes away, from the verdicts."""
    gate = [v for v in result.verdicts.get(GATE, ()) if v.outcome != "AGREE"]
    if gate and not result.estimates:
        return Answer(
            f"The two programs are not shown to be one model ({gate[0].about}), so nothing was "
            "fitted.",
            (),
        )
    if not found.reference:
        return Answer(
            "No sampler of the posterior passed its checks, so nothing here vouches for the cheap "
            "methods.",
            (),
        )
    kinds = {name: _kind(cells) for name, cells in found.cells.items()}
    # of the expensive ones only what speaks against them is news
    kinds = {
        name: kind
        for name, kind in kinds.items()
        if base(name) not in _EXPENSIVE or kind not in ("both", "location")
    }
    parts = []
    for kind, words in (
        ("both", "trust {} for centre and spread"),
        ("location", "trust only the centre of {}"),
        ("off", "do not trust {}"),
        ("explained", "off as theory predicts: {}"),
        ("unsure", "too few draws to tell: {}"),
        ("unknown", "not judged: {}"),
    ):
        chosen = [name for name, found_kind in kinds.items() if found_kind == kind]
        if chosen:
            parts.append(words.format(_names(chosen, kinds)))
    trusted = tuple(name for name, kind in kinds.items() if kind == "both")
    if not any(base(name) not in _EXPENSIVE for name in kinds):
        parts.append("no cheap method was fitted")
    return Answer(f"Held against {found.reference}: {'; '.join(parts)}.", trusted)


def _kind(cells: Mapping[str, Cell]) -> str:
    location = summary(cell.location for cell in cells.values())
    sd = summary(cell.sd for cell in cells.values())
    if location == "NOT COMPARABLE":
        return "unknown"
    if location == "DIFFER" or (sd == "DIFFER" and location != "AGREE"):
        return "off"
    if location == "EXPLAINED":
        return "explained"
    if "UNSURE" in (location, sd):
        return "unsure"
    whole = all(cell.sd == "AGREE" for cell in cells.values())
    return "both" if whole else "location"


def _names(chosen: Sequence[str], kinds: Mapping[str, str]) -> str:
    """Variants that share their fate go by the method's name, or by it without the engine."""
    shown: dict[str, None] = {}
    for name in chosen:
        for shorter in () if base(name) in _EXPENSIVE else (base, without_engine):
            if all(other in chosen for other in kinds if shorter(other) == shorter(name)):
                shown[shorter(name)] = None
                break
        else:
            shown[name] = None
    *rest, last = shown
    return f"{', '.join(rest)} and {last}" if rest else last
