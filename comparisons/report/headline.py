"""The headline of a page: which cheap methods agree with the reference, and by how much not.

Every method is held against the reference by the rule of `comparisons.verdict`: its location in
units of the reference's standard deviation, its standard deviation or error as a ratio.  Where
`posterior_agreement` has judged the same pair, its verdict (which may know a theory) is shown.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, final

from comparisons.claims import GATE
from comparisons.policy import POSTERIOR
from comparisons.reference import exact_posterior, reference, scalars
from comparisons.report.result import CaseResult
from comparisons.verdict import OUTCOMES, Outcome, Verdict
from inference.estimate import Estimate, Scalar
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
        location: the verdict on the location.
        sd: the verdict on the standard deviation.
        cause: what explains the verdicts, or why there are none.
    """

    shift: float
    shift_error: float
    ratio: float
    ratio_error: float
    location: Outcome
    sd: Outcome
    cause: str


class Agreement(NamedTuple):
    """Every method against the reference."""

    reference: Method | None
    """The method the others are held against; None if none can be relied on."""
    scalars: tuple[str, ...]
    """Flat names of the distinct scalars, those of the reference if there is one."""
    cells: Mapping[Method, Mapping[str, Cell]]
    """By scalar; empty without a reference."""


class Headline(NamedTuple):
    """The first sentence of a page."""

    sentence: str
    trusted: tuple[Method, ...] = ()
    """Cheap methods that agree in location and standard deviation."""


def agreement(result: CaseResult) -> Agreement:
    """Every method against the reference, at every distinct scalar."""
    numbers = {method: scalars(result.model, fit) for method, fit in result.estimates.items()}
    against = reference(result.estimates)
    if against is None:
        largest = max(numbers.values(), key=len, default={})
        return Agreement(None, tuple(largest), {})
    judged: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in result.verdicts.get("posterior_agreement", ()):
        if verdict.reference == label(against):
            key = verdict.method, verdict.parameter
            judged.setdefault(key, {})[verdict.quantity] = verdict
    truth = numbers.pop(against)
    cells = {
        method: {
            name: _cell(
                result.estimates[method], one, truth[name], judged.get((label(method), name), {})
            )
            for name, one in own.items()
            if name in truth
        }
        for method, own in numbers.items()
    }
    return Agreement(against, tuple(truth), cells)


def _cell(fit: Estimate, one: Scalar, truth: Scalar, judged: Mapping[str, Verdict]) -> Cell:
    shift, ratio = (one.location - truth.location) / truth.sd, one.sd / truth.sd
    shift_error = math.hypot(one.location_error, truth.location_error) / truth.sd
    ratio_error = math.hypot(one.sd_error, ratio * truth.sd_error) / truth.sd
    numbers = shift, shift_error, ratio, ratio_error
    if fit.problems:
        return Cell(*numbers, "NOT COMPARABLE", "NOT COMPARABLE", "; ".join(fit.problems))
    location = judged.get("mean") or Verdict("", shift, 0.0, shift_error, POSTERIOR)
    sd = judged.get("sd") or Verdict("", ratio, 1.0, ratio_error, POSTERIOR)
    told = [v for v in (location, sd) if v.outcome in ("EXPLAINED", "NOT COMPARABLE")]
    causes = dict.fromkeys(verdict.cause for verdict in told if verdict.cause)
    if math.isnan(ratio):
        causes["its standard deviation is undefined"] = None
    return Cell(*numbers, location.outcome, sd.outcome, "; ".join(causes))


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
    for outcome in ("DIFFER", "EXPLAINED", "UNSURE", "AGREE"):
        if outcome in found:
            return outcome
    return "NOT COMPARABLE"


_WORDS = {
    "both": "trust {} for mean and sd",
    "location": "trust only the mean of {}",
    "off": "do not trust {}",
    "explained": "off as theory predicts: {}",
    "unsure": "too few draws to tell: {}",
    "unknown": "not judged: {}",
}


def headline(result: CaseResult, found: Agreement) -> Headline:
    """The sentence a reader takes away, from the verdicts."""
    gate = [v for v in result.verdicts.get(GATE, ()) if v.outcome != "AGREE"]
    if gate and not result.estimates:
        return Headline(
            f"The two programs are not shown to be one model ({gate[0].about}), so nothing was "
            "fitted."
        )
    if found.reference is None:
        return Headline(
            "No sampler of the posterior passed its checks, so nothing here vouches for the cheap "
            "methods."
        )
    fates = {method: _fate(cells) for method, cells in found.cells.items()}
    # of the expensive ones only what speaks against them is news
    fates = {m: f for m, f in fates.items() if not _expensive(m) or f not in ("both", "location")}
    parts = []
    for fate, words in _WORDS.items():
        chosen = [method for method, one in fates.items() if one == fate]
        if chosen:
            parts.append(words.format(_names(chosen, list(fates))))
    if all(map(_expensive, fates)):
        parts.append("no cheap method was fitted")
    trusted = tuple(method for method, fate in fates.items() if fate == "both")
    return Headline(f"Held against {label(found.reference)}: {'; '.join(parts)}.", trusted)


def _expensive(method: Method) -> bool:
    return method.kind == "sampler" or exact_posterior(method)


def _fate(cells: Mapping[str, Cell]) -> str:
    """How a method fares: a key of _WORDS."""
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


def family_name(method: Method) -> str:
    """A method's name with its family, the same in both languages: `gaussian_vi[mean_field]`."""
    return f"{method.name}[{method.family}]" if method.family else method.name


def _names(chosen: Sequence[Method], every: Sequence[Method]) -> str:
    """Variants that share their fate go by the method's name, or by it without the language."""
    shorter: tuple[Callable[[Method], str], ...] = (attrgetter("name"), family_name)
    shown: dict[str, None] = {}
    for method in chosen:
        for name in () if _expensive(method) else shorter:
            if all(other in chosen for other in every if name(other) == name(method)):
                shown[name(method)] = None
                break
        else:
            shown[label(method)] = None
    *rest, last = shown
    return f"{', '.join(rest)} and {last}" if rest else last
