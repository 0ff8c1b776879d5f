"""Sections 1, 5 and 6: the model and its two programs, which order it has, whether it fits."""

import inspect
import math
from collections.abc import Sequence

import pandas as pd

from comparisons.claims import GATE
from comparisons.report import draws
from comparisons.report.facts import Facts
from comparisons.report.figures import curves
from comparisons.report.figures import model as figures
from comparisons.report.figures.canvas import Picture
from comparisons.report.figures.model import parents
from comparisons.report.formats import estimate, listed, number, with_error
from comparisons.report.headline import Row
from comparisons.report.result import CaseResult
from comparisons.report.sections.parts import Column, Section, Table, claims, numbers, table, words
from comparisons.report.tables import settings
from models.programs.adopted.model import AdoptedModel
from models.programs.density import languages, quantity_table
from models.spec import Model

_LIBRARIES = {"numpyro": "NumPyro", "pymc": "PyMC"}


def programs(known: Facts) -> Section:
    """The parameters, the formulas, the graph and the programs."""
    model, cls = known.result.model, type(known.result.model)
    reported = [parameter.name for parameter in quantity_table(model)]
    parts = f"part of {', '.join(reported)}"
    parameters = {
        "parameter": words(lambda p: p.name),
        "support": words(lambda p: p.support),
        "dims": words(lambda p: ", ".join(p.dims) or "scalar"),
        "reported as": words(lambda p: "itself" if p.name in reported else parts),
    }
    hyper = {"name": words(lambda pair: pair[0].name), "value": words(lambda pair: repr(pair[1]))}
    own = isinstance(model, AdoptedModel)  # of which our own words would say nothing
    documents = () if own else (inspect.getdoc(cls), inspect.getdoc(inspect.getmodule(cls)))
    agreed = known.result.verdicts.get(GATE, ())
    finding = ""
    if all(verdict.outcome == "AGREE" for verdict in agreed):
        finding = f"They are one model: all {len(agreed)} statements on the two programs agree."
    section = Section(
        "model",
        "Model and programs",
        "What is fitted, and are the two programs one model?",
        pictures=[_graph(known.result)],
        tables=[
            table("Parameters", model.parameters, parameters),
            table("Hyper-parameters, priors included", settings(model).items(), hyper),
        ],
        notes=[text for text in (known.result.data.attrs.get("read"), *_groups(known)) if text],
        statements=[text for text in documents if text],
        sources=tuple(
            (f"{_LIBRARIES[one]} program", _source(model, one)) for one in languages(model)
        ),
    )
    told = claims(known.result, section, finding)
    if len(languages(model)) == 1:
        told = told._replace(verdict="One program only: there is nothing to hold it against.")
    return told


def _groups(known: Facts) -> list[str]:
    """The labels of a column, by the index that the programs are given for each."""
    labels = {str(name): one.values for name, one in known.result.data.coords.items() if one.ndim}
    told = ((n, ", ".join(f"{i} is {x}" for i, x in enumerate(own))) for n, own in labels.items())
    return [f"{n.removesuffix('_label')}: {text}" for n, text in told if n.endswith("_label")]


def _graph(result: CaseResult) -> Picture | None:
    """The graph; None where the gate could not read the programs, of which it has told."""
    gate = result.verdicts.get(GATE, ())
    if gate and all(verdict.outcome == "NOT COMPARABLE" for verdict in gate):
        return None
    return figures.graph(*parents(result.model, result.data))


def _source(model: Model, language: str) -> str:
    if isinstance(model, AdoptedModel) and (text := model.source_of(language)):
        return text
    try:
        return inspect.cleandoc("\n" + inspect.getsource(getattr(type(model), language)))
    except (OSError, TypeError):
        return "The source is not available: the model was not defined in a file."


def order(known: Facts) -> Section:
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
    pictures = [curves.orders(known.rows["criteria"])]
    section = Section("order", "Which order?", question, pictures=pictures, tables=[shown])
    return claims(known.result, section, _choices(known.rows["criteria"]))


def _choices(rows: Sequence[Row]) -> str:
    """The order that every criterion chooses; without orders, what they say of the one there is."""
    start, chosen = "choice of ", dict[str, list[str]]()
    for row in rows:
        if row["criterion"] == "order":
            criterion, _, few = row["method"].removeprefix(start).partition(" among ")
            criterion += f" (among {few})" if few else ""
            chosen.setdefault(number(row["value"]), []).append(criterion)
    if chosen:
        told = (f"{' and '.join(names)}: order {order}" for order, names in chosen.items())
        return f"{'; '.join(told)}."
    known = {row["criterion"]: row for row in rows if math.isfinite(row["value"])}
    scales = {"aic": ("AIC", 1), "bic": ("BIC", 1), "log_evidence": ("−2 log evidence", -2)}
    scales["elpd_loo"] = "−2 leave-one-out log density", -2
    told = (
        f"{words} {estimate(scale * known[name]['value'], abs(scale) * known[name]['error'], 1)}"
        for name, (words, scale) in scales.items()
        if name in known
    )
    return f"The model has no order to choose. {', '.join(told)}." if known else ""


def _criterion(name: str) -> Column:
    return numbers(
        lambda row: estimate(row[name]["value"], row[name]["error"], 1) if name in row else ""
    )


def same_data(compared: Sequence[tuple[str, pd.DataFrame]]) -> list[Table]:
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
    every = ((data, models.reset_index(names="model")) for data, models in compared)
    return [
        table(f"Models of {data}", models.to_dict("records"), columns, note=note)
        for data, models in every
    ]


def fit(known: Facts) -> Section:
    """The data beside replicated data sets, the prior beside the posterior."""
    pictures, rows = [], known.rows["predictive"]
    outside = [row for row in rows if not 0.025 <= row["share_below"] <= 0.975]
    verdict = f"All {len(rows)} quantiles of the data lie among 95 % of the replicated ones."
    if isinstance(known.replicates, str):
        verdict = f"Not checked: {known.replicates}."
    else:
        pictures = [figures.predictive(known.replicates)]
    if outside:
        where = listed(f"{row['column']} at {100 * row['quantile']:.0f} %" for row in outside)
        start = f"{len(outside)} of {len(rows)} quantiles of the data lie outside 95 % of the"
        verdict = f"{start} replicated ones: {where}."
    quantiles = table(
        "Quantiles of the data and of the replicated data sets",
        rows,
        {
            "column": words("column"),
            "quantile": numbers(lambda row: f"{100 * row['quantile']:.0f} %"),
            "data": numbers(lambda row: number(row["observed"], row["replicated_sd"] / 10)),
            "replicated": numbers("replicated", "replicated_sd", with_error),
            "share below": numbers(lambda row: f"{row['share_below']:.2f}"),
        },
        note=f"Of {draws.REPLICATES} replicated data sets, mean ± standard deviation, and the "
        "share below the data's.",
    )
    question = "Could the model have produced these data?"
    return Section("fit", "Does the model fit?", question, verdict, pictures, [quantiles])
