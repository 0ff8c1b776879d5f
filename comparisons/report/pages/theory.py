"""The claims of theory, with the numbers: a page for each entry, one that ties them together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from functools import partial
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
from comparisons.verdict import HOLDS, Verdict

if TYPE_CHECKING:  # the executor knows the report, not the reverse
    from comparisons.runs.theory import Demonstration

COLUMNS = ("claim", "comparison", "predicted", "measured", "error", "verdict")


def write(demonstrations: Sequence[Demonstration], out: Path, command: str) -> Path:
    """Writes the pages, `theory.csv` with a row per claim and `theory.json` with all numbers.

    Returns:
        The path of the page that ties them together.
    """
    same = {"command": command, "overview": (out / "index.html").is_file(), "file": "theory.csv"}
    pages = {_page(found.name): _content([found]) | _entry(found) for found in demonstrations}
    pages["theory.html"] = _content(demonstrations)
    with published(out) as stage:
        put(stage, {name: render("study.html", **page, **same) for name, page in pages.items()})
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


def _content(demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """The content of the page of all entries."""
    claims = [claim for found in demonstrations for claim in found.claims]
    return {
        "title": "One theory, many estimators",
        "statement": "",
        "headline": _sentence(claims),
        "counts": counts(claims),
        "pictures": [],
        "tables": [_claims_table(found) for found in demonstrations],
        "failed": [f"{found.name}: {found.failure}" for found in demonstrations if found.failure],
        "undecided": [f"{claim.about}: {claim.remedy}" for claim in claims if claim.remedy],
        "links": [("studies.html", "All studies")],
    }


def _entry(found: Demonstration) -> dict[str, Any]:
    """The content of the page of one entry, where it is another than that of all."""
    shown = [(f"{found.name}-{i}", one) for i, one in enumerate(found.shown)]
    claims = _claims_table(found)._replace(folded=False, file="theory.csv")
    return {
        "title": _title(found),
        "statement": found.statement,
        "pictures": [curves.curves(name, one) for name, one in shown if isinstance(one, Curves)],
        "tables": [claims, *(_shown_table(one) for _, one in shown if isinstance(one, Numbers))],
        "links": [("theory.html", "All claims")],
    }


def _claims_table(found: Demonstration) -> Table:
    """A row for each number of an entry, folded under what it shows; its file is its own page."""
    columns = {
        "claim": words(lambda row: row.statement),
        "number": words(lambda row: row.about),
        "verdict": marks(lambda row: row.outcome),
        "predicted": numbers(predicted),
        "measured": numbers(
            lambda row: with_error(row.observed, row.error) + " (exact)" * (not row.error)
        ),
        "bound": numbers(lambda row: number(row.bound)),
        "cause": words(lambda row: row.cause),
    }
    left = sum(claim.outcome not in HOLDS for claim in found.claims)
    title = f"{_title(found)}: {f'{left} not shown to hold' if left else 'all hold'}"
    return table(title, found.claims, columns, file=_page(found.name), folded=True)


def _shown_table(shown: Numbers) -> Table:
    """A table that a theory entry shows."""

    def text(row: Sequence[Any], place: int) -> str:
        return row[place] if isinstance(row[place], str) else number(float(row[place]))

    columns = {
        name: words(place)
        if all(type(row[place]) is str for row in shown.rows)
        else numbers(partial(text, place=place))
        for place, name in enumerate(shown.columns)
    }
    return table(shown.title, shown.rows, columns, file="theory.json")


def _title(found: Demonstration) -> str:
    return found.statement.partition("\n")[0].rstrip(".")


def _sentence(claims: Sequence[Verdict]) -> str:
    others = [claim for claim in claims if claim.outcome not in HOLDS]
    if not others:
        return f"All {len(claims)} claims hold, each within the error of its measurement."
    first = others[0]
    return (
        f"{len(claims) - len(others)} of {len(claims)} claims hold; the first that does not: "
        f"{first.statement} ({first.about}: {first.outcome.lower()})"
    )
