"""The sections of a page: question, verdict, figures, tables."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, final

from comparisons.report import (
    draws as _draws,
)
from comparisons.report import (
    figures as _figures,
)
from comparisons.report import (
    headline as _answer,
)
from comparisons.report import (
    tables as _tables,
)
from comparisons.report.facts import provenance, settings
from comparisons.report.formats import number, seconds, with_error
from comparisons.report.graph import parents
from comparisons.runs.selection import GATE
from models.programs.density import quantity_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import xarray as xr

    from comparisons import exhibits as theory
    from comparisons.report.facts import CaseResult, Facts
    from comparisons.report.figures import Picture
    from comparisons.runs.theory import Demonstration
    from comparisons.studies._study import Finding, Unjudged
    from comparisons.verdict import Outcome, Verdict

_SECTION = {
    "same_model": "model",
    "fisher_standard_errors": "fisher",
    "cramer_rao": "fisher",
    "bic": "order",
}
"""Where a comparison is told; one that is not named here is told under `agreement`."""
_OUTCOMES: dict[Outcome, str] = {
    "DIFFER": "what differs",
    "EXPLAINED": "what differs as theory predicts",
    "NOT COMPARABLE": "what could not be compared",
    "UNSURE": "what needs more draws",
    "AGREE": "what agrees",
}
"""How the verdicts of a comparison are told, what matters most first."""
_COLUMNS = 12
"""Scalars beyond which the agreement matrix has a column for each parameter."""
_LONG = 30
"""Rows beyond which a table is folded."""


class Shown(NamedTuple):
    """A cell of a table: text, and a verdict's mark where it has one."""

    text: str
    outcome: Outcome | None = None


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A table as text.

    Attributes:
        title: what it is, in a few words.
        note: how to read it.
        columns: the headers.
        rows: as many cells as columns; the first is the row's header.
        numeric: places of the columns that hold numbers.
        folded: whether it starts closed.
        file: the file in which its numbers are.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Shown, ...]]
    numeric: frozenset[int]
    folded: bool
    file: str = "results.json"


@final
@dataclass(frozen=True, slots=True)
class Section:
    """A section of a page."""

    anchor: str
    title: str
    question: str
    verdict: str
    counts: Mapping[Outcome, int] | None
    pictures: list[Picture]
    tables: list[Table]
    notes: list[str]
    sources: tuple[tuple[str, str], ...] = ()


class Matrix(NamedTuple):
    """The agreement matrix of the first screen."""

    columns: tuple[str, ...]
    rows: list[MatrixRow]
    grouped: bool


class MatrixRow(NamedTuple):
    """One method: its worst shift and ratios as text, and (centre, spread) for each column."""

    method: str
    shift: str
    ratio: str
    cells: list[tuple[Outcome, Outcome] | None]


def matrix(known: Facts) -> Matrix | None:
    """Methods × scalars, or × parameters where there are many; None without a reference."""
    found = known.found
    if not found.reference:
        return None
    grouped = len(found.scalars) > _COLUMNS
    groups: dict[str, list[str]] = {}
    for scalar in found.scalars:
        groups.setdefault(scalar.partition("[")[0] if grouped else scalar, []).append(scalar)
    rows = []
    for method, cells in found.cells.items():
        shift = _answer.worst_shift(cells)
        ratios = [cell.ratio for cell in cells.values() if not math.isnan(cell.ratio)]
        span = sorted({f"{min(ratios):.2f}", f"{max(ratios):.2f}"}) if ratios else ["–"]
        known_cells = [[cells[s] for s in group if s in cells] for group in groups.values()]
        rows.append(
            MatrixRow(
                method,
                number(shift[1].shift, max(shift[1].shift_error, 0.01)) if shift else "–",
                "–".join(span),
                [
                    (
                        _answer.summary(cell.location for cell in group),
                        _answer.summary(cell.sd for cell in group),
                    )
                    if group
                    else None
                    for group in known_cells
                ],
            )
        )
    return Matrix(tuple(groups), rows, grouped)


