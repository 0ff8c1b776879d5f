"""Sections 2, 8 and 9: whether the runs can be trusted, their cost, and how to make them again."""

import math
from collections import Counter
from collections.abc import Sequence

from comparisons.report.facts import Facts, provenance
from comparisons.report.figures import runs
from comparisons.report.figures.canvas import Picture
from comparisons.report.formats import percent, seconds
from comparisons.report.headline import Row
from comparisons.report.sections.parts import Column, Section, Table, marks, numbers, table, words
from comparisons.report.tables import CLIMBS, OPTIMISERS, sampled
from inference.method import label

_TITLES = {"newton_decrement": "standard errors from the optimum", "runner_up": "next best"}


def section(known: Facts) -> Section:
    """Convergence, the ends of optimisers, and the reasons of what must not be relied on."""
    result = known.result
    troubled = {label(m): fit.problems for m, fit in result.estimates.items() if fit.problems}
    sound = len(result.estimates) - len(troubled)
    verdict = f"{sound} of {len(result.estimates)} fits passed every check"
    if troubled:
        verdict += f"; not {', '.join(troubled)}"
    reasons = [
        *((name, "problem", "; ".join(problems)) for name, problems in troubled.items()),
        *((name, "failed", reason) for name, reason in result.failures.items()),
        *((label(method), "refused", reason) for method, reason in result.refusals.items()),
    ]
    missing = table(
        "Why fits must not be relied on, or are missing",
        reasons,
        _columns("method", "status", "reason"),
        file="estimates.csv",
    )
    ends = _run_table(
        known,
        "How the optimisers ended",
        OPTIMISERS,
        "Restarts that reached the reported optimum, how many ended degenerate or failed, the next "
        "best optimum.",
    )
    note = "The rate of convergence, measured and as Louis' identity predicts it."
    climbs = _run_table(known, "How fast EM climbed", CLIMBS, note)
    return Section(
        "trust",
        "Can the runs be trusted?",
        "Did every sampler converge, and did every optimiser find its optimum?",
        f"{verdict}." if result.estimates else "Nothing was fitted.",
        _pictures(known),
        [_convergence(known), engines_table(known.rows["engines"]), missing, ends, climbs],
    )


def engines_table(rows: Sequence[Row], *, cases: bool = False) -> Table:
    """The libraries' own fits, of `Facts.rows`; of several cases, these are named."""
    columns: dict[str, Column] = {
        "engine": words("engine"),
        "from its own target, sd": numbers("off", 0.01),
        "verdict": words(lambda row: row["trouble"] or row["outcome"].lower() or "–"),
        "it shows": words(lambda row: row["claims"] or "–"),
        "k̂": numbers("khat", 0.1),
        "95 % interval holds": numbers(lambda row: percent(row["holds"])),
        "grade": marks("mark"),
        "seconds": _seconds("seconds"),
        "ESS per second": _seconds("ess_per_second"),
    }
    return table(
        "The libraries' own fits, each against its own target",
        rows,
        {"case": words("case"), **columns} if cases else columns,
        note="Its own target: the optimum, the Gaussian at the mode, the nearest Gaussian of its "
        "family, or the posterior; the largest distance, and whether it is more than noise. What "
        "it shows of its convergence is the library's own word.",
    )


def _seconds(name: str) -> Column:
    return numbers(lambda row: seconds(row[name]))


def _columns(*names: str) -> dict[str, Column]:
    """Columns of rows that are tuples of texts."""
    return {name: words(place) for place, name in enumerate(names)}


def _pictures(known: Facts) -> list[Picture | None]:
    """The first sampler and the first that has problems: a second healthy run shows nothing new."""
    first, *others = sampled(known.result) or [None]
    shown = [first, next((other for other in others if other and other[1].problems), None)]
    pictures: list[Picture | None] = []
    for place, (method, fit, drawn) in enumerate(filter(None, shown), 1):
        pictures += runs.chains(method, fit, known.notable, place)
        pictures.append(runs.energy(method, drawn, place))
    return [*pictures, runs.paths(known.result)]


