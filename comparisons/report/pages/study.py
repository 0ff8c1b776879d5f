"""A study's verdicts as a page, and as rows of `study.csv`."""

from __future__ import annotations

import csv
from collections import Counter
from math import ceil, isfinite, isnan
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from comparisons.policy import Z
from comparisons.report.figures import curves
from comparisons.report.figures.canvas import Picture
from comparisons.report.files import MARK, published, put, slug
from comparisons.report.formats import number, with_error
from comparisons.report.headline import Row, counts
from comparisons.report.pages.case import render
from comparisons.report.sections.parts import Table, marks, numbers, predicted, table, words
from comparisons.report.tables import LADDER, csv_text, model_title, prediction
from comparisons.store.output import Output
from comparisons.verdict import OUTCOMES, Verdict

if TYPE_CHECKING:  # a study is not loaded to write its page
    from comparisons.studies import Descriptive, Study
    from models.spec import Model

_PLACE = ("method", "n", "quantity", "parameter")
_NUMBERS = ("value", "error", "theory")
COLUMNS = ("study", "model", *_PLACE, *_NUMBERS, "verdict")
_INTERVALS = ("calibration", "coverage")  # studies that the page of a case shows
_UNFOLDED = 12  # rows of verdicts beyond which a table is folded
_MANY = 10**8  # data sets that nobody will draw


def write(study: Study, out: Path, command: str) -> Path:
    """Writes the page of a study, and its rows into `study.csv` beside those of other studies."""
    title = model_title(study.model)
    page = _file(study.name, title)
    with published(out) as stage:
        others = [
            row
            for row in _records("study.csv", out, stage)
            if set(row) == set(COLUMNS) and (row["study"], row["model"]) != (study.name, title)
        ]
        put(stage, {"study.csv": csv_text(COLUMNS, [*others, *_rows(study, title)])})
        own = study_page(study, command, overview=(out / "index.html").is_file())
        put(stage, {page: own, "studies.html": studies_page(out, stage, command)})
    return out / page


def studies_page(out: Path, stage: Path, command: str) -> str:
    """The page that lists the studies of a directory, with the counts of their verdicts.

    Their tables are those in the stage, which take their places in the directory, or else there.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in _records("study.csv", out, stage):
        name, model = row["study"], row["model"]
        key = _file(name, model), f"{name.replace('_', ' ')} of {model}"
        found.setdefault(key, Counter())[row["verdict"]] += 1
    if theory := Counter(row["verdict"] for row in _records("theory.csv", out, stage)):
        found["theory.html", "theory"] = theory
    listed = [
        {"file": file, "title": heading, "counts": {one: counter[one] for one in OUTCOMES}}
        for (file, heading), counter in found.items()
    ]
    overview = (out / "index.html").is_file()
    return render("studies.html", title="Studies", rows=listed, command=command, overview=overview)


def intervals(out: Path, stage: Path) -> dict[str, tuple[Row, ...]]:
    """The rows of every model's studies of its intervals, with the page of each, by model."""
    found: dict[str, tuple[Row, ...]] = {}
    for row in _records("study.csv", out, stage):
        if row["study"] in _INTERVALS and row["verdict"]:
            own = {**row, "page": _file(row["study"], row["model"])}
            found[row["model"]] = (*found.get(row["model"], ()), own)
    return found


def study_names(study: str, model: Model) -> list[str]:
    """The files that the page of a study comes with, the page first."""
    return [_file(study, model_title(model)), "study.csv", "studies.html", MARK]


def _file(study: str, model: str) -> str:
    return f"study-{slug(f'{study}-{model}')}.html"


def _records(name: str, out: Path, stage: Path) -> list[Row]:
    """The rows that `csv_text` made a table of; none if the table is not as it was written."""
    staged = (stage / name).is_file()
    if not (staged or Output(out).intact(name)):
        return []
    with ((stage if staged else out) / name).open(encoding="utf-8", newline="") as file:
        return [
            {n: float(x or "nan") if n in _NUMBERS else x.removeprefix("'") for n, x in row.items()}
            for row in csv.DictReader(file)
        ]


