"""Section 5: criteria by order; and, for the overview, models of the same data."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from comparisons.report.facts import Facts
from comparisons.report.figures import criteria
from comparisons.report.figures.canvas import Picture
from comparisons.report.formats import with_error
from comparisons.report.sections.parts import (
    Column,
    Section,
    Table,
    claims,
    estimate,
    numbers,
    table,
    words,
)


def section(known: Facts) -> Section:
    """Criteria by method, and the verdicts on them."""
    rows: dict[str, dict[str, Any]] = {}
    for row in known.rows["criteria"]:
        start = {"method": row["method"], "k": row["k"]}
        rows.setdefault(row["method"], start)[row["criterion"]] = row
    names = dict.fromkeys(row["criterion"] for row in known.rows["criteria"])
    columns = {name.replace("_", " "): _criterion(name) for name in names}
    shown = table(
        "Criteria",
        rows.values(),
        {"method": words("method"), "k": numbers("k"), **columns},
        note="Information criteria (smaller is better), log-likelihood, log evidence and expected "
        "log predictive density (larger is better); k free parameters.",
        file="criteria.csv",
    )
    question = "How large a model do the data support, and does BIC stand in for the evidence?"
    told = claims(known.result, "order", "Which order?", question)
    pictures = [criteria.orders(known.rows["criteria"]), *told.pictures]
    return told._replace(pictures=pictures, tables=[shown, *told.tables])


def _criterion(name: str) -> Column:
    return numbers(
        lambda row: estimate(row[name]["value"], row[name]["error"], 1) if name in row else ""
    )


def same_data(compared: Sequence[tuple[str, pd.DataFrame]]) -> list[tuple[Picture, Table]]:
    """Models of the same data, for the overview."""
    columns = {
        "model": words("model"),
        "elpd": numbers("elpd", "se", with_error),
        "less the best": numbers("elpd_diff", "dse", with_error),
        "effective parameters": numbers("p", 0.1),
        "weight": numbers("weight", 0.01),
    }
    note = (
        "Expected log pointwise predictive density by Pareto-smoothed leave-one-out "
        "cross-validation, nats, larger is better; stacking weights."
    )
    found = []
    for place, (data, models) in enumerate(compared, 1):
        rows = models.reset_index(names="model").to_dict("records")
        picture = criteria.compared(models, f"models-{place}", data)
        found.append((picture, table(f"Models of {data}", rows, columns, note=note)))
    return found
