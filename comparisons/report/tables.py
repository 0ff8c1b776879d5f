"""Every table of the report as plain rows: the page, the CSV files and the JSON show these."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from comparisons.reference import own_draws
from comparisons.report.draws import Comparable, Replicates
from comparisons.report.headline import Agreement, base
from comparisons.report.result import CaseResult
from comparisons.verdict import Verdict
from inference.estimate import Estimate
from inference.method import catalogue
from inference.posterior.labels import log_modes
from models.programs.density import density, units
from models.spec import Model

type Row = dict[str, Any]

ESTIMATES = (
    "model", "data", "method", "engine", "parameter", "estimate", "sd", "estimate_error",
    "sd_error", "sd_kind", "status", "problems",
)  # fmt: skip
CRITERIA = ("model", "data", "method", "criterion", "value", "error", "k", "n")
FIELDS = ("claim", "quantity", "parameter", "method", "reference")
"""Of a verdict, in its table; `n` too, empty where it is that of the case."""
VERDICTS = (
    *("comparison", "model", "data", "about", *FIELDS, "n"),
    *("observed", "expected", "error", "bound", "verdict", "cause"),
)
LADDER = ("statistic", "estimator", "quantity", "n", "value", "error", "theory")
"""Of a table that a comparison publishes on how statistics change with the number of units."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ENGINES = ("numpyro", "pymc")


def model_title(model: Model) -> str:
    """The model's name with the hyper-parameters that are not at their defaults."""
    if not dataclasses.is_dataclass(model):
        return model.name
    changed = [
        f"{field.name}={getattr(model, field.name)!r}"
        for field in dataclasses.fields(model)
        if getattr(model, field.name) != field.default
    ]
    return f"{model.name}({', '.join(changed)})" if changed else model.name


def prediction(verdict: Verdict) -> float:
    """The number that theory gives: of the theory that explains a departure, where one does."""
    if verdict.outcome == "EXPLAINED" and verdict.predicted is not None:
        return float(verdict.predicted)
    return float(verdict.expected)


def data_title(result: CaseResult) -> str:
    """The name of the data with the columns that were chosen."""
    return (
        f"{result.data_name}[{', '.join(result.columns)}]" if result.columns else result.data_name
    )


def identity(result: CaseResult) -> Row:
    """The two columns that say which case a row is about."""
    return {"model": model_title(result.model), "data": data_title(result)}


def engine(label: str) -> str:
    """Whose program the method ran: `pymc` of `nuts[pymc]`; "" if it names none."""
    variant = label.partition("[")[2].removesuffix("]").split(", ")
    return next((name for name in _ENGINES if name in variant), "")


def estimate_rows(result: CaseResult) -> list[Row]:
    """One row per method and scalar; one per method that refused or failed."""
    rows = []
    for label, fit in result.estimates.items():
        head = {**identity(result), "method": label, "engine": engine(label)}
        tail = {
            "sd_kind": fit.sd_kind,
            "status": "problems" if fit.problems else "ok",
            "problems": "; ".join(fit.problems),
        }
        for name, location in fit.location.value.data_vars.items():
            parts = {
                "estimate": location,
                "sd": fit.sd.value[name],
                "estimate_error": fit.location.error[name],
                "sd_error": fit.sd.error[name],
            }
            for index in np.ndindex(location.shape):
                flat = f"{name}[{', '.join(map(str, index))}]" if index else str(name)
                numbers = {key: float(part.values[index]) for key, part in parts.items()}
                rows.append({**head, "parameter": flat, **numbers, **tail})
    nan = float("nan")
    for status, reasons in (("refused", result.refusals), ("failed", result.failures)):
        for label, reason in reasons.items():
            rows.append(
                {
                    **identity(result),
                    "method": label,
                    "engine": engine(label),
                    "parameter": "",
                    "estimate": nan,
                    "sd": nan,
                    "estimate_error": nan,
                    "sd_error": nan,
                    "sd_kind": "",
                    "status": status,
                    "problems": reason,
                }
            )
    return rows


def criteria_rows(result: CaseResult) -> list[Row]:
    """Information criteria of every likelihood fit, log evidences, and what comparisons publish."""
    found = {(row["method"], row["criterion"]): row for row in _own_criteria(result)}
    for table in result.figures.values():
        if has_criteria(table):
            for row in table_rows(table):
                chosen = {name: row[name] for name in CRITERIA[2:]}
                found[row["method"], row["criterion"]] = {**identity(result), **chosen}
    return list(found.values())


