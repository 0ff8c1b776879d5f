"""Where a command works: an output directory that is its own for so long, and its workers."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, cast

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from comparisons.report.files import MARK, page_source, report_names
from comparisons.report.result import CaseResult
from comparisons.report.tables import VERDICTS
from comparisons.runs.console import complain
from comparisons.runs.executor import ONE_THREAD, Cluster, Executor, Here
from comparisons.runs.settings import Settings
from comparisons.store.entries import Store, disk_error
from comparisons.store.keys import digest
from comparisons.store.output import LOCK, STORE, Output, read
from models.errors import ConcordError

_LOG = "run.log"
_ENDING = 1.0  # seconds that a run which was killed a moment ago has to be gone


class _Uses(TypedDict, total=False):
    """The entries of the store that each page uses."""

    used: dict[str, list[str]]


class _Mark(_Uses, total=False):
    """A report's `MARK`: also what it was made of, and what it consists of."""

    key: str
    page: str
    files: list[str]
    screens: list[str]


_MARK, _USES = TypeAdapter(_Mark), TypeAdapter(_Uses)


class InUseError(ConcordError):
    """Another run writes to the same output directory."""


@contextmanager
def place(
    settings: Settings, names: Sequence[str], cases: int | None = None
) -> Iterator[tuple[Output, Store, Executor]]:
    """The output directory, made if it is not there and kept from other runs, and who works.

    Files of the names will be written there, the page first.  Cases compute in several threads, and
    no more workers than there are cases are of use; all else is done in one thread each.
    """
    here = settings.debug or (settings.jobs == 1 and not settings.scheduler)
    with held(Path(settings.out).absolute(), force=settings.force) as output:
        output.claim([*names, *([] if here else [_LOG])])
        store = Store(output.path / STORE, warn=complain)
        store.root.mkdir(exist_ok=True)
        store.sweep()
        jobs, log = settings.jobs or os.cpu_count() or 1, output.path / _LOG
        workers, environment = min(jobs, cases or jobs), {} if cases else ONE_THREAD
        cluster = Cluster(
            workers, settings.scheduler, store.root, log, environment, settings.timeout
        )
        yield output, store, Here(settings.debug) if here else cluster
        note_used(output.path, names[0], store.used)


@contextmanager
def held(out: Path, *, force: bool = False) -> Iterator[Output]:
    """An output directory of ours, made if it is not there and kept from other runs."""
    try:
        # verdicts of ours are kept where all else that a run writes is not, as in version control
        output = Output(
            out, force=force, signs={"verdicts.csv": ",".join(VERDICTS[:4])}, tell=complain
        )
        output.refuse_others()
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=_ENDING):
            yield output
    except Timeout as error:
        raise InUseError(
            f"another run writes to {out}: it holds the lock {out / LOCK}. "
            "Wait for it to end, or choose another directory with --out."
        ) from error
    except OSError as error:
        raise disk_error(error, out) from error


def publish(results: Sequence[CaseResult], out: Path, command: str) -> tuple[Path, list[str]]:
    """The first page of the report and the first screen of each case; written if it is not there.

    A report that is already there, of the same results and by the same code, stays as it is.
    """
    studied = (read(out / "study.csv") or b"").decode(errors="replace")
    key = digest([command, [result.key for result in results], studied, page_source()])
    match mark := _read_mark(out):
        case {"key": known, "page": name, "files": files, "screens": texts} if known == key:
            if all(map(Output(out).intact, (name, *files))):
                return out / name, texts

    from comparisons.report.pages.write import write

    page, screens = write(results, out, command)
    texts = [screen.text() for screen in screens]
    output = Output(out)
    names = report_names(result.slug for result in results)
    files = [name for name in names if name != MARK and output.intact(name)]
    now = {**mark, "key": key, "page": page.name, "files": files, "screens": texts}
    output.write(MARK, json.dumps(now, indent=1).encode())
    return page, texts


def note_used(out: Path, page: str, keys: Iterable[str]) -> None:
    """Writes down which entries of the store a page uses, for `used`."""
    mark, now = _read_mark(out), sorted(keys)
    pages = mark.get("used", {})
    if pages.get(page) != now:
        text = json.dumps({**mark, "used": {**pages, page: now}}, indent=1)
        Output(out).write(MARK, text.encode())


def used(out: Path) -> set[str]:
    """The entries of the store that the pages of a directory use; none if that is not known."""
    return {key for keys in _read_mark(out).get("used", {}).values() for key in keys}


def _read_mark(out: Path) -> _Mark:
    text = read(out / MARK) or b"{}"
    for kind in (_MARK, _USES):  # of what is damaged, and written anew, what pages use is kept
        try:
            return cast("_Mark", kind.validate_json(text, strict=True))
        except ValidationError:
            continue
    return {}
