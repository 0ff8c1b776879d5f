"""A study's verdicts as a page, and as rows of `study.csv`."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections import Counter
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from comparisons.policy import Z
from comparisons.report.figures import curves
from comparisons.report.files import published, slug
from comparisons.report.formats import number, with_error
from comparisons.report.headline import OUTCOMES, counts
from comparisons.report.page import render
from comparisons.report.sections.parts import numbers, outcomes, predicted, table, words
from comparisons.report.tables import csv_text, model_title, prediction

if TYPE_CHECKING:
    from pathlib import Path

    from comparisons.report.figures.canvas import Picture
    from comparisons.report.sections.parts import Get, Table
    from comparisons.studies import Descriptive, Number, Study
    from comparisons.verdict import Verdict

COLUMNS = (
    "study",
    "model",
    "method",
    "n",
    "quantity",
    "parameter",
    "value",
    "error",
    "theory",
    "verdict",
)


_UNFOLDED = 12
"""Rows of verdicts beyond which a table is folded."""
_MANY = 10**8
"""Data sets that nobody will draw."""


def write(study: Study, out: Path, command: str) -> Path:
    """Writes the page of a study, and its rows into `study.csv` beside those of other studies.

    Args:
        study: what was found.
        out: the directory.
        command: the command line, for the page to repeat.

    Returns:
        The path of the page.

    Raises:
        StoreError: the directory cannot be written.
    """
    name = _file(study.name, model_title(study.model))
    rows = _rows(study)
    key = rows[0]["study"], rows[0]["model"]
    with published(out) as stage:
        kept = [old for old in _read(out / "study.csv") if (old["study"], old["model"]) != key]
        for file, text in (
            ("study.csv", csv_text(COLUMNS, [*kept, *rows])),
            (name, study_page(study, command, overview=(out / "index.html").is_file())),
        ):
            (stage / file).write_text(text, encoding="utf-8", newline="\n")
        listed = studies_page(out, command, studies=stage)
        (stage / "studies.html").write_text(listed, encoding="utf-8", newline="\n")
    return out / name


def studies_page(
    out: Path, command: str, studies: Path | None = None, theory: Path | None = None
) -> str:
    """The page that lists the studies of a directory, with the counts of their verdicts.

    Args:
        out: the directory.
        command: the command line, for the page to repeat.
        studies: where `study.csv` is, if not there.
        theory: where `theory.csv` is, if not there.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for name, folder in (("study", studies or out), ("theory", theory or out)):
        path = folder / f"{name}.csv"
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                for one in csv.DictReader(file):
                    about = (one["study"], one["model"]) if name == "study" else (name, "")
                    found.setdefault(about, Counter())[one["verdict"]] += 1
    listed = [
        {
            "file": _file(study, model.removeprefix("'")) if model else "theory.html",
            "title": f"{study.replace('_', ' ')}{f' of {model}' if model else ''}",
            "counts": {outcome: counter[outcome] for outcome in OUTCOMES},
        }
        for (study, model), counter in found.items()
    ]
    return render(
        "studies.html",
        title="Studies",
        rows=listed,
        command=command,
        overview=(out / "index.html").is_file(),
    )


def _file(study: str, model: str) -> str:
    return f"study-{slug(f'{study}-{model}')}.html"


def _rows(study: Study) -> list[dict[str, Any]]:
    """The rows of `study.csv`; of a departure that is explained, theory is what explains it."""
    judged = [
        (
            (one.method, one.n, one.quantity, one.parameter),
            (one.observed, one.error, prediction(one)),
            one.outcome,
        )
        for one in study.verdicts
    ]
    places = {place for place, _, _ in judged}
    others = [
        ((one.method, one.n, one.quantity, one.parameter), (one.value, one.error, one.theory), "")
        for part in study.descriptive
        for one in part.numbers
    ]
    title = model_title(study.model)
    return [
        dict(zip(COLUMNS, (study.name, title, *place, *map(float, numbers), outcome), strict=True))
        for place, numbers, outcome in [*judged, *(o for o in others if o[0] not in places)]
    ]


def study_page(study: Study, command: str, *, overview: bool) -> str:
    """The page: the statement, the verdicts, a ladder for each method, every number.

    Args:
        study: what was found.
        command: the command line, for the page to repeat.
        overview: whether there is an `index.html` to link to.
    """
    return render(
        "study.html",
        title=f"{study.name.replace('_', ' ')} of {model_title(study.model)}",
        statement=study.statement,
        answer=_sentence(study),
        counts=counts(study.verdicts),
        pictures=[
            *_pictures(study),
            *(
                curves.curves(f"{study.name}-{i}", part.curves)
                for i, part in enumerate(study.descriptive)
                if part.curves
            ),
        ],
        tables=[
            *(_descriptive_table(part) for part in study.descriptive if not part.curves),
            *_tables(study),
        ],
        failed=study.failed,
        undecided=[
            f"{verdict.about}: {_remedy(verdict, study.replicates)}"
            for verdict in study.verdicts
            if verdict.outcome == "UNSURE"
        ],
        command=command,
        overview=overview,
        links=[("studies.html", "All studies")],
        file="study.csv",
    )