def has_criteria(table: xr.Dataset) -> bool:
    """Whether a table that a comparison publishes lists criteria."""
    return set(CRITERIA[2:]) <= set(map(str, table.data_vars))


def table_rows(table: xr.Dataset) -> list[Row]:
    """The rows of a table that a comparison publishes, whose variables share one dim."""
    columns = {str(name): variable.values.tolist() for name, variable in table.data_vars.items()}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _own_criteria(result: CaseResult) -> Iterator[Row]:
    methods = catalogue()
    k, n = density(result.model, result.data).size, units(result.model, result.data)
    for label, fit in result.estimates.items():
        method = methods.get(base(label))
        found: dict[str, tuple[float, float]] = {}
        height = fit.log_likelihood
        if method and method.target == "likelihood" and not fit.problems and math.isfinite(height):
            found["log_likelihood"] = height, 0.0
            found["aic"] = 2 * k - 2 * height, 0.0
            found["bic"] = k * math.log(n) - 2 * height, 0.0
        if "log_evidence" in fit.record.attrs and not fit.problems:
            evidence = float(fit.record.attrs["log_evidence"])
            if base(label) != "exact_posterior":
                evidence += log_modes(result.model)
            found["log_evidence"] = evidence, 0.0
        for criterion, (value, error) in found.items():
            yield {
                **identity(result),
                "method": label,
                "criterion": criterion,
                "value": value,
                "error": error,
                "k": k,
                "n": n,
            }


def verdict_rows(result: CaseResult) -> list[Row]:
    """One row per verdict of every comparison."""
    return [
        {
            "comparison": name,
            **identity(result),
            "about": verdict.about,
            **{name: getattr(verdict, name) for name in FIELDS},
            "n": "" if verdict.n is None else verdict.n,
            "observed": verdict.observed,
            "expected": verdict.expected,
            "error": verdict.error,
            "bound": verdict.bound,
            "verdict": verdict.outcome,
            "cause": cause(verdict),
        }
        for name, verdicts in result.verdicts.items()
        for verdict in verdicts
    ]


def cause(verdict: Verdict) -> str:
    """The verdict's cause, with what theory predicts, and what would decide it."""
    parts = [verdict.cause]
    if verdict.predicted is not None and verdict.outcome in ("EXPLAINED", "DIFFER"):
        parts.append(f"predicted {verdict.predicted:.4g}")
    return "; ".join(part for part in (*parts, verdict.remedy) if part)


def convergence_rows(result: CaseResult) -> list[Row]:
    """The convergence of every sampler, worst over all reported scalars, as the gate has it."""
    return [
        {
            "method": label,
            "draws": fit.draws["posterior"].sizes["chain"] * fit.draws["posterior"].sizes["draw"],
            **{
                name: fit.record.attrs.get(name, math.nan)
                for name in ("rhat", "ess", "rhat_unaligned", "ess_unaligned")
            },
            "mcse_sd": _largest_error(fit),
            **_energy(fit.draws["sample_stats"].to_dataset()),
            "problems": "; ".join(fit.problems),
        }
        for label, fit in result.estimates.items()
        if fit.draws is not None and "sample_stats" in fit.draws.children
    ]


def _largest_error(fit: Estimate) -> float:
    """Of the reported means, in posterior standard deviations."""
    relative = fit.location.error / fit.sd.value.where(fit.sd.value > 0)
    return max((float(part.max()) for part in relative.values()), default=math.nan)


def _energy(stats: xr.Dataset) -> Row:
    row: Row = {"divergences": math.nan, "bfmi": math.nan}
    if "diverging" in stats:
        row["divergences"] = int(stats["diverging"].sum())
    if "energy" in stats:
        energy = stats["energy"].transpose("chain", "draw").to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            fraction = np.mean(np.diff(energy) ** 2, axis=1) / np.var(energy, axis=1)
        row["bfmi"] = float(np.min(fraction))
    return row


RUN_ATTRIBUTES = (
    "restarts", "reached", "degenerate", "failed", "runner_up", "newton_decrement", "iterations",
    "measured_rate", "predicted_rate", "shortfall",
)  # fmt: skip
"""What optimisers and EM say of their run."""


def optimiser_rows(result: CaseResult) -> list[Row]:
    """What every optimiser says of its run."""
    return [
        {"method": label, **{name: fit.record.attrs.get(name) for name in RUN_ATTRIBUTES}}
        for label, fit in result.estimates.items()
        if "restarts" in fit.record.attrs
    ]