def _rows(study: Study, title: str) -> list[Row]:
    """The rows of `study.csv`; of a departure that is explained, theory is what explains it."""
    place = attrgetter(*_PLACE)
    rows = [(*place(v), v.observed, v.error, prediction(v), v.outcome) for v in study.verdicts]
    seen = {row[:4] for row in rows}
    loose = [one for part in study.descriptive for one in part.numbers if place(one) not in seen]
    rows += [(*place(one), one.value, one.error, one.theory, "") for one in loose]
    found = [dict(zip(COLUMNS, (study.name, title, *row), strict=True)) for row in rows]
    return [row | {name: float(row[name]) for name in _NUMBERS} for row in found]


def study_page(study: Study, command: str, *, overview: bool) -> str:
    """The page: the statement, the verdicts, a ladder for each method, every number."""
    drawn = [
        curves.curves(f"{study.name}-{i}", part.curves)
        for i, part in enumerate(study.descriptive)
        if part.curves
    ]
    tables = [_descriptive_table(part) for part in study.descriptive if not part.curves]
    open_ones = [verdict for verdict in study.verdicts if verdict.outcome == "UNSURE"]
    return render(
        "study.html",
        title=f"{study.name.replace('_', ' ')} of {model_title(study.model)}",
        statement=study.statement,
        headline=_sentence(study),
        counts=counts(study.verdicts),
        pictures=[*_pictures(study), *drawn],
        tables=[*tables, *_tables(study)],
        failed=study.failed,
        undecided=[f"{one.about}: {_remedy(one, study.replicates)}" for one in open_ones],
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
        "verdict": marks(lambda v: v.outcome),
        "measured": numbers(lambda v: with_error(v.observed, v.error)),
        "theory": numbers(predicted),
        "cause": words(lambda v: v.cause),
    }
    chosen: dict[str, list[Verdict]] = {"": []}
    for verdict in study.verdicts:
        chosen.setdefault(verdict.parameter, []).append(verdict)
    return [
        table(name or "The study", rows, columns, file="study.csv", folded=len(rows) > _UNFOLDED)
        for name, rows in chosen.items()
        if rows
    ]


def _descriptive_table(part: Descriptive) -> Table:
    """Numbers without verdicts, N down; theory beside each quantity that has one."""
    rows: dict[tuple[str, int], Row] = {}
    columns = {"method": words("method"), "N": numbers(itemgetter("n"))}
    known = {one.quantity for one in part.numbers if not isnan(one.theory)}
    for one in part.numbers:
        cells = {one.quantity: with_error(one.value, one.error)}
        if one.quantity in known:
            cells[f"theory of {one.quantity}"] = number(one.theory, one.error)
        start = {"method": one.method, "n": f"{one.n:,}"}
        rows.setdefault((one.method, one.n), start).update(cells)
        columns |= {name: numbers(itemgetter(name)) for name in cells}
    return table(part.title, rows.values(), columns, file="study.csv")


def _sentence(study: Study) -> str:
    failed = [verdict for verdict in study.verdicts if verdict.outcome == "DIFFER"]
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
    allowed = ((verdict.bound - verdict.excess) / Z) ** 2 - verdict.fixed**2
    if allowed <= 0:
        what = "the error of what it is held to" if verdict.fixed else "the number itself"
        return f"no number of data sets decides: {what} is too close to the bound"
    more = replicates * ((verdict.error**2 - verdict.fixed**2) / allowed - 1)
    if more > _MANY:
        return f"more than {_MANY:,} more data sets would: the number is too close to the bound"
    return f"about {ceil(more):,} more data sets at each N would decide"


def _pictures(study: Study) -> list[Picture]:
    """A ladder for each method, of what was measured at more than one N."""
    rows = [
        (v.quantity, v.method, v.parameter, v.n, v.observed, v.error, v.expected)
        for v in study.verdicts
        if isfinite(v.observed)
    ]
    frame = pd.DataFrame(rows, columns=list(LADDER))
    frame = frame[frame.groupby(["estimator", "statistic"])["n"].transform("nunique") > 1]
    pictures = []
    for method, part in frame.groupby("estimator", sort=False):
        picture = curves.ladder(slug(str(method)), part)
        pictures.append(picture._replace(caption=f"{method}. {picture.caption}"))
    return pictures
