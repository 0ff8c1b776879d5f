"""Sections 2 to 4, 8 and 9: whether the runs can be trusted, whether they agree, what they cost."""

import math
from collections import Counter
from collections.abc import Sequence

from comparisons.report.facts import Facts, provenance
from comparisons.report.figures import agreement as figures
from comparisons.report.figures import runs
from comparisons.report.figures.canvas import Picture
from comparisons.report.formats import estimate, number, percent, seconds, with_error
from comparisons.report.headline import Row
from comparisons.report.sections.parts import (
    Column,
    Section,
    Table,
    claims,
    marks,
    numbers,
    table,
    words,
)
from comparisons.report.tables import OPTIMISERS, sampled
from inference.method import label

_TITLES = {"newton_decrement": "standard errors from the optimum", "runner_up": "next best"}


def trust(known: Facts) -> Section:
    """Convergence, the ends of optimisers, and the reasons of what must not be relied on."""
    result = known.result
    troubled = {label(m): fit.problems for m, fit in result.estimates.items() if fit.problems}
    sound = len(result.estimates) - len(troubled)
    verdict = f"{sound} of {len(result.estimates)} fits passed every check of the run itself"
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
    return Section(
        "trust",
        "Can the runs be trusted?",
        "Did every sampler converge, and did every optimiser find its optimum?",
        f"{verdict}." if result.estimates else "Nothing was fitted.",
        _pictures(known),
        [_convergence(known), engines_table(known.rows["engines"]), missing, _searches(known)],
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
    fits = [(method, fit) for method, fit, _ in sampled(known.result)]
    shown = fits[:1] + [sampler for sampler in fits[1:] if sampler[1].problems][:1]
    return [*(runs.ranks(*one, known.notable) for one in shown), runs.paths(known.result)]


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


def _searches(known: Facts) -> Table:
    """How the optimisers describe their run."""
    rows = known.rows["optimisers"]
    names = [one for one in OPTIMISERS if not all(math.isnan(row[one]) for row in rows)]
    columns = {_TITLES.get(name, name.replace("_", " ")): numbers(name) for name in names}
    note = (
        "Restarts that reached the reported optimum, how many ended degenerate or failed, the next "
        "best optimum; EM's rate of convergence, measured and as Louis' identity predicts it."
    )
    return table(
        "How the optimisers ended", rows, {"method": words("method"), **columns}, note=note
    )


def agreement(known: Facts) -> Section:
    """Shifts, ratios and distances, the densities, and the verdicts on them."""
    reference, names = known.found.reference, known.notable
    against = table(
        f"Every method against {reference and label(reference)}",
        known.rows["agreement"],
        {
            "method": words("method"),
            "scalar": words("parameter"),
            "shift": numbers("shift", "shift_error", with_error),
            "shift / error": numbers("shift_over_error", 0.1),
            "sd ratio": numbers("ratio", "ratio_error", with_error),
            "distance": numbers("distance", 0.001),
            "reference halves": numbers("distance_halves", 0.001),
            "95 % interval holds, %": numbers(
                lambda row: with_error(100 * row["holds"], 100 * row["holds_error"])
            ),
            "grade": marks("mark"),
            "cause": words("cause"),
        },
        note="Shift of the mean in reference standard deviations, also over its Monte Carlo error; "
        "ratio of standard deviations; Wasserstein distance of the draws in reference standard "
        "deviations, beside that between two halves of the reference's own draws. The grade is by "
        "what the method's own 95 % interval holds of the reference posterior: ok from 93 to "
        "98.5 %, careful down to 85 %. It says nothing of whether the method did what it promises: "
        "that is for the verdicts below.",
    )
    forest = table(
        "The numbers of the forest plot",
        known.rows["forest"],
        {
            "method": words(lambda row: row["method"] + " †" * row["sampling_approximation"]),
            "scalar": words("parameter"),
            "mean": _end("mean"),
            "5.5 %": _end("q0.055"),
            "25 %": _end("q0.25"),
            "75 %": _end("q0.75"),
            "94.5 %": _end("q0.945"),
        },
        note="On the natural scale: mean, and the ends of the 50 % and 89 % equal-tailed "
        "intervals. † sampling approximation, N(estimate, covariance).",
        folded=True,
    )
    question = "Did every method do its job, and is its job good enough here?"
    told = claims(known.result, Section("agreement", "Do the methods agree?", question))
    densities = figures.densities(known.drawn, names)
    pairs = figures.pairs(known.result, reference, names)
    pictures, tables = [densities, pairs, *told.pictures], [against, forest, *told.tables]
    return told._replace(pictures=pictures, tables=tables)


def _end(name: str) -> Column:
    """With digits down to a sixtieth of the interval's length."""
    return numbers(lambda row: number(row[name], (row["q0.945"] - row["q0.055"]) / 60))


def information(known: Facts) -> Section:
    """Every estimate with its standard deviation, and the verdicts on these."""
    estimates = table(
        "Every estimate with its standard error or deviation",
        [row for row in known.rows["estimates"] if row["parameter"]],
        {
            "method": words("method"),
            "scalar": words("parameter"),
            "estimate": numbers(lambda r: estimate(r["estimate"], r["estimate_error"], r["sd"])),
            "sd": numbers(lambda r: estimate(r["sd"], r["sd_error"], r["sd"])),
            "kind of sd": words("sd_kind"),
            "status": words("status"),
        },
        note="± is the Monte Carlo standard error.",
        file="estimates.csv",
        folded=True,
    )
    question = "Is the posterior as narrow as theory says, and does any estimator beat the bound?"
    section = Section("fisher", "Fisher information and Cramér–Rao", question)
    told = claims(known.result, section)
    pictures = [figures.deviations(known.found, known.notable), *told.pictures]
    return told._replace(pictures=pictures, tables=[*told.tables, estimates])


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
    """All that makes the case again, and what changed since the last run."""
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
