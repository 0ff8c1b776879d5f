"""Sections 5 and 6: criteria by order, models of the same data, and whether the model fits."""

from collections.abc import Sequence

import pandas as pd

from comparisons.report import draws
from comparisons.report.facts import Facts
from comparisons.report.figures import curves, predictive
from comparisons.report.figures.canvas import Picture
from comparisons.report.formats import estimate, number, with_error
from comparisons.report.headline import Row
from comparisons.report.sections.parts import Column, Section, Table, claims, numbers, table, words
from inference.method import label


def section(known: Facts) -> Section:
    """Criteria by method, and the verdicts on them."""
    rows: dict[str, Row] = {}
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
    pictures = [curves.orders(known.rows["criteria"]), *told.pictures]
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
        picture = curves.compared(models, f"models-{place}", data)
        found.append((picture, table(f"Models of {data}", rows, columns, note=note)))
    return found


def fit(known: Facts) -> Section:
    """The data beside replicated data sets, the prior beside the posterior."""
    pictures, rows = [], known.rows["predictive"]
    outside = [row for row in rows if not 0.025 <= row["share_below"] <= 0.975]
    verdict = f"All {len(rows)} quantiles of the data lie among 95 % of the replicated ones."
    if isinstance(known.replicates, str):
        verdict = f"Not checked: {known.replicates}."
    else:
        pictures = [predictive.predictive(known.replicates), predictive.pit(known.replicates)]
    if outside:
        where = ", ".join(f"{row['column']} at {row['quantile']:.0%}" for row in outside[:6])
        start = f"{len(outside)} of {len(rows)} quantiles of the data lie outside 95 % of the"
        verdict = f"{start} replicated ones: {where}."
    if known.source:
        drawn = draws.prior_and_posterior(known.result, known.source)
        pictures.append(predictive.prior_posterior(*drawn, label(known.source)))
    quantiles = table(
        "Quantiles of the data and of the replicated data sets",
        rows,
        {
            "column": words("column"),
            "quantile": numbers(lambda row: f"{row['quantile']:.0%}"),
            "data": numbers(lambda row: number(row["observed"], row["replicated_sd"] / 10)),
            "replicated": numbers("replicated", "replicated_sd", with_error),
            "share below": numbers(lambda row: f"{row['share_below']:.2f}"),
        },
        note=f"Of {draws.REPLICATES} replicated data sets, mean ± standard deviation, and the "
        "share below the data's.",
    )
    question = "Could the model have produced these data?"
    return Section("fit", "Does it fit?", question, verdict, pictures, [quantiles])