def _convergence(known: Facts) -> Table:
    rows = known.rows["convergence"]
    columns: dict[str, Column] = {
        "method": words("method"),
        "draws": numbers("draws"),
        "R-hat": numbers("rhat", 0.001),
        "ESS": numbers("ess", 10.0),
        "MCSE / sd": numbers("mcse_sd", 0.001),
        "divergences": numbers("divergences"),
        "E-BFMI": numbers("bfmi"),
    }
    note = (
        "The worst over all reported scalars; ESS is the smaller one of bulk and tail. "
        "Required: R-hat below 1.01, ESS at least 400, no divergences, E-BFMI at least 0.3."
    )
    if not all(math.isnan(row["rhat_unaligned"]) for row in rows):
        columns["R-hat unaligned"] = numbers("rhat_unaligned", 0.001)
        columns["ESS unaligned"] = numbers("ess_unaligned", 10.0)
        note += " Unaligned: before components were given one labelling; nothing is required of it."
    return table("Convergence of the samplers", rows, columns, note=note)


def _run_table(known: Facts, title: str, names: Sequence[str], note: str) -> Table:
    """How the methods that give one of the attributes describe their run."""
    every = known.rows["optimisers"]
    shown = [name for name in names if not all(math.isnan(row[name]) for row in every)]
    rows = [row for row in every if not all(math.isnan(row[name]) for name in shown)]
    columns = {_TITLES.get(name, name.replace("_", " ")): numbers(name) for name in shown}
    return table(title, rows, {"method": words("method"), **columns}, note=note)


def cost(known: Facts) -> Section:
    """Seconds of every fit by part; effective draws per second."""
    rows = known.rows["costs"]
    ranked = [row for row in rows if not math.isnan(row["ess_per_second"])]
    verdict = "No sampler passed its checks, so none is ranked."
    if ranked:
        best = max(ranked, key=lambda row: row["ess_per_second"])
        verdict = (
            f"Among the samplers that passed, {best['method']} gives most effective draws per "
            f"second of sampling: {best['ess_per_second']:.0f}."
        )
    columns = {
        "method": words("method"),
        "compile": _seconds("compile"),
        "warm-up": _seconds("warm_up"),
        "run": _seconds("run"),
        "total": _seconds("total"),
        "ESS per second": _seconds("ess_per_second"),
    }
    note = "Effective draws (the smallest ESS) per second of sampling, of runs that passed."
    shown = table("Seconds", rows, columns, note=note)
    return Section(
        "cost", "Cost", "What did each answer cost?", verdict, [runs.costs(rows)], [shown]
    )


def origin(known: Facts, command: str) -> Section:
    """What it takes to make the case again, and what changed since the last run."""
    facts = provenance(known.result, command)
    versions = facts.pop("versions")
    told = [(key.replace("_", " "), str(value)) for key, value in facts.items()]
    changed = [change for change in known.changes or () if change[1] != "unchanged"]
    columns = _columns("statement", "change", "numbers")
    tables = [
        table("The run", told, _columns("what", "value")),
        table("Versions", versions.items(), _columns("distribution", "version"), folded=True),
        table("What changed since the last run", changed, columns),
    ]
    verdict = "There is no earlier run here to compare with."
    if known.changes is not None:
        counts = Counter(change for _, change, _ in known.changes)
        moved = counts["changed"]
        verdict = (
            f"Since the last run {moved} verdict{'s' if moved != 1 else ''} changed; "
            f"{counts['cannot tell']} cannot be told apart from Monte Carlo error; "
            f"{counts['unchanged']} are unchanged."
        )
    question = "How was this made, and what changed?"
    return Section("provenance", "Provenance", question, verdict, tables=tables)
