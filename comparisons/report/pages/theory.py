"""The claims of theory, with the numbers: a page for each entry, one that ties them together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparisons.exhibits import Curves
from comparisons.exhibits import Table as Numbers
from comparisons.report.facts import plain
from comparisons.report.figures import curves
from comparisons.report.files import MARK, published, put
from comparisons.report.formats import number, with_error
from comparisons.report.headline import counts
from comparisons.report.pages.case import render
from comparisons.report.pages.study import studies_page
from comparisons.report.sections.parts import Table, marks, numbers, predicted, table, words
from comparisons.report.tables import Row, csv_text, prediction
from comparisons.verdict import Verdict

if TYPE_CHECKING:  # the executor knows the report, not the reverse
    from comparisons.runs.theory import Demonstration

COLUMNS = ("claim", "comparison", "predicted", "measured", "error", "verdict")


def write(demonstrations: Sequence[Demonstration], out: Path, command: str) -> Path:
    """Writes the pages, `theory.csv` with a row per claim and `theory.json` with all numbers.

    Returns:
        The path of the page that ties them together.

    Raises:
        ConfigError: somebody else's file is in the place of one of them.
        StoreError: the directory cannot be written.
    """
    same = {"command": command, "overview": (out / "index.html").is_file(), "file": "theory.csv"}
    pages = {_page(found.name): found for found in demonstrations}
    with published(out) as stage:
        for name, found in pages.items():
            content = _content([found], [("theory.html", "All claims")])
            put(stage, {name: render("study.html", **content, **same)})
        content = _content(demonstrations, [(name, _title(one)) for name, one in pages.items()])
        put(stage, {"theory.html": render("study.html", **content, **same)})
        every = [plain(dataclasses.asdict(found)) for found in demonstrations]
        text = json.dumps(every, allow_nan=False, indent=1, ensure_ascii=False)
        put(stage, {"theory.csv": csv_text(COLUMNS, rows(demonstrations)), "theory.json": text})
        put(stage, {"studies.html": studies_page(out, stage, command)})
    return out / "theory.html"


def theory_names(entries: Iterable[str]) -> list[str]:
    """The files that are written of all entries, the page that ties them together first."""
    return ["theory.html", "theory.csv", "theory.json", "studies.html", MARK, *map(_page, entries)]


def _page(entry: str) -> str:
    return f"theory-{entry}.html"


def rows(demonstrations: Sequence[Demonstration]) -> list[Row]:
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


def _content(
    demonstrations: Sequence[Demonstration], links: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The content of a page of one entry, or of all."""
    alone = demonstrations if len(links) == 1 else ()
    shown = [(f"{found.name}-{i}", one) for found in alone for i, one in enumerate(found.shown)]
    claims = [claim for found in demonstrations for claim in found.claims]
    return {
        "title": _title(alone[0]) if alone else "One theory, many estimators",
        "statement": alone[0].statement if alone else "",
        "headline": _sentence(claims),
        "counts": counts(claims),
        "pictures": [curves.curves(name, one) for name, one in shown if isinstance(one, Curves)],
        "tables": [
            _claims_table(demonstrations, alone=bool(alone)),
            *(_shown_table(one) for _, one in shown if isinstance(one, Numbers)),
        ],
        "failed": [f"{found.name}: {found.failure}" for found in demonstrations if found.failure],
        "undecided": [f"{claim.about}: {claim.remedy}" for claim in claims if claim.remedy],
        "links": links,
    }


def _claims_table(demonstrations: Sequence[Demonstration], *, alone: bool) -> Table:
    """One row per claim; where there are several demonstrations, with the name of its own."""
    columns = {
        "claim": words(lambda row: row[1].statement if alone else row[1].title),
        "number" if alone else "shown in": words(lambda row: row[1].about if alone else row[0]),
        "verdict": marks(lambda row: row[1].outcome),
        "predicted": numbers(lambda row: predicted(row[1])),
        "measured": numbers(lambda row: with_error(row[1].observed, row[1].error)),
        "cause": words(lambda row: row[1].cause),
    }
    claims = [(found.name, claim) for found in demonstrations for claim in found.claims]
    # never folded: it is what the page is for
    return table("One row per claim", claims, columns, file="theory.csv", folded=False)


def _shown_table(shown: Numbers) -> Table:
    """A table that a theory entry shows."""
    columns = {
        name: (words if all(type(row[place]) is str for row in shown.rows) else numbers)(
            lambda row, place=place: _text(row[place])
        )
        for place, name in enumerate(shown.columns)
    }
    return table(shown.title, shown.rows, columns, file="theory.json")


def _text(cell: str | float) -> str:
    return cell if isinstance(cell, str) else number(float(cell))


def _title(found: Demonstration) -> str:
    return found.statement.partition("\n")[0].rstrip(".")


def _sentence(claims: Sequence[Verdict]) -> str:
    others = [claim for claim in claims if claim.outcome not in ("AGREE", "EXPLAINED")]
    if not others:
        return f"All {len(claims)} claims hold, each within the error of its measurement."
    first = others[0]
    return (
        f"{len(claims) - len(others)} of {len(claims)} claims hold; the first that does not: "
        f"{first.statement} ({first.about}: {first.outcome.lower()})"
    )
