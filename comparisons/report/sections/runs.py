"""Sections 2 to 4, 8 and 9: whether the runs can be trusted, whether they agree, what they cost."""

import math
from collections import Counter
from collections.abc import Sequence

from comparisons.report.facts import Facts, provenance
from comparisons.report.figures import runs as figures
from comparisons.report.formats import listed, number, percent, seconds, with_error
from comparisons.report.headline import Row
from comparisons.report.sections import parts
from comparisons.report.sections.parts import Section, Table, claims, marks, numbers, table, words
from comparisons.report.tables import LADDER, OPTIMISERS, sampled
from comparisons.verdict import HOLDS
from inference.method import label

_TITLES = {"newton_decrement": "standard errors from the optimum", "runner_up": "next best"}


def trust(known: Facts) -> Section:
    """Convergence, the ends of optimisers, and the reasons of what must not be relied on."""
    result = known.result
    troubled = {label(m): fit.problems for m, fit in result.estimates.items() if fit.problems}
    sound = len(result.estimates) - len(troubled)
    verdict = f"{sound} of {len(result.estimates)} fits passed every check of the run itself"
    if troubled:
        verdict += f"; not {listed(troubled)}"
    reasons = [
        *((name, "problem", "; ".join(problems)) for name, problems in troubled.items()),
        *((name, "failed", reason) for name, reason in result.failures.items()),
        *((label(method), "refused", reason) for method, reason in result.refusals.items()),
    ]
    # the first sampler that has problems, or the first: another healthy run shows nothing new
    fits = [(method, fit) for method, fit, _ in sampled(result)]
    shown = [one for one in fits if one[1].problems][:1] or fits[:1]
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
        [figures.ranks(*one, known.notable) for one in shown],
        [_convergence(known), engines_table(known.rows["engines"]), missing, _searches(known)],
    )


def engines_table(rows: Sequence[Row], *, cases: bool = False) -> Table:
    """The libraries' own fits, of `Facts.rows`; of several cases, these are named."""
    columns = {
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


def _seconds(name: str) -> parts.Column:
    return numbers(lambda row: seconds(row[name]))


def _columns(*names: str) -> dict[str, parts.Column]:
    """Columns of rows that are tuples of texts."""
    return {name: words(place) for place, name in enumerate(names)}


def _convergence(known: Facts) -> Table:
    rows = known.rows["convergence"]
    columns = {
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
            "sd ratio": numbers("ratio", "ratio_error", with_error),
            "95 % interval holds, %": numbers(
                lambda row: with_error(100 * row["holds"], 100 * row["holds_error"])
            ),
            "grade": marks("mark"),
            "cause": words("cause"),
        },
        note="Shift of the mean in reference standard deviations; ratio of standard deviations. "
        "The grade is by what the method's own 95 % interval holds of the reference posterior: ok "
        "from 93 to 98.5 %, careful down to 85 %. It says nothing of whether the method did what "
        "it promises: that is for the verdicts below.",
    )
    samplers = table(
        "Every two samplers",
        known.rows["samplers"],
        {
            "samplers": words(lambda row: f"{row['method']} and {row['other']}"),
            "largest difference of a mean, sd": numbers("difference", "error", with_error),
            "of": words("parameter"),
            "smallest that would have been seen, sd": numbers("seen", 0.01),
        },
        note="Differences of posterior means in posterior standard deviations; one beyond the "
        "last column is no accident of the draws, at a false-alarm rate of 0.001.",
    )
    section = Section(
        "agreement",
        "Do the methods agree?",
        "Did every method do its job, and is its job good enough here?",
        pictures=[
            figures.forest(known.found, known.drawn, names),
            figures.densities(known.drawn, names),
            figures.pairs(known.result, reference, names),
        ],
        tables=[against, samplers],
    )
    return claims(known.result, section, _done(known))


