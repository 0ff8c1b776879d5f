"""Section 8: seconds."""

import math

from comparisons.report.facts import Facts
from comparisons.report.figures import runs
from comparisons.report.formats import seconds
from comparisons.report.sections.parts import Get, Section, numbers, table, words


def section(known: Facts) -> Section:
    """Seconds of every fit by part; effective draws per second."""
    rows = known.costs
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
        "compile": numbers(_seconds("compile")),
        "warm-up": numbers(_seconds("warm_up")),
        "run": numbers(_seconds("run")),
        "total": numbers(_seconds("total")),
        "ESS per second": numbers(_seconds("ess_per_second")),
    }
    note = "Effective draws (the smallest ESS) per second of sampling, of runs that passed."
    shown = table("Seconds", rows, columns, note=note)
    return Section(
        "cost",
        "8. Cost",
        "What did each answer cost?",
        verdict,
        pictures=[runs.costs(rows)],
        tables=[shown],
    )


def _seconds(name: str) -> Get:
    return lambda row: seconds(row[name])