def forest(known: Facts) -> Picture | None:
    """The first screen's figure."""
    return _figures.forest(known.found, known.drawn, known.notable)


def sections(known: Facts, command: str) -> list[Section]:
    """Every section of the page, in the order of the report."""
    return [
        _model(known),
        _trust(known),
        _agreement(known),
        _fisher(known),
        _order(known),
        _fit(known),
        _cost(known),
        _provenance(known, command),
    ]


# ---------------------------------------------------------------- the sections


def _model(known: Facts) -> Section:
    result = known.result
    parameters = _table(
        "Parameters",
        ("parameter", "support", "dims", "reported as"),
        [
            (p.name, p.support, ", ".join(p.dims) or "scalar", _reported(result, p.name))
            for p in result.model.parameters
        ],
    )
    hyper = _table("Hyper-parameters, priors included", ("name", "value"), settings(result))
    return Section(
        "model",
        "1. Model",
        "What is fitted, and are the two programs one model?",
        *_verdict(result, "model"),
        _drawn([_graph(result)]),
        [parameters, hyper, *_verdict_tables(result, "model")],
        _statement(result),
        (
            ("NumPyro program", _source(result, "numpyro")),
            ("PyMC program", _source(result, "pymc")),
        ),
    )


def _graph(result: CaseResult) -> Picture | None:
    """The graph; None where the gate could not read the programs, of which it has told."""
    gate = result.verdicts.get(GATE, ())
    if gate and all(verdict.outcome == "NOT COMPARABLE" for verdict in gate):
        return None
    return _figures.graph(*parents(result.model, result.data))


def _trust(known: Facts) -> Section:
    result = known.result
    pictures = []
    samplers = [row["method"] for row in known.convergence]
    # a second healthy run shows nothing new
    shown = samplers[:1] + [name for name in samplers[1:] if result.estimates[name].problems][:1]
    for place, label in enumerate(shown, 1):
        fit = result.estimates[label]
        pictures.append(_figures.ranks(label, fit, known.notable, place))
        pictures.append(_figures.traces(label, fit, known.notable, place))
        pictures.append(_figures.energy(label, fit, place))
    pictures.append(_figures.paths(result))
    troubled = {name: fit.problems for name, fit in result.estimates.items() if fit.problems}
    sound = len(result.estimates) - len(troubled)
    verdict = f"{sound} of {len(result.estimates)} fits passed every check"
    if troubled:
        verdict += f"; not {', '.join(troubled)}"
    note = (
        "The worst over all reported scalars; ESS is the smaller one of bulk and tail. "
        "Required: R-hat below 1.01, ESS at least 400, no divergences, E-BFMI at least 0.3."
    )
    unaligned = []
    if not all(math.isnan(row["rhat_unaligned"]) for row in known.convergence):
        unaligned = [("rhat_unaligned", 0.001), ("ess_unaligned", 10.0)]
        note += " Unaligned: before components were given one labelling; nothing is required of it."
    samplers_table = _table(
        "Convergence of the samplers",
        (
            "method", "draws", "R-hat", "ESS", "MCSE / sd", "divergences", "E-BFMI",
            *("R-hat unaligned", "ESS unaligned")[: len(unaligned)],
        ),
        [
            (
                row["method"], number(row["draws"]), number(row["rhat"], 0.001),
                number(row["ess"], 10.0), number(row["mcse_sd"], 0.001),
                number(row["divergences"]), number(row["bfmi"]),
                *(number(row[name], error) for name, error in unaligned),
            )
            for row in known.convergence
        ],
        note=note,
        numeric=range(1, 7 + len(unaligned)),
    )  # fmt: skip
    optimisers = _run_table(
        known,
        "How the optimisers ended",
        _tables.RUN_ATTRIBUTES[:6],
        "Restarts that reached the reported optimum, how many ended degenerate or failed, the next "
        "best optimum.",
    )
    climbs = _run_table(
        known,
        "How fast EM climbed",
        _tables.RUN_ATTRIBUTES[6:],
        "The rate of convergence, measured and as Louis' identity predicts it.",
    )
    problems = _table(
        "Why fits must not be relied on, or are missing",
        ("method", "status", "reason"),
        [
            *((name, "problem", "; ".join(reasons)) for name, reasons in troubled.items()),
            *((name, "failed", reason) for name, reason in result.failures.items()),
            *((name, "refused", reason) for name, reason in result.refusals.items()),
        ],
        file="estimates.csv",
    )
    return Section(
        "trust",
        "2. Can the runs be trusted?",
        "Did every sampler converge, and did every optimiser find its optimum?",
        verdict + "." if result.estimates else "Nothing was fitted.",
        None,
        _drawn(pictures),
        _filled(samplers_table, problems, optimisers, climbs),
        [],
    )


