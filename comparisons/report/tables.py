"""Every table of the report as plain rows: the page, the CSV files and the JSON show these."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr

from comparisons.criteria import by_fit
from comparisons.grades import Grade
from comparisons.reference import own_draws
from comparisons.report.draws import Replicates
from comparisons.report.headline import Row, duration
from comparisons.report.result import CaseResult
from comparisons.verdict import Verdict
from inference.estimate import Estimate
from inference.method import Method, label
from inference.posterior.draws import QUANTILES
from models.programs.adopted.model import AdoptedModel
from models.spec import Model

_QUANTILES = tuple(f"q{100 * level:02.0f}" for level in QUANTILES)
ESTIMATES = (
    *("model", "data", "method", "engine", "parameter", "estimate", "sd", "estimate_error"),
    *("sd_error", "sd_kind", *_QUANTILES, "status", "problems"),
)
CRITERIA = ("model", "data", "method", "criterion", "value", "error", "k", "n")
GRADES = ("model", "data", *Grade._fields)
_FIELDS = ("claim", "quantity", "parameter", "method", "reference")
_NUMBERS = ("observed", "expected", "error", "bound")
VERDICTS = ("comparison", "model", "data", "about", *_FIELDS, "n", *_NUMBERS, "verdict", "cause")
LADDER = ("statistic", "estimator", "quantity", "n", "value", "error", "theory")
"""Columns of a table that a comparison publishes on statistics by number of units."""
OPTIMISERS = (
    *("restarts", "reached", "degenerate", "failed", "runner_up", "newton_decrement"),
    *("iterations", "measured_rate", "predicted_rate", "shortfall"),
)
"""How optimisers and EM describe their run."""


def model_title(model: Model) -> str:
    """The model's name with the hyper-parameters that are not at their defaults."""
    changed = [f"{f.name}={value!r}" for f, value in settings(model).items() if value != f.default]
    return f"{model.name}({', '.join(changed)})" if changed else model.name


def settings(model: Model) -> dict[dataclasses.Field[Any], Any]:
    """The hyper-parameters by field; none of a user's own programs."""
    if isinstance(model, AdoptedModel) or not dataclasses.is_dataclass(model):
        return {}
    return {field: getattr(model, field.name) for field in dataclasses.fields(model)}


def identity(result: CaseResult) -> Row:
    """The two columns that say which case a row is about: the model, the data and their columns."""
    columns = f"[{', '.join(result.columns)}]" if result.columns else ""
    return {"model": model_title(result.model), "data": result.data_name + columns}


def title(result: CaseResult) -> str:
    """The model, its columns, and the data with their number of rows."""
    rows = max((one.shape[0] for one in result.data.data_vars.values() if one.ndim), default=0)
    data = f"{result.data_name}, {rows:,} rows" if rows else result.data_name
    columns = f"{', '.join(result.columns)} ({data})" if result.columns else data
    return f"{model_title(result.model)} · {columns}"


def prediction(verdict: Verdict) -> float:
    """The number that theory gives: of the theory that explains a departure, where one does."""
    if verdict.outcome == "EXPLAINED" and verdict.predicted is not None:
        return float(verdict.predicted)
    return float(verdict.expected)


def cause(verdict: Verdict) -> str:
    """The verdict's cause, with what theory predicts, and what would decide it."""
    parts = [verdict.cause]
    if verdict.predicted is not None and verdict.outcome in ("EXPLAINED", "DIFFER"):
        parts.append(f"predicted {verdict.predicted:.4g}")
    return "; ".join(part for part in (*parts, verdict.remedy) if part)


def estimate_rows(result: CaseResult) -> list[Row]:
    """One row per method and scalar; one per method that refused or failed."""
    nothing = dict.fromkeys(ESTIMATES, math.nan) | {"parameter": "", "sd_kind": ""}
    rows = []
    for method, fit in result.estimates.items():
        same = {
            **_of(method),
            "sd_kind": fit.sd_kind,
            "status": "problems" if fit.problems else "ok",
            "problems": "; ".join(fit.problems),
        }
        found = {n: one for v in map(str, fit.location.value) for n, one in fit.scalars(v).items()}
        draws = own_draws(fit, list(found))
        for i, (name, (estimate, estimate_error, sd, sd_error)) in enumerate(found.items()):
            numbers = {"estimate": estimate, "estimate_error": estimate_error}
            numbers |= {"sd": sd, "sd_error": sd_error}
            if draws is not None:
                numbers |= dict(zip(_QUANTILES, np.quantile(draws[..., i], QUANTILES), strict=True))
            rows.append({**nothing, **same, "parameter": name, **numbers})
    for method, why in result.refusals.items():
        rows.append({**nothing, **_of(method), "status": "refused", "problems": why})
    failed = nothing | {"engine": "", "status": "failed"}
    rows += [{**failed, "method": n, "problems": why} for n, why in result.failures.items()]
    return [{**row, **identity(result)} for row in rows]


