"""The parts of a page: sections, tables of text, and what the comparisons told in a section say."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from comparisons.report import headline, tables
from comparisons.report.figures import curves
from comparisons.report.figures.canvas import Picture
from comparisons.report.formats import estimate, number, readable, with_error
from comparisons.report.result import CaseResult
from comparisons.verdict import HOLDS, Outcome, Verdict

_SECTION = {
    "same_model": "model",
    "fisher_standard_errors": "fisher",
    "cramer_rao": "fisher",
    "bic": "order",
}
"""Where a comparison is told; one that is not named here is told under `agreement`."""
_SENTENCES: dict[Outcome, str] = {
    "DIFFER": "Something differs that no theory named here predicts.",
    "UNSURE": "Nothing differs for certain; some comparisons need more draws.",
    "EXPLAINED": "Whatever differs is as large as theory predicts.",
    "CONSISTENT": "No difference is seen, and one that matters would have been.",
    "AGREE": "All that could be compared agrees.",
    "NOT COMPARABLE": "Nothing could be compared.",
}
"""The verdict of a section, by the worst of its outcomes, worst first."""
_HEADINGS: dict[Outcome, str] = {
    "DIFFER": "what differs",
    "EXPLAINED": "what differs as theory predicts",
    "NOT COMPARABLE": "what could not be compared",
    "UNSURE": "what needs more draws",
    "CONSISTENT": "where no difference is seen",
    "AGREE": "what agrees",
}
"""How the verdicts of a comparison are told, what matters most first."""
LONG = 40  # rows beyond which a table is folded
MOST = 500  # rows that a page shows of a table; its file has all

type Get = str | int | Callable[[Any], str]  # a cell's key in its row, or what makes its text


class Cell(NamedTuple):
    """A cell of a table: text, the mark of a verdict or grade, and whether it is a number."""

    text: str
    outcome: str = ""
    numeric: bool = False


type Column = Callable[[Any], Cell]  # makes a column's cell of a row


def _got(row: Any, what: Get) -> str:
    return what(row) if callable(what) else row[what]


def words(what: Get) -> Column:
    """A column of text."""
    return lambda row: Cell(readable(str(_got(row, what))))


def marks(what: Get) -> Column:
    """A column of grades or verdicts with their marks."""
    return lambda row: Cell(_got(row, what).lower() or "–", _got(row, what))


def numbers(
    what: Get, error: float | str = 0.0, form: Callable[[float, float], str] = number
) -> Column:
    """A column of numbers, to the digits of an error or of that by its key, or of their texts."""

    def cell(row: Any) -> Cell:
        if callable(what):
            return Cell(what(row), numeric=True)
        return Cell(form(row[what], row[error] if isinstance(error, str) else error), numeric=True)

    return cell


class Table(NamedTuple):
    """A table as text; the first cell of a row is its header. See `table`."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    folded: bool
    file: str


def table(
    title: str,
    rows: Iterable[Any],
    columns: Mapping[str, Column],
    *,
    note: str = "",
    file: str = "results.json",
    folded: bool | None = None,
) -> Table:
    """A table of rows.

    Args:
        title: what it is, in a few words.
        rows: whatever the columns take.
        columns: by header.
        note: how to read it.
        file: the file in which its numbers are.
        folded: whether it starts closed; by default where it is long.
    """
    cells = [tuple(column(row) for column in columns.values()) for row in rows]
    closed = len(cells) > LONG if folded is None else folded
    if len(cells) > MOST:
        note = f"{note} The first {MOST} of {len(cells):,} rows.".strip()
    return Table(title, note, tuple(columns), cells[:MOST], closed, file)


class Section(NamedTuple):
    """A question of a page, folded under its finding; what is None or has no rows is not shown."""

    anchor: str
    title: str
    question: str
    verdict: str = "No comparison here applies to this case."
    pictures: Sequence[Picture | None] = ()
    tables: Sequence[Table] = ()
    counts: Mapping[Outcome, int] | None = None
    notes: Sequence[str] = ()
    statements: Sequence[str] = ()
    sources: tuple[tuple[str, str], ...] = ()  # names and texts of programs


def claims(result: CaseResult, section: Section, finding: str = "") -> Section:
    """The section with what its comparisons told, after what it has: verdicts, figures, tables.

    The finding comes first; what differs, or needs more draws, is said after it.
    """
    where = {name: _SECTION.get(name, "agreement") for name in result.verdicts}
    told = {n: found for n, found in result.verdicts.items() if where[n] == section.anchor}
    if verdicts := [verdict for every in told.values() for verdict in every]:
        counts = headline.counts(verdicts)
        outcome, said = next(pair for pair in _SENTENCES.items() if counts[pair[0]])
        said = "" if finding and outcome in HOLDS else said
        section = section._replace(verdict=f"{finding} {said}".strip(), counts=counts)
    pictures, shown = [*section.pictures], [*section.tables]
    for name, verdicts in told.items():
        heading, published = result.titles.get(name, name), result.figures.get(name)
        if published is not None and set(tables.LADDER) <= set(published):
            pictures.append(curves.ladder(name, published))
        shown += _tables(heading, verdicts, published)
    return section._replace(pictures=pictures, tables=shown)


def _tables(
    title: str, verdicts: Sequence[Verdict], published: pd.DataFrame | None
) -> Iterator[Table]:
    """The table that a comparison publishes, then its verdicts, what needs a reader first."""
    files = tables.CRITERIA[2:], tables.GRADES[2:]  # have tables of their own
    if published is not None and not any(set(names) <= set(published) for names in files):
        columns = {
            str(name).replace("_", " "): (numbers if one.dtype.kind in "iuf" else words)(str(name))
            for name, one in published.items()
        }
        if {"value", "error"} <= columns.keys():
            columns["value"] = numbers("value", "error", with_error)
            del columns["error"]
        yield table(f"{title}: its table", published.to_dict("records"), columns)
    columns = {
        "statement": words(lambda v: v.about),
        "verdict": marks(lambda v: v.outcome),
        "observed": numbers(lambda v: estimate(v.observed, v.error, v.bound)),
        "expected": numbers(lambda v: estimate(v.expected, 0.0, 10 * v.error or v.bound)),
        "difference": numbers(lambda v: with_error(v.observed - v.expected, v.error)),
        "bound": numbers(lambda v: number(v.bound)),
        "cause": words(tables.cause),
    }
    for outcome, heading in _HEADINGS.items():
        rows = [v for v in verdicts if v.outcome == outcome]
        folded = len(rows) > 8 or (outcome != "DIFFER" and len(rows) < len(verdicts))
        if rows:
            about = f"{title}: {heading}"
            yield table(about, rows, columns, file="verdicts.csv", folded=folded or None)


def predicted(verdict: Verdict) -> str:
    """The prediction of theory, as a cell."""
    least = "at least " if verdict.relation == "at_least" else ""
    return least + number(tables.prediction(verdict))
