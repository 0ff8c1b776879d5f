"""Every method beside the reference, and every library's own fit beside its own target.

The grades are those that `posterior_agreement` publishes (`comparisons.grades`); without them the
shifts and ratios of sd stand alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import hypot, isfinite, isnan, log, nan
from typing import Any, NamedTuple

from comparisons.grades import Grade, from_table, worst_of
from comparisons.policy import POSTERIOR, Z
from comparisons.reference import reference, samplers, scalars, shared
from comparisons.report.result import CaseResult
from comparisons.verdict import OUTCOMES, Outcome, Verdict
from inference.catalogue import catalogue
from inference.estimate import Estimate
from inference.method import Method, label, variants
from models.programs.density import quantity_table
from models.spec import Model

type Row = dict[str, Any]  # a row of a table, by column

NOTABLE = 6  # scalars in figures that show every method


class Agreement(NamedTuple):
    """Every method against the reference, None if none can be relied on.

    The scalars are the flat names of the distinct ones, those of the reference if there is one.
    Without a reference there are no rows; else one for each method and scalar:

        shift, shift_error       of the location, in reference standard deviations
        ratio, ratio_error       of the standard deviation to the reference's
        holds, …, mark, cause    the grade; where there is none, why
    """

    reference: Method | None
    scalars: tuple[str, ...]
    rows: list[Row]


def published_grades(result: CaseResult) -> list[Grade]:
    """The grades of a case; none where `posterior_agreement` was not asked for."""
    table = result.figures.get("posterior_agreement")
    return [] if table is None else from_table(table)


def agreement(result: CaseResult) -> Agreement:
    """Every method against the reference, at every distinct scalar."""
    numbers = {method: scalars(result.model, fit) for method, fit in result.estimates.items()}
    against = reference(result.estimates)
    if against is None:
        return Agreement(None, tuple(max(numbers.values(), key=len, default={})), [])
    graded = {(grade.method, grade.parameter): grade for grade in published_grades(result)}
    truth, rows = numbers.pop(against), []
    for method, own in numbers.items():
        names = [name for name in own if name in truth]
        problems = "; ".join(result.estimates[method].problems)
        ungraded = {"holds": nan, "holds_error": nan, "mark": "", "cause": problems}
        for name in names:
            one, true = own[name], truth[name]
            ratio = one.sd / true.sd
            row = {
                "method": label(method),
                "parameter": name,
                "shift": (one.location - true.location) / true.sd,
                "shift_error": hypot(one.location_error, true.location_error) / true.sd,
                "ratio": ratio,
                "ratio_error": hypot(one.sd_error, ratio * true.sd_error) / true.sd,
            }
            if grade := graded.get((label(method), name)):
                row |= {field: getattr(grade, field) for field in ungraded}
            rows.append({**ungraded, **row})
    return Agreement(against, tuple(truth), rows)


def pairs(result: CaseResult) -> Iterator[Row]:
    """Every two samplers: where their means are farthest apart for its error, and the resolution.

    Columns: method, other, parameter, difference, error and the smallest difference that would have
    been `seen` in every scalar, in posterior standard deviations.
    """
    for (one, a), (other, b) in combinations(samplers(result.estimates).items(), 2):
        sides, found = {"method": label(one), "other": label(other)}, list[Row]()
        for name, first, second in shared(result.model, a, b):
            error = hypot(first.location_error, second.location_error) / first.sd
            difference = abs(first.location - second.location) / first.sd
            found.append({"parameter": name, "difference": difference, "error": error})
        if found:
            worst = max(found, key=lambda row: row["difference"] / (row["error"] or nan))
            yield {**sides, **worst, "seen": Z * max(row["error"] for row in found)}


def free(model: Model, every: Iterable[str]) -> list[str]:
    """Without the last entry of a simplex, which the others tell."""
    names = list(every)
    simplices = [p.name for p in quantity_table(model) if p.support == "simplex"]
    last = {name for p in simplices for name in [n for n in names if n.startswith(f"{p}[")][-1:]}
    return [name for name in names if name not in last]


def notable(found: Agreement, most: int = NOTABLE) -> tuple[str, ...]:
    """At most so many scalars: those on which the methods differ most, in their own order."""
    moves = (
        (row["parameter"], abs(move))
        for row in found.rows
        for move in (row["shift"], log(row["ratio"]) if row["ratio"] > 0 else 0.0)
        if isfinite(move)
    )
    return farthest(moves, found.scalars, most)


def farthest(
    moves: Iterable[tuple[str, float]], names: Iterable[str], most: int
) -> tuple[str, ...]:
    """So many of the names, in their order: those of the largest moves."""
    sizes = dict.fromkeys(names, 0.0)
    for name, move in moves:
        if name in sizes:
            sizes[name] = max(sizes[name], move)
    chosen = sorted(sizes, key=lambda name: -sizes[name])[:most]
    return tuple(name for name in sizes if name in chosen)


def counts(verdicts: Iterable[Verdict]) -> dict[Outcome, int]:
    """How many there are of each outcome, those of zero included."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def duration(fit: Estimate) -> float:
    """Seconds that a fit took, compilation included; NaN where unknown."""
    parts = [fit.record.attrs.get(part, nan) for part in ("compile", "warm_up", "run")]
    known = [float(part) for part in parts if isfinite(part)]
    return sum(known) if known else nan