def _done(known: Facts) -> str:
    """Which fits reached their own target, and how the graded ones are graded."""
    found: dict[str, set[str]] = {}
    for row in known.result.verdicts.get("own_target", ()):
        found.setdefault(row.method, set()).add(row.outcome)
    judged = {name: own for name, own in found.items() if own != {"NOT COMPARABLE"}}
    missed = [name for name, own in judged.items() if "DIFFER" in own]
    unsure = [name for name, own in judged.items() if "UNSURE" in own and name not in missed]
    told = ""
    if judged:
        reached = len(judged) - len(missed) - len(unsure)
        told = f"{reached} of {len(judged)} fits reach their own target"
        told += f"; not {listed(missed)}" if missed else ""
        told += f"; not decided: {listed(unsure)}" if unsure else ""
        told += ". "
    words = {"ok": "will do", "careful": "to be used with care", "no": "not to be used"}
    marks = known.screen.marks
    graded = ", ".join(f"{count} {words[mark]}" for mark, count in marks.items())
    return told + (f"Of {sum(marks.values())} graded methods, {graded}." if marks else "")


def information(known: Facts) -> Section:
    """Standard errors and posterior sds against the Fisher information, and repeated sampling."""
    question = "Is the posterior as narrow as theory says, and does any estimator beat the bound?"
    section = Section("fisher", "Fisher information and Cramér–Rao", question)
    return claims(known.result, section, _bounded(known))


def _bounded(known: Facts) -> str:
    """The posterior's sds over the bound, and the variance of the estimator at the data's own N."""
    told, result = "", known.result
    sds = [v.observed for v in result.verdicts.get("cramer_rao", ()) if v.quantity == "sd"]
    if sds := [ratio for ratio in sds if math.isfinite(ratio)]:
        told = f"The posterior's sds are {_between(sds)} of the Cramér–Rao bound. "
    ladder = result.figures.get("cramer_rao")
    if ladder is None or not set(LADDER) <= set(ladder):
        return told
    rows = ladder[ladder["statistic"] == "variance / bound"]
    if len(rows):
        n = rows["n"].min()  # the first rung is that of the data
        own = rows.loc[rows["n"] == n, "value"].tolist()
        told += f"At N = {n:,}, maximum likelihood has {_between(own)} of the bound's variance."
    return told


def _between(values: Sequence[float]) -> str:
    low, high = number(min(values), 0.05), number(max(values), 0.05)
    return low if low == high else f"{low} to {high}"


def calibration(known: Facts) -> Section | None:
    """Statements on intervals in repeated data sets of this model, where they were studied here."""
    rows = known.studied
    if not rows:
        return None
    columns = {
        "quantity": words("quantity"),
        "of": words("parameter"),
        "method": words("method"),
        "N": numbers(lambda row: f"{int(row['n']):,}"),
        "verdict": marks("verdict"),
        "measured": numbers("value", "error", with_error),
        "theory": numbers("theory", "error"),
    }
    studies = dict.fromkeys((row["study"], row["page"]) for row in rows)
    shown = [
        table(name, [row for row in rows if row["study"] == name], columns, file=page)
        for name, page in studies
    ]
    held = sum(row["verdict"] in HOLDS for row in rows)
    verdict = f"{held} of {len(rows)} statements hold in data sets that the model simulated."
    question = "Do intervals hold what they say, in repeated data sets?"
    return Section("calibration", "Calibration", question, verdict, tables=shown)


def cost(known: Facts) -> Section:
    """Seconds of every fit by part; effective draws per second."""
    rows = known.rows["costs"]
    ranked = [row for row in rows if not math.isnan(row["ess_per_second"])]
    verdict = "No sampler passed its checks, so none is ranked."
    if ranked:
        best = max(ranked, key=lambda row: row["ess_per_second"])
        verdict = (
            f"Among the samplers that passed, {best['method']} gives most effective draws per "
            f"second of sampling: {best['ess_per_second']:,.0f}."
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
        "cost", "Cost", "What did each answer cost?", verdict, [figures.costs(rows)], [shown]
    )


def origin(known: Facts, command: str) -> Section:
    """All that makes the case again, and what changed since the last run."""
    facts = provenance(known.result, command)
    versions = facts.pop("versions")
    told = [(key.replace("_", " "), str(value)) for key, value in facts.items()]
    if read := known.result.data.attrs.get("read"):
        told.append(("data", read))
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