def _of(method: Method) -> Row:
    return {"method": label(method), "engine": method.language or ""}


def criteria_rows(result: CaseResult) -> list[Row]:
    """Information criteria of every likelihood fit, log evidences, and what comparisons publish."""
    if not result.estimates:
        return []
    rows = [one._asdict() for one in by_fit(result.model, result.data, result.estimates)]
    for table in result.figures.values():
        rows += table.to_dict("records") if set(CRITERIA[2:]) <= set(table) else []
    last = {(row["method"], row["criterion"]): row for row in rows}
    return [identity(result) | {n: row[n] for n in CRITERIA[2:]} for row in last.values()]


def verdict_rows(result: CaseResult) -> list[Row]:
    """One row per verdict of every comparison."""
    return [
        {
            "comparison": name,
            **identity(result),
            "about": verdict.about,
            **{field: getattr(verdict, field) for field in (*_FIELDS, *_NUMBERS)},
            "n": "" if verdict.n is None else verdict.n,  # that of the case
            "verdict": verdict.outcome,
            "cause": cause(verdict),
        }
        for name, verdicts in result.verdicts.items()
        for verdict in verdicts
    ]


def sampled(result: CaseResult) -> list[tuple[Method, Estimate, xr.DataTree]]:
    """The fits by Markov chains, with their draws."""
    fits = [(method, fit, fit.draws) for method, fit in result.estimates.items()]
    return [(m, fit, draws) for m, fit, draws in fits if draws and "sample_stats" in draws.children]


def convergence_rows(result: CaseResult) -> Iterator[Row]:
    """The convergence of every sampler, worst over all reported scalars, as the gate has it."""
    for method, fit, draws in sampled(result):
        stats, sizes = draws["sample_stats"].to_dataset(), draws["posterior"].sizes
        relative = fit.location.error / fit.sd.value.where(fit.sd.value > 0)
        row = {
            "method": label(method),
            "draws": sizes["chain"] * sizes["draw"],
            **_attributes(fit, "rhat", "ess", "rhat_unaligned", "ess_unaligned"),
            "mcse_sd": max((float(part.max()) for part in relative.values()), default=math.nan),
            "divergences": int(stats["diverging"].sum()) if "diverging" in stats else math.nan,
            "bfmi": math.nan,
            "problems": "; ".join(fit.problems),
        }
        if "energy" in stats:
            energy = stats["energy"].transpose("chain", "draw").to_numpy()
            with np.errstate(invalid="ignore", divide="ignore"):  # an energy that never moves
                row["bfmi"] = float(np.min(azs.bfmi(energy)))
        yield row


def _attributes(fit: Estimate, *names: str) -> dict[str, float]:
    return {name: float(fit.record.attrs.get(name, math.nan)) for name in names}


def optimiser_rows(result: CaseResult) -> list[Row]:
    """How every optimiser describes its run."""
    return [
        {"method": label(method), **{n: fit.record.attrs.get(n, math.nan) for n in OPTIMISERS}}
        for method, fit in result.estimates.items()
        if "restarts" in fit.record.attrs
    ]


def predictive_rows(replicates: Replicates) -> Iterator[Row]:
    """Quantiles of the data among those of the replicated data sets."""
    for column, observed in replicates.observed.items():
        replicated = np.quantile(replicates.replicated[column], QUANTILES, axis=1)
        values = np.quantile(observed, QUANTILES)
        for level, value, sets in zip(QUANTILES, values, replicated, strict=True):
            yield {
                "column": column,
                "quantile": level,
                "observed": float(value),
                "replicated": float(sets.mean()),
                "replicated_sd": float(sets.std(ddof=1)) if sets.size > 1 else math.nan,
                "share_below": float(np.mean(sets < value) + 0.5 * np.mean(sets == value)),
            }


def cost_rows(result: CaseResult, convergence: Sequence[Row]) -> Iterator[Row]:
    """Seconds of every fit; effective draws per second of those that passed their checks."""
    effective = {row["method"]: row["ess"] for row in convergence}
    for method, fit in result.estimates.items():
        parts, ess = _attributes(fit, "compile", "warm_up", "run"), math.nan
        if math.isnan(duration(fit)):
            continue
        if label(method) in effective and not fit.problems and parts["run"] > 0:
            ess = effective[label(method)] / parts["run"]
        sums = {"total": duration(fit), "ess_per_second": ess}
        yield {"method": label(method), **parts, **sums}


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV file; text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(row[column]) for column in columns] for row in rows)
    return buffer.getvalue()


def _csv_cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))  # NumPy names its type
    text = str(value)
    risky = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not isinstance(value, int)
    return f"'{text}" if risky else text
