"""What theory claims, with the numbers: a page for each entry, one that ties them together."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from comparisons.exhibits import Curves
from comparisons.exhibits import Table as Shown
from comparisons.report.facts import plain
from comparisons.report.figures import curves
from comparisons.report.files import published
from comparisons.report.formats import number, with_error
from comparisons.report.headline import counts
from comparisons.report.page import render
from comparisons.report.sections.parts import (
    LONG,
    Cell,
    Table,
    numbers,
    outcomes,
    predicted,
    table,
    words,
)
from comparisons.report.study_page import studies_page
from comparisons.report.tables import csv_text, prediction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comparisons.runs.theory import Demonstration

COLUMNS = ("claim", "comparison", "predicted", "measured", "error", "verdict")


def write(demonstrations: Sequence[Demonstration], out: Path, command: str) -> Path:
    """Writes the pages, `theory.csv` with a row per claim and `theory.json` with all numbers.

    Args:
        demonstrations: what was shown.
        out: the directory.
        command: the command line, for the pages to repeat.

    Returns:
        The path of the page that ties them together.

    Raises:
        StoreError: the directory cannot be written.
    """
    overview = (out / "index.html").is_file()
    names = [f"theory-{found.name}.html" for found in demonstrations]
    with published(out) as stage:
        every = [plain(dataclasses.asdict(found)) for found in demonstrations]
        files = {
            "theory.csv": csv_text(COLUMNS, rows(demonstrations)),
            "theory.json": json.dumps(every, allow_nan=False, indent=1, ensure_ascii=False),
            "theory.html": _page(
                demonstrations, "One theory, many estimators", "", command, overview,
                links=[(name, _title(found)) for name, found in
                       zip(names, demonstrations, strict=True)],
            ),
        }  # fmt: skip
        for name, found in zip(names, demonstrations, strict=True):
            files[name] = _page(
                [found], _title(found), found.statement, command, overview,
                links=[("theory.html", "All claims")],
            )  # fmt: skip
        for name, text in files.items():
            (stage / name).write_text(text, encoding="utf-8", newline="\n")
        studies = studies_page(out, command, theory=stage)
        (stage / "studies.html").write_text(studies, encoding="utf-8", newline="\n")
    return out / "theory.html"


def rows(demonstrations: Sequence[Demonstration]) -> list[dict[str, Any]]:
    """The rows of `theory.csv`; predicted is what explains a departure, where something does."""
    return [
        {
            "claim": claim.title,
            "comparison": found.name,
            "predicted": prediction(claim),
            "measured": float(claim.observed),
            "error": float(claim.error),
            "verdict": claim.outcome,
        }
        for found in demonstrations
        for claim in found.claims
    ]


def _page(
    demonstrations: Sequence[Demonstration],
    title: str,
    statement: str,
    command: str,
    overview: bool,
    links: Sequence[tuple[str, str]],
) -> str:
    alone = demonstrations if len(links) == 1 else ()
    pictures = [
        curves.curves(f"{found.name}-{place}", shown)
        for found in alone
        for place, shown in enumerate(found.shown)
        if isinstance(shown, Curves)
    ]
    tables = [
        _shown_table(shown) for found in alone for shown in found.shown if isinstance(shown, Shown)
    ]
    verdicts = [claim for found in demonstrations for claim in found.claims]
    return render(
        "study.html",
        title=title,
        statement=statement,
        headline=_sentence(demonstrations),
        counts=counts(verdicts),
        pictures=pictures,
        tables=[_claims_table(demonstrations, alone=bool(alone)), *tables],
        failed=[f"{found.name}: {found.failure}" for found in demonstrations if found.failure],
        undecided=[f"{verdict.about}: {verdict.remedy}" for verdict in verdicts if verdict.remedy],
        command=command,
        overview=overview,
        links=links,
        file="theory.csv",
    )


def _claims_table(demonstrations: Sequence[Demonstration], *, alone: bool) -> Table:
    """One row per claim; where there are several demonstrations, with the name of its own."""
    columns = {
        "claim": words(lambda row: row[1].statement if alone else row[1].title),
        "number" if alone else "shown in": words(lambda row: row[1].about if alone else row[0]),
        "verdict": outcomes(lambda row: row[1].outcome),
        "predicted": numbers(lambda row: predicted(row[1])),
        "measured": numbers(lambda row: with_error(row[1].observed, row[1].error)),
        "cause": words(lambda row: row[1].cause),
    }
    claims = [(found.name, claim) for found in demonstrations for claim in found.claims]
    # never folded: it is what the page is for
    return table("One row per claim", claims, columns, file="theory.csv", folded=False)


def _shown_table(shown: Shown) -> Table:
    """A table that a theory entry shows."""
    rows = [tuple(Cell(_text(cell)) for cell in row) for row in shown.rows]
    places = range(len(shown.columns))
    numeric = frozenset(i for i in places if any(type(row[i]) is not str for row in shown.rows))
    return Table(shown.title, "", shown.columns, rows, numeric, len(rows) > LONG, "theory.json")


def _text(cell: str | float) -> str:
    return cell if isinstance(cell, str) else number(float(cell))


def _title(found: Demonstration) -> str:
    return found.statement.partition("\n")[0].rstrip(".")


def _sentence(demonstrations: Sequence[Demonstration]) -> str:
    claims = [claim for found in demonstrations for claim in found.claims]
    holds = sum(claim.outcome in ("AGREE", "EXPLAINED") for claim in claims)
    if holds == len(claims):
        return f"All {holds} claims hold, each within the error of its measurement."
    first = next(c for c in claims if c.outcome not in ("AGREE", "EXPLAINED"))
    return (
        f"{holds} of {len(claims)} claims hold; the first that does not: {first.statement} "
        f"({first.about}: {first.outcome.lower()})"
    )