def agreement_rows(result: CaseResult, found: Agreement) -> list[Row]:
    """Every method against the reference at every scalar, with a distance of the draws.

    The distance is the one-dimensional Wasserstein distance in reference standard deviations; its
    null is the distance between two halves of the reference's own draws.
    """
    if not found.reference:
        return []
    distances = _distances(result, found)
    return [
        {
            "method": label,
            "parameter": scalar,
            "shift": cell.shift,
            "shift_error": cell.shift_error,
            "shift_in_errors": _ratio(cell.shift, cell.shift_error),
            "ratio": cell.ratio,
            "ratio_error": cell.ratio_error,
            "distance": distances.get((label, scalar), (math.nan, math.nan))[0],
            "distance_null": distances.get((label, scalar), (math.nan, math.nan))[1],
            "center_verdict": cell.location,
            "sd_verdict": cell.sd,
            "cause": cell.cause,
        }
        for label, cells in found.cells.items()
        for scalar, cell in cells.items()
    ]


def _ratio(value: float, error: float) -> float:
    return value / error if error > 0 else math.nan


def _distances(result: CaseResult, found: Agreement) -> dict[tuple[str, str], tuple[float, float]]:
    truth = own_draws(result.estimates[found.reference], found.scalars)
    if truth is None:
        return {}
    flat = truth.reshape(-1, len(found.scalars))
    reference, first, second = map(_quantiles, (flat, flat[::2], flat[1::2]))
    scale = flat.std(axis=0)
    null = np.abs(first - second).mean(axis=0) / scale
    distances = {}
    for label, cells in found.cells.items():
        draws = own_draws(result.estimates[label], list(cells))
        if draws is None:
            continue
        places = [found.scalars.index(name) for name in cells]
        apart = np.abs(_quantiles(draws.reshape(-1, len(cells))) - reference[:, places])
        for name, place, distance in zip(cells, places, apart.mean(axis=0), strict=True):
            distances[label, name] = float(distance / scale[place]), float(null[place])
    return distances


def _quantiles(flat: np.ndarray) -> np.ndarray:
    """∫|F⁻¹ − G⁻¹| is the distance; these are the midpoints of its rule."""
    return np.sort(flat, axis=0)[((np.arange(1000) + 0.5) / 1000 * len(flat)).astype(int)]


def predictive_rows(replicates: Replicates) -> list[Row]:
    """Quantiles of the data among those of the replicated data sets."""
    rows = []
    for column, observed in replicates.observed.items():
        replicated = np.quantile(replicates.replicated[column], QUANTILES, axis=1)
        for level, value, sets in zip(
            QUANTILES, np.quantile(observed, QUANTILES), replicated, strict=True
        ):
            rows.append(
                {
                    "column": column,
                    "quantile": level,
                    "observed": float(value),
                    "replicated": float(sets.mean()),
                    "replicated_sd": float(sets.std(ddof=1)) if sets.size > 1 else math.nan,
                    "share_below": float(np.mean(sets < value) + 0.5 * np.mean(sets == value)),
                }
            )
    return rows


def cost_rows(result: CaseResult, convergence: Sequence[Row]) -> list[Row]:
    """Seconds of every fit; effective draws per second of those that passed their checks."""
    effective = {row["method"]: row["ess"] for row in convergence}
    rows = []
    for label, fit in result.estimates.items():
        parts = {
            name: float(fit.record.attrs.get(name, math.nan))
            for name in ("compile", "warm_up", "run")
        }
        if all(map(math.isnan, parts.values())):
            continue
        per_second = math.nan
        if label in effective and not fit.problems and parts["run"] > 0:
            per_second = effective[label] / parts["run"]
        rows.append(
            {"method": label, **parts, "total": float(np.nansum(list(parts.values()))),
             "ess_per_second": per_second}
        )  # fmt: skip
    return rows


def forest_rows(comparable: Comparable, names: Sequence[str]) -> list[Row]:
    """What the forest plot draws, on the natural scale: mean, 50 % and 89 % interval."""
    levels = (0.055, 0.25, 0.75, 0.945)
    rows = []
    for label, draws in comparable.draws.items():
        flat = draws.reshape(-1, len(names))
        quantiles = np.quantile(flat, levels, axis=0)
        for j, name in enumerate(names):
            rows.append(
                {
                    "method": label,
                    "parameter": name,
                    "mean": float(flat[:, j].mean()),
                    **{
                        f"q{level:g}": float(q[j])
                        for level, q in zip(levels, quantiles, strict=True)
                    },
                    "sampling_approximation": label in comparable.approximated,
                }
            )
    return rows


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV file; text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(row[column]) for column in columns])
    return buffer.getvalue()


def _csv_cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    text = str(value)
    if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not isinstance(value, int):
        return f"'{text}"
    return text
