"""Section 3: every method against the reference."""

import math
from collections.abc import Mapping
from typing import Any

from comparisons.report.facts import Facts
from comparisons.report.figures import agreement
from comparisons.report.formats import number, with_error
from comparisons.report.sections.parts import (
    Get,
    Section,
    Table,
    claims,
    marks,
    numbers,
    table,
    words,
)
from inference.method import label


def section(known: Facts) -> Section:
    """Shifts, ratios and distances, the densities, and the verdicts on them."""
    told = claims(
        known.result,
        "agreement",
        "3. Do the methods agree?",
        "Did every method do its job, and is its job good enough here?",
    )
    reference, names = known.found.reference, known.notable
    pictures = [
        agreement.densities(known.drawn, names),
        agreement.pairs(known.result, reference, names),
        *told.pictures,
    ]
    tables = [_against(known), _forest(known), *told.tables]
    return told._replace(pictures=pictures, tables=tables)


def _against(known: Facts) -> Table:
    columns = {
        "method": words("method"),
        "scalar": words("parameter"),
        "shift": numbers("shift", "shift_error", shown=True),
        "shift / error": numbers(
            lambda row: number(row["shift_over_error"], 0.1) if row["shift_error"] > 0 else "–"
        ),
        "sd ratio": numbers("ratio", "ratio_error", shown=True),
        "distance": numbers("distance", 0.001),
        "reference halves": numbers("distance_halves", 0.001),
        "95 % interval holds, %": numbers(_content),
        "grade": marks(lambda row: row["mark"]),
        "cause": words("cause"),
    }
    return table(
        f"Every method against {known.found.reference and label(known.found.reference)}",
        known.agreement,
        columns,
        note="Shift of the mean in reference standard deviations, also over its Monte Carlo error; "
        "ratio of standard deviations; Wasserstein distance of the draws in reference standard "
        "deviations, beside that between two halves of the reference's own draws. The grade is by "
        "what the method's own 95 % interval holds of the reference posterior: ok from 93 to "
        "98.5 %, careful down to 85 %. It says nothing of whether the method did what it promises: "
        "that is for the verdicts below.",
    )


def _forest(known: Facts) -> Table:
    columns = {
        "method": words(lambda row: row["method"] + " †" * row["sampling_approximation"]),
        "scalar": words("parameter"),
        "mean": numbers(_end("mean")),
        "5.5 %": numbers(_end("q0.055")),
        "25 %": numbers(_end("q0.25")),
        "75 %": numbers(_end("q0.75")),
        "94.5 %": numbers(_end("q0.945")),
    }
    return table(
        "The numbers of the forest plot",
        known.forest,
        columns,
        note="On the natural scale: mean, and the ends of the 50 % and 89 % equal-tailed "
        "intervals. † sampling approximation, N(estimate, covariance).",
        folded=True,
    )


def _content(row: Mapping[str, Any]) -> str:
    """In percent, with its error."""
    holds = row["holds"]
    return "–" if math.isnan(holds) else with_error(100 * holds, 100 * row["holds_error"])


def _end(name: str) -> Get:
    """With digits down to a sixtieth of the interval's length."""
    return lambda row: number(row[name], (row["q0.945"] - row["q0.055"]) / 60)
