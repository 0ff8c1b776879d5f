"""Whether the report that is there is the one to be written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comparisons
from comparisons.store.keys import digest, files_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comparisons.report.result import CaseResult


def publish(results: Sequence[CaseResult], out: Path, command: str) -> tuple[Path, list[str]]:
    """Writes the report, unless the same one is already there.

    Returns:
        Its first page, and the first screen of each case as text.
    """
    folder = Path(str(comparisons.__file__)).parent / "report"
    sources = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    key = digest([command, [result.key for result in results], files_digest(sources)])
    mark = out / ".report.json"
    written = _read_mark(mark)
    if written.get("key") == key and _hashes(out, written["files"]) == written["files"]:
        return out / written["page"], written["screens"]

    from comparisons.report.pages.write import write

    before = _stamps(out)
    mark.unlink(missing_ok=True)
    page, screens = write(results, out, command)
    texts = [screen.text() for screen in screens]
    files = [name for name, stamp in _stamps(out).items() if before.get(name) != stamp]
    written = {"key": key, "page": page.name, "files": _hashes(out, files), "screens": texts}
    mark.write_text(json.dumps(written, indent=1))
    return page, texts


def _read_mark(mark: Path) -> dict[str, Any]:
    try:
        found = json.loads(mark.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and {"key", "page", "files", "screens"} <= found.keys()
    # the page is one of the files that are checked, which lie directly in the directory
    return found if whole and _names(found["files"]) and found["page"] in [*found["files"]] else {}


def _names(files: object) -> bool:
    return isinstance(files, dict) and all(Path(name).name == name for name in files)


def _stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of the files directly in the output directory."""
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in out.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "run.log"
    }


def _hashes(out: Path, names: Sequence[str]) -> dict[str, str]:
    return {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in names
        if (out / name).is_file()
    }