def family_name(method: Method) -> str:
    """A method's name with its family, the same in both languages: `gaussian_vi[mean_field]`."""
    return f"{method.name}[{method.family}]" if method.family else method.name


ENGINE: Row = {
    **{"engine": "", "off": nan, "outcome": "", "claims": "", "khat": nan, "holds": nan},
    **{"mark": "", "seconds": nan, "ess_per_second": nan, "trouble": ""},
}
"""A row of the table of engines, of one that has nothing to show."""


def engines(
    fits: Mapping[Method, Estimate],
    failures: Mapping[str, str],
    verdicts: Mapping[str, Sequence[Verdict]],
    grades: Sequence[Grade],
) -> list[Row]:
    """The engines among the methods of a case, failed ones last.

    A row for each: how far it is `off` its own target at most, in sd, and the verdict on that; what
    its library `claims` of its convergence; Pareto's k̂ of the posterior over the fit; what its 95 %
    interval holds at worst, and its grade; its cost; why there is no result or it must not be used.

    Args:
        fits: every estimate.
        failures: reasons by label of the methods that have none.
        verdicts: those of each claim, by its name.
        grades: of every method and quantity.
    """
    found = []
    for method, fit in fits.items():
        if method.shipped:
            claim = "posterior_agreement" if method.kind == "sampler" else "own_target"
            rows = [v for v in verdicts.get(claim, ()) if v.method == label(method)]
            own = [grade for grade in grades if grade.method == label(method)]
            found.append(_engine(method, fit, rows, own))
    classes = (cls for cls in catalogue().values() if cls.shipped)
    shipped = {label(method) for cls in classes for method in variants(cls, "standard")}
    failed = {name: why for name, why in failures.items() if name in shipped}
    return found + [{**ENGINE, "engine": name, "trouble": why} for name, why in failed.items()]


def _engine(
    method: Method, fit: Estimate, verdicts: Sequence[Verdict], grades: Sequence[Grade]
) -> Row:
    told, seconds = fit.record.attrs, duration(fit)
    row = {**ENGINE, "engine": label(method), "seconds": seconds}
    known = (verdict for verdict in verdicts if isfinite(verdict.observed))
    worst = max(known, key=lambda v: (v.outcome == "DIFFER", v.bounds_off), default=None)
    if worst:
        row |= {"off": POSTERIOR * worst.bounds_off, "outcome": worst.outcome}
    rhat = f"R-hat {told['rhat']:.3f}" if "rhat" in told else ""
    row |= {"claims": told.get("claims", "") or rhat, "khat": float(told.get("khat", nan))}
    row["holds"] = min((grade.holds for grade in grades if not isnan(grade.holds)), default=nan)
    if fit.problems:
        row["trouble"] = fit.problems[0]
    if method.kind == "sampler" and not fit.problems:
        row["ess_per_second"] = float(told.get("ess", nan)) / seconds if seconds else nan
    elif grades:
        row["mark"] = worst_of(grades).mark
    return row