def _tables(study: Study) -> list[Table]:
    """One table of verdicts for each parameter, and one of those that are about none."""
    columns = {
        "quantity": words(lambda v: v.quantity),
        "method": words(lambda v: v.method),
        "N": numbers(lambda v: f"{v.n:,}"),
        "verdict": outcomes(lambda v: v.outcome),
        "measured": numbers(lambda v: with_error(v.observed, v.error)),
        "theory": numbers(predicted),
        "cause": words(lambda v: v.cause),
    }
    chosen: dict[str, list[Verdict]] = {"": []}
    for verdict in study.verdicts:
        chosen.setdefault(verdict.parameter, []).append(verdict)
    return [
        table(
            parameter or "The study", rows, columns, file="study.csv", folded=len(rows) > _UNFOLDED
        )
        for parameter, rows in chosen.items()
        if rows
    ]


def _descriptive_table(descriptive: Descriptive) -> Table:
    """Numbers without verdicts, N down; theory beside each quantity that has one."""
    rows: dict[tuple[str, int], dict[str, Number]] = {}
    for one in descriptive.numbers:
        rows.setdefault((one.method, one.n), {})[one.quantity] = one
    columns = {
        "method": words(lambda row: row[0][0]),
        "N": numbers(lambda row: f"{row[0][1]:,}"),
    }
    for one in descriptive.numbers:
        columns[one.quantity] = numbers(_measured(one.quantity))
        if not math.isnan(one.theory):
            columns[f"theory of {one.quantity}"] = numbers(_theory(one.quantity))
    return table(descriptive.title, rows.items(), columns, file="study.csv")


def _measured(quantity: str) -> Get:
    return lambda row: with_error(row[1][quantity].value, row[1][quantity].error)


def _theory(quantity: str) -> Get:
    return lambda row: number(row[1][quantity].theory, row[1][quantity].error)


def _sentence(study: Study) -> str:
    failed = [v for v in study.verdicts if v.outcome == "DIFFER"]
    made = f"{study.replicates:,} data sets at N = {', '.join(f'{n:,}' for n in study.units)}"
    if failed:
        first = failed[0]
        return (
            f"{made}: {len(failed)} of {len(study.verdicts)} statements fail, the first of them: "
            f"{first.about} is {first.observed:.4g} ± {first.error:.2g}, not {first.expected:.4g}."
        )
    open_ones = sum(v.outcome in ("UNSURE", "NOT COMPARABLE") for v in study.verdicts)
    undecided = f"; {open_ones} of {len(study.verdicts)} are not decided" if open_ones else ""
    return f"{made}: no statement fails{undecided}."


def _remedy(verdict: Verdict, replicates: int) -> str:
    """How many more data sets would decide, if any number would."""
    fixed = verdict.fixed
    allowed = ((verdict.bound - verdict.excess) / Z) ** 2 - fixed**2
    if allowed <= 0:
        what = "the number itself" if not fixed else "the error of what it is held to"
        return f"no number of data sets decides: {what} is too close to the bound"
    more = replicates * ((verdict.error**2 - fixed**2) / allowed - 1)
    if more > _MANY:
        return f"more than {_MANY:,} more data sets would: the number is too close to the bound"
    return f"about {ceil(more):,} more data sets at each N would decide"


def _pictures(study: Study) -> list[Picture]:
    pictures = []
    for method in dict.fromkeys(verdict.method for verdict in study.verdicts):
        shown = [
            verdict
            for verdict in study.verdicts
            if verdict.method == method and np.isfinite(verdict.observed)
        ]
        units = {v.quantity: {w.n for w in shown if w.quantity == v.quantity} for v in shown}
        rows = [
            (v.quantity, method, v.parameter, v.n, v.observed, v.error, v.expected)
            for v in shown
            if len(units[v.quantity]) > 1
        ]
        if rows:
            names = ("statistic", "estimator", "quantity", "n", "value", "error", "theory")
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            table = xr.Dataset({name: ("row", np.asarray(c)) for name, c in columns.items()})
            picture = curves.ladder(slug(method), table)
            pictures.append(dataclasses.replace(picture, caption=f"{method}. {picture.caption}"))
    return pictures


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier `study.csv`, as they were before they were written."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if set(row) == set(COLUMNS)]
    numbers = ("value", "error", "theory")
    return [
        {
            name: float(cell or "nan") if name in numbers else cell.removeprefix("'")
            for name, cell in row.items()
        }
        for row in rows
    ]