def _run_table(known: Facts, title: str, names: Sequence[str], note: str) -> Table:
    """What the methods that say one of the names say of their run."""
    rows = [row for row in known.optimisers if any(row[name] is not None for name in names)]
    shown = [name for name in names if any(row[name] is not None for row in rows)]
    return _table(
        title,
        ("method", *(name.replace("_", " ") for name in shown)),
        [(row["method"], *(_loose(row[name]) for name in shown)) for row in rows],
        note=note,
        numeric=range(1, 1 + len(shown)),
    )


def _agreement(known: Facts) -> Section:
    result, found = known.result, known.found
    table = _table(
        f"Every method against {found.reference}",
        ("method", "scalar", "shift", "in errors", "spread ratio", "distance", "its null",
         "centre", "sd"),
        [
            (
                row["method"], row["parameter"], with_error(row["shift"], row["shift_error"]),
                number(row["shift_in_errors"], 0.1) if row["shift_error"] > 0 else "–",
                with_error(row["ratio"], row["ratio_error"]),
                number(row["distance"], 0.001), number(row["distance_null"], 0.001),
                Shown(row["center_verdict"].lower(), row["center_verdict"]),
                Shown(row["sd_verdict"].lower(), row["sd_verdict"]),
            )
            for row in known.agreement
        ],
        note="Shift of the centre in reference standard deviations, also in Monte Carlo errors; "
        "ratio of spreads; Wasserstein distance of the draws in reference standard deviations, "
        "beside that between two halves of the reference's own draws. Marks are the verdicts of "
        "posterior_agreement, or of the same rule (a bound of 5 %) where that was not asked.",
        numeric=range(2, 7),
    )  # fmt: skip
    pictures = [
        _figures.densities(known.drawn, known.notable),
        _figures.pairs(result, found.reference, known.notable),
    ]
    numbers = _table(
        "The numbers of the forest plot",
        ("method", "scalar", "mean", "5.5 %", "25 %", "75 %", "94.5 %"),
        [
            (
                row["method"] + (" †" if row["sampling_approximation"] else ""), row["parameter"],
                *(
                    number(row[name], (row["q0.945"] - row["q0.055"]) / 60)
                    for name in ("mean", "q0.055", "q0.25", "q0.75", "q0.945")
                ),
            )
            for row in known.forest
        ],
        note="On the natural scale: mean, and the ends of the 50 % and 89 % equal-tailed "
        "intervals. † sampling approximation, N(estimate, covariance).",
        numeric=range(2, 7),
        folded=True,
    )  # fmt: skip
    return Section(
        "agreement",
        "3. Do the methods agree?",
        "Which methods give the same answer, and where they do not, does a theory say by how much?",
        *_verdict(result, "agreement"),
        _drawn([*pictures, *_ladders(result, "agreement")]),
        _filled(table, numbers, *_verdict_tables(result, "agreement")),
        _silent(result, "agreement"),
    )


