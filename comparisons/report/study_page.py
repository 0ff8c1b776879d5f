"""A study's findings as a page, and as rows of `study.csv`."""

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
    from comparisons.studies._study import Finding, Number, Study, Unjudged

COLUMNS = (
    "study", "model", "method", "n", "quantity", "parameter", "value", "error", "theory", "verdict",
)  # fmt: skip


_UNFOLDED = 12
"""Rows of findings beyond which a table is folded."""
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
        "studies.html", title="Studies", rows=listed, command=command,
        overview=(out / "index.html").is_file(),
    )  # fmt: skip


def _file(study: str, model: str) -> str:
    return f"study-{slug(f'{study}-{model}')}.html"


def _rows(study: Study) -> list[dict[str, Any]]:
    """The rows of `study.csv`; of a departure that is explained, theory is what explains it."""
    judged = [
        (
            (finding.method, finding.n, finding.quantity, finding.parameter),
            (finding.verdict.observed, finding.verdict.error, prediction(finding.verdict)),
            finding.verdict.outcome,
        )
        for finding in study.findings
    ]
    places = {place for place, _, _ in judged}
    others = [
        ((one.method, one.n, one.quantity, one.parameter), (one.value, one.error, one.theory), "")
        for part in study.unjudged
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
    verdicts = [finding.verdict for finding in study.findings]
    return render(
        "study.html",
        title=f"{study.name.replace('_', ' ')} of {model_title(study.model)}",
        statement=study.statement,
        answer=_sentence(study),
        counts=counts(verdicts),
        pictures=[
            *_pictures(study),
            *(
                curves.curves(f"{study.name}-{i}", part.curves)
                for i, part in enumerate(study.unjudged)
                if part.curves
            ),
        ],
        tables=[
            *(_descriptive_table(part) for part in study.unjudged if not part.curves),
            *_tables(study),
        ],
        failed=study.failed,
        undecided=[
            f"{finding.verdict.about}: {_remedy(finding, study.replicates)}"
            for finding in study.findings
            if finding.verdict.outcome == "UNSURE"
        ],
        command=command,
        overview=overview,
        links=[("studies.html", "All studies")],
        file="study.csv",
    )


def _tables(study: Study) -> list[Table]:
    """One table of findings for each parameter, and one of those that are about none."""
    columns = {
        "quantity": words(lambda f: f.quantity),
        "method": words(lambda f: f.method),
        "N": numbers(lambda f: f"{f.n:,}"),
        "verdict": outcomes(lambda f: f.verdict.outcome),
        "measured": numbers(lambda f: with_error(f.verdict.observed, f.verdict.error)),
        "theory": numbers(lambda f: predicted(f.verdict)),
        "cause": words(lambda f: f.verdict.cause),
    }
    chosen: dict[str, list[Finding]] = {"": []}
    for finding in study.findings:
        chosen.setdefault(finding.parameter, []).append(finding)
    return [
        table(
            parameter or "The study", rows, columns, file="study.csv", folded=len(rows) > _UNFOLDED
        )
        for parameter, rows in chosen.items()
        if rows
    ]


def _descriptive_table(unjudged: Unjudged) -> Table:
    """Numbers without verdicts, N down; theory beside each quantity that has one."""
    rows: dict[tuple[str, int], dict[str, Number]] = {}
    for one in unjudged.numbers:
        rows.setdefault((one.method, one.n), {})[one.quantity] = one
    columns = {
        "method": words(lambda row: row[0][0]),
        "N": numbers(lambda row: f"{row[0][1]:,}"),
    }
    for one in unjudged.numbers:
        columns[one.quantity] = numbers(_measured(one.quantity))
        if not math.isnan(one.theory):
            columns[f"theory of {one.quantity}"] = numbers(_theory(one.quantity))
    return table(unjudged.title, rows.items(), columns, file="study.csv")


def _measured(quantity: str) -> Get:
    return lambda row: with_error(row[1][quantity].value, row[1][quantity].error)


def _theory(quantity: str) -> Get:
    return lambda row: number(row[1][quantity].theory, row[1][quantity].error)


def _sentence(study: Study) -> str:
    failed = [f for f in study.findings if f.verdict.outcome == "DIFFER"]
    made = f"{study.replicates:,} data sets at N = {', '.join(f'{n:,}' for n in study.units)}"
    if failed:
        first = failed[0].verdict
        return (
            f"{made}: {len(failed)} of {len(study.findings)} statements fail, the first of them: "
            f"{first.about} is {first.observed:.4g} ± {first.error:.2g}, not {first.expected:.4g}."
        )
    open_ones = sum(f.verdict.outcome in ("UNSURE", "NOT COMPARABLE") for f in study.findings)
    undecided = f"; {open_ones} of {len(study.findings)} are not decided" if open_ones else ""
    return f"{made}: no statement fails{undecided}."


def _remedy(finding: Finding, replicates: int) -> str:
    """How many more data sets would decide, if any number would."""
    verdict, fixed = finding.verdict, finding.fixed
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
    for method in dict.fromkeys(finding.method for finding in study.findings):
        shown = [
            finding
            for finding in study.findings
            if finding.method == method and np.isfinite(finding.verdict.observed)
        ]
        units = {f.quantity: {g.n for g in shown if g.quantity == f.quantity} for f in shown}
        rows = [
            (f.quantity, method, f.parameter, f.n, f.verdict.observed, f.verdict.error,
             f.verdict.expected)
            for f in shown
            if len(units[f.quantity]) > 1
        ]  # fmt: skip
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
