"""The report: `index.html`, a page per model and data set, `results.json`, and tidy tables.

Every number in a table of a page is in one of these files.  Pages link to the netCDF files of the
fits, which lie in the store.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comparisons.report import tables
from comparisons.report.difference import differences
from comparisons.report.facts import Facts, as_json, facts, plain, same_data
from comparisons.report.files import TABLES, check_slugs, page_source, published, put
from comparisons.report.first_screen import FirstScreen
from comparisons.report.pages.case import case_page, index_page
from comparisons.report.pages.study import intervals, studies_page
from comparisons.report.result import CaseResult
from comparisons.store.keys import digest, versions
from comparisons.store.output import Output, read
from inference.method import label
from models.errors import DataError

_COLUMNS = {name: getattr(tables, name.upper()) for name in TABLES}


def write(results: Sequence[CaseResult], out: Path, command: str) -> tuple[Path, list[FirstScreen]]:
    """Writes the report of a run, beside the one that is there, whose place it takes at the end.

    Returns:
        The path of the first page, and the first screen of each case.
    """
    check_slugs(results)
    with published(out) as stage:
        every = [facts(result) for result in results]
        for name, columns in _COLUMNS.items():
            rows = [row for known in every for row in known.rows[name]]
            put(stage, {f"{name}.csv": tables.csv_text(columns, rows)})
        every = list(_compared(every, out / "verdicts.csv", stage / "verdicts.csv"))
        for known in every:
            put(stage, {f"{known.result.slug}.html": _page(known, out, command)})
        compared = list(same_data(every))
        content = {
            "command": command,
            "cases": [as_json(known, command) for known in every],
            "models": [
                {"data": data, **row}
                for data, table in compared
                for row in plain(table.reset_index(names="model").to_dict("records"))
            ],
        }
        text = json.dumps(content, allow_nan=False, indent=1, ensure_ascii=False)
        put(stage, {"results.json": text, "index.html": index_page(every, compared, command)})
        if not Output(out).intact("studies.html"):
            put(stage, {"studies.html": studies_page(out, stage, command)})
    return out / "index.html", [known.screen for known in every]


def _page(known: Facts, out: Path, command: str) -> str:
    """The page of a case; the one that is there, if it has the same key and nobody touched it."""
    paths = known.result.files.items()
    files = {label(m): Path(os.path.relpath(path, out)).as_posix() for m, path in paths}
    told = known.changes, plain(known.studied)
    key = digest([known.result.key, command, told, files, versions(), page_source()])
    old = (read(out / f"{known.result.slug}.html") or b"").decode(errors="replace")
    page, _, mark = old.rpartition("<!-- ")
    if mark != f"{digest([key, page])} -->\n":
        page = case_page(known, files, command)
    return f"{page}<!-- {digest([key, page])} -->\n"


def _compared(every: Sequence[Facts], old: Path, new: Path) -> Iterator[Facts]:
    """The cases with what changed since the last run, where one can be read, and their studies."""
    try:
        found = differences(old, new) if old.is_file() else []
    except DataError:
        found = []
    studied = intervals(old.parent, new.parent)
    for known in every:
        case = tuple(tables.identity(known.result).values())
        own = [change for change in found if change.row[1:3] == case]
        changes = tuple((f"{row[0]}: {row[3]}", change, reason) for row, change, reason in own)
        told = changes if any(reason != "new" for *_, reason in changes) else None
        rows = studied.get(case[0], ())
        yield dataclasses.replace(known, changes=told, studied=rows)