def _fisher(known: Facts) -> Section:
    result = known.result
    estimates = _table(
        "Every estimate with its spread",
        ("method", "scalar", "estimate", "sd", "kind of spread", "status"),
        [
            (
                row["method"], row["parameter"],
                _estimate(row["estimate"], row["estimate_error"], row["sd"]),
                _estimate(row["sd"], row["sd_error"], row["sd"]),
                row["sd_kind"], row["status"],
            )
            for row in known.estimates
            if row["parameter"]
        ],
        note="± is the Monte Carlo standard error.",
        numeric=(2, 3),
        file="estimates.csv",
        folded=True,
    )  # fmt: skip
    return Section(
        "fisher",
        "4. Fisher information and Cramér–Rao",
        "Is the posterior as narrow as theory says, and does any estimator beat the bound?",
        *_verdict(result, "fisher"),
        _drawn([_figures.spreads(known.found, known.notable), *_ladders(result, "fisher")]),
        _filled(*_verdict_tables(result, "fisher"), estimates),
        _silent(result, "fisher"),
    )


def _order(known: Facts) -> Section:
    result = known.result
    criteria = tuple(dict.fromkeys(row["criterion"] for row in known.criteria))
    methods: dict[str, dict[str, Any]] = {}
    for row in known.criteria:
        methods.setdefault(row["method"], {"k": row["k"]})[row["criterion"]] = row
    table = _table(
        "Criteria",
        ("method", "k", *(name.replace("_", " ") for name in criteria)),
        [
            (
                method, number(found["k"]),
                *(
                    _criterion(found[name]["value"], found[name]["error"]) if name in found else ""
                    for name in criteria
                ),
            )
            for method, found in methods.items()
        ],
        note="Information criteria (smaller is better), log-likelihood, log evidence and expected "
        "log predictive density (larger is better); k free parameters.",
        numeric=range(1, 2 + len(criteria)),
        file="criteria.csv",
    )  # fmt: skip
    return Section(
        "order",
        "5. Which order?",
        "How large a model do the data support, and does BIC stand in for the evidence?",
        *_verdict(result, "order"),
        _drawn([_figures.orders(known.criteria), *_ladders(result, "order")]),
        _filled(table, *_verdict_tables(result, "order")),
        _silent(result, "order"),
    )


def _fit(known: Facts) -> Section:
    rows = known.predictive
    pictures = []
    if known.replicates:
        pictures = [_figures.predictive(known.replicates), _figures.pit(known.replicates)]
    if known.source:
        drawn = _draws.prior_and_posterior(known.result, known.source)
        pictures.append(_figures.prior_posterior(*drawn, known.source))
    outside = [row for row in rows if not 0.025 <= row["share_below"] <= 0.975]
    if known.replicates is None:
        verdict = f"Not checked: {known.no_replicates}."
    elif outside:
        where = ", ".join(f"{row['column']} at {row['quantile']:.0%}" for row in outside[:6])
        verdict = (
            f"{len(outside)} of {len(rows)} quantiles of the data lie outside 95 % of the "
            f"replicated ones: {where}."
        )
    else:
        verdict = f"All {len(rows)} quantiles of the data lie among 95 % of the replicated ones."
    table = _table(
        "Quantiles of the data and of the replicated data sets",
        ("column", "quantile", "data", "replicated", "share below"),
        [
            (
                row["column"], f"{row['quantile']:.0%}",
                number(row["observed"], row["replicated_sd"] / 10),
                with_error(row["replicated"], row["replicated_sd"]), f"{row['share_below']:.2f}",
            )
            for row in rows
        ],
        note=f"Of {_draws.REPLICATES} replicated data sets, mean ± standard deviation, and the "
        "share below the data's.",
        numeric=range(1, 5),
    )  # fmt: skip
    return Section(
        "fit",
        "6. Does it fit?",
        "Could the model have produced these data?",
        verdict,
        None,
        _drawn(pictures),
        _filled(table),
        [],
    )


