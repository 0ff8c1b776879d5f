"""Whether the report that is there is the one to be written, and what pages use of the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comparisons
from comparisons.report.files import MARK, report_names
from comparisons.store.keys import digest, files_digest
from comparisons.store.output import Output, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comparisons.report.result import CaseResult


def publish(results: Sequence[CaseResult], out: Path, command: str) -> tuple[Path, list[str]]:
    """Writes the report, unless the same one is already there.

    Returns:
        Its first page, and the first screen of each case as text.
    """
    folder = Path(str(comparisons.__file__)).parent / "report"
    sources = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    key = digest([command, [result.key for result in results], files_digest(sources)])
    written = _read_mark(out)
    same = _whole(written) and written["key"] == key
    if same and all(map(Output(out).intact, (written["page"], *written["files"]))):
        return out / written["page"], written["screens"]

    from comparisons.report.pages.write import write

    page, screens = write(results, out, command)
    texts = [screen.text() for screen in screens]
    output = Output(out)
    names = report_names(result.slug for result in results)
    files = [name for name in names if name != MARK and output.intact(name)]
    written |= {"key": key, "page": page.name, "files": files, "screens": texts}
    output.write(MARK, json.dumps(written, indent=1).encode())
    return page, texts


def note_used(out: Path, page: str, keys: Iterable[str]) -> None:
    """Writes down which entries of the store a page uses, for `used`."""
    written = _read_mark(out)
    known, now = written.get("used"), sorted(keys)
    pages = known if isinstance(known, dict) else {}
    if pages.get(page) != now:
        text = json.dumps({**written, "used": {**pages, page: now}}, indent=1)
        Output(out).write(MARK, text.encode())


def used(out: Path) -> set[str]:
    """The entries of the store that the pages of a directory use; none if that is not known."""
    pages = _read_mark(out).get("used")
    lists = pages.values() if isinstance(pages, dict) else ()
    return {key for keys in lists if isinstance(keys, list) for key in map(str, keys)}


def _read_mark(out: Path) -> dict[str, Any]:
    try:
        found = json.loads(read(out / MARK) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(written: dict[str, Any]) -> bool:
    texts = [written.get("key"), written.get("page")]
    for name in ("files", "screens"):
        found = written.get(name)
        texts += found if isinstance(found, list) else [None]
    return all(isinstance(text, str) for text in texts)