def _cost(known: Facts) -> Section:
    rows = known.costs
    ranked = [row for row in rows if not math.isnan(row["ess_per_second"])]
    verdict = "No sampler passed its checks, so none is ranked."
    if ranked:
        best = max(ranked, key=lambda row: row["ess_per_second"])
        verdict = (
            f"Among the samplers that passed, {best['method']} gives most effective draws per "
            f"second of sampling: {best['ess_per_second']:.0f}."
        )
    names = ("compile", "warm_up", "run", "total", "ess_per_second")
    table = _table(
        "Seconds",
        ("method", "compile", "warm-up", "run", "total", "ESS per second"),
        [
            (
                row["method"],
                *(seconds(row[name]) for name in names),
            )
            for row in rows
        ],
        note="Effective draws (the smallest ESS) per second of sampling, of runs that passed.",
        numeric=range(1, 6),
    )  # fmt: skip
    return Section(
        "cost",
        "8. Cost",
        "What did each answer cost?",
        verdict,
        None,
        _drawn([_figures.costs(rows)]),
        _filled(table),
        [],
    )


def _provenance(known: Facts, command: str) -> Section:
    facts = provenance(known.result, command)
    versions = facts.pop("versions")
    told = [(key.replace("_", " "), str(value)) for key, value in facts.items()]
    run = _table("The run", ("what", "value"), told)
    libraries = _table("Versions", ("distribution", "version"), list(versions.items()), folded=True)
    changes = known.changes
    if changes is None:
        verdict = "There is no earlier run here to compare with."
    else:
        moved = sum(change == "changed" for _, change, _ in changes)
        unclear = sum(change == "cannot tell" for _, change, _ in changes)
        verdict = (
            f"Since the last run {moved} verdict{'s' if moved != 1 else ''} changed; {unclear} "
            "cannot be told apart from Monte Carlo error; "
            f"{len(changes) - moved - unclear} are unchanged."
        )
    table = _table(
        "What changed since the last run",
        ("statement", "change", "numbers"),
        [change for change in changes or () if change[1] != "unchanged"],
    )
    return Section(
        "provenance",
        "9. Provenance",
        "How was this made, and what changed?",
        verdict,
        None,
        [],
        _filled(run, libraries, table),
        [],
    )


def same_data(compared: Sequence[tuple[str, pd.DataFrame]]) -> list[tuple[Picture, Table]]:
    """Models of the same data, for the overview."""
    return [
        (
            _figures.compared(table, f"models-{place}", data),
            _table(
                f"Models of {data}",
                ("model", "elpd", "less the best", "effective parameters", "weight"),
                [
                    (
                        str(name),
                        with_error(row["elpd"], row["se"]),
                        with_error(row["elpd_diff"], row["dse"]),
                        number(row["p"], 0.1),
                        number(row["weight"], 0.01),
                    )
                    for name, row in table.iterrows()
                ],
                note="Expected log pointwise predictive density by Pareto-smoothed leave-one-out "
                "cross-validation, nats, larger is better; stacking weights.",
                numeric=range(1, 5),
            ),
        )
        for place, (data, table) in enumerate(compared, 1)
    ]


# ---------------------------------------------------------------- parts


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[Sequence[str | Shown]],
    *,
    note: str = "",
    numeric: Iterable[int] = (),
    file: str = "results.json",
    folded: bool = False,
) -> Table:
    cells = [tuple(c if isinstance(c, Shown) else Shown(c) for c in row) for row in rows]
    return Table(
        title, note, columns, cells, frozenset(numeric), folded or len(cells) > _LONG, file
    )


def _filled(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _drawn(pictures: Iterable[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture]


def _chosen(result: CaseResult, section: str) -> dict[str, tuple[Verdict, ...]]:
    return {
        name: verdicts
        for name, verdicts in result.verdicts.items()
        if _SECTION.get(name, "agreement") == section
    }


def _verdict(result: CaseResult, section: str) -> tuple[str, Mapping[Outcome, int] | None]:
    """The sentence and the counts of the comparisons told in a section."""
    verdicts = [v for vs in _chosen(result, section).values() for v in vs]
    if not verdicts:
        return "No comparison here applies to this case.", None
    worst = _answer.summary(v.outcome for v in verdicts)
    sentence = {
        "AGREE": "All that could be compared agrees.",
        "EXPLAINED": "Whatever differs is as large as theory predicts.",
        "UNSURE": "Nothing differs for certain; some comparisons need more draws.",
        "DIFFER": "Something differs that no theory named here predicts.",
        "NOT COMPARABLE": "Nothing could be compared.",
    }[worst]
    return sentence, _answer.counts(verdicts)


def _silent(result: CaseResult, section: str) -> list[str]:
    return [
        f"{result.titles.get(name, name)}: does not apply to this case."
        for name, verdicts in _chosen(result, section).items()
        if not verdicts
    ]


def _ladders(result: CaseResult, section: str) -> list[Picture]:
    """Of every table that lists statistics by number of units."""
    published = {name: result.figures.get(name) for name in _chosen(result, section)}
    return [
        _figures.ladder(name, table)
        for name, table in published.items()
        if table is not None and set(_tables.LADDER) <= set(map(str, table.data_vars))
    ]


def _verdict_tables(result: CaseResult, section: str) -> list[Table]:
    """Of every comparison: its table, then the verdicts, what needs a reader's eye first."""
    tables = []
    for name, verdicts in _chosen(result, section).items():
        title = result.titles.get(name, name)
        published = result.figures.get(name)
        if published is not None and not _tables.has_criteria(published):
            tables.append(_published(f"{title}: its table", published))
        for outcome, words in _OUTCOMES.items():
            rows = [v for v in verdicts if v.outcome == outcome]
            folded = len(rows) > 8 or (outcome != "DIFFER" and len(rows) < len(verdicts))
            if rows:
                tables.append(_verdict_table(f"{title}: {words}", rows, folded))
    return tables


def study_tables(findings: Sequence[Finding], parameters: Sequence[str]) -> list[Table]:
    """One table of findings for each parameter, and one of those that are about none."""
    tables = []
    for parameter in ("", *parameters):
        chosen = [finding for finding in findings if finding.parameter == parameter]
        if not chosen:
            continue
        rows = [
            (
                finding.quantity, finding.method, f"{finding.n:,}",
                Shown(finding.verdict.outcome.lower(), finding.verdict.outcome),
                with_error(finding.verdict.observed, finding.verdict.error),
                _predicted(finding.verdict), finding.verdict.cause,
            )
            for finding in chosen
        ]  # fmt: skip
        tables.append(
            _table(
                parameter or "The study",
                ("quantity", "method", "N", "verdict", "measured", "theory", "cause"),
                rows,
                numeric=(2, 4, 5),
                file="study.csv",
                folded=len(rows) > 12,
            )
        )
    return tables


def _predicted(verdict: Verdict) -> str:
    """What theory predicts, as a cell."""
    least = "at least " if verdict.relation == "at_least" else ""
    return least + number(_tables.prediction(verdict))


def unjudged_table(unjudged: Unjudged) -> Table:
    """Numbers without verdicts, N down; theory beside each quantity that has one."""
    quantities = dict.fromkeys(one.quantity for one in unjudged.numbers)
    known = {one.quantity for one in unjudged.numbers if not math.isnan(one.theory)}
    places = {(one.method, one.n): {} for one in unjudged.numbers}
    for one in unjudged.numbers:
        places[one.method, one.n][one.quantity] = one
    rows = []
    for (method, n), found in places.items():
        row = [method, f"{n:,}"]
        for quantity in quantities:
            one = found[quantity]
            row += [with_error(one.value, one.error)]
            row += [number(one.theory, one.error)] if quantity in known else []
        rows.append(row)
    columns = ["method", "N"]
    for quantity in quantities:
        columns += [quantity, "theory"] if quantity in known else [quantity]
    return _table(
        unjudged.title, tuple(columns), rows, numeric=range(1, len(columns)), file="study.csv"
    )


def claims_table(demonstrations: Sequence[Demonstration], *, where: bool) -> Table:
    """One row per claim.

    Args:
        demonstrations: what was shown.
        where: whether a column says in which comparison.
    """
    rows = [
        (
            *((claim.title, found.name) if where else (claim.statement, claim.verdict.about)),
            Shown(claim.verdict.outcome.lower(), claim.verdict.outcome),
            _predicted(claim.verdict), with_error(claim.verdict.observed, claim.verdict.error),
            claim.verdict.cause,
        )
        for found in demonstrations
        for claim in found.claims
    ]  # fmt: skip
    table = _table(
        "One row per claim",
        ("claim", "shown in" if where else "number", "verdict", "predicted", "measured", "cause"),
        rows,
        numeric=(3, 4),
        file="theory.csv",
    )
    return replace(table, folded=False)  # it is what the page is for


def shown_table(shown: theory.Table) -> Table:
    """A table that a theory entry shows."""
    numeric = [
        i for i in range(len(shown.columns)) if any(type(r[i]) is not str for r in shown.rows)
    ]
    rows = [tuple(c if isinstance(c, str) else number(float(c)) for c in row) for row in shown.rows]
    return _table(shown.title, shown.columns, rows, numeric=numeric, file="theory.json")


def _published(title: str, table: xr.Dataset) -> Table:
    """A table that a comparison publishes."""
    columns = tuple(map(str, table.data_vars))
    kinds = [table[column].dtype.kind for column in columns]
    return _table(
        title,
        tuple(column.replace("_", " ") for column in columns),
        [
            tuple(
                number(float(row[c])) if kind in "iuf" else str(row[c])
                for c, kind in zip(columns, kinds, strict=True)
            )
            for row in _tables.table_rows(table)
        ],
        numeric=[place for place, kind in enumerate(kinds) if kind in "iuf"],
    )


def _verdict_table(caption: str, verdicts: Sequence[Verdict], folded: bool) -> Table:
    return _table(
        caption,
        ("statement", "verdict", "observed", "expected", "difference", "bound", "cause"),
        [
            (
                verdict.about, Shown(verdict.outcome.lower(), verdict.outcome),
                _estimate(verdict.observed, verdict.error, verdict.bound),
                _estimate(verdict.expected, 0.0, 10 * verdict.error or verdict.bound),
                with_error(verdict.observed - verdict.expected, verdict.error),
                number(verdict.bound), _tables.cause(verdict),
            )
            for verdict in verdicts
        ],
        numeric=range(2, 6),
        file="verdicts.csv",
        folded=folded,
    )  # fmt: skip


def _estimate(value: float, error: float, scale: float) -> str:
    """With its error; an exact number with digits down to a hundredth of its scale."""
    return with_error(value, error) if error > 0 else number(value, scale / 10)


def _criterion(value: float, error: float) -> str:
    return with_error(value, error) if error > 0 else number(value, 0.1)


def _loose(value: Any) -> str:
    return "–" if value is None else number(float(value))


def _reported(result: CaseResult, name: str) -> str:
    reported = [parameter.name for parameter in quantity_table(result.model)]
    return "itself" if name in reported else f"part of {', '.join(reported)}"


def _statement(result: CaseResult) -> list[str]:
    """The formulas: the model's docstring, and its module's."""
    cls = type(result.model)
    documents = (inspect.getdoc(cls), inspect.getdoc(inspect.getmodule(cls)))
    return [text for text in documents if text]


def _source(result: CaseResult, program: str) -> str:
    try:
        return inspect.cleandoc("\n" + inspect.getsource(getattr(type(result.model), program)))
    except (OSError, TypeError):
        return "The source is not available: the model was not defined in a file."
