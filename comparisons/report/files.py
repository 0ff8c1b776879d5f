"""Publishing: a report is written whole beside the old one, then moved into its place."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from comparisons.report.result import CaseResult
from comparisons.store.entries import disk_error
from comparisons.store.keys import digest, source_digest
from comparisons.store.output import Output, remove, sweep, temporary
from models.errors import ConfigError

_SLUG = re.compile(r"[a-z0-9_-]{1,120}")
TABLES = ("estimates", "criteria", "verdicts", "grades")
MARK = ".report.json"  # what the report was made of, and what each page uses of the store
_RESERVED = ("index", "fits", "replicates", "results", "studies", "theory", *TABLES)


def page_source() -> str:
    """A digest of all that makes pages: the templates, the code, and every module it rests on."""
    every = sorted(Path(__file__).parent.rglob("*.*"))
    templates = [path.read_bytes().hex() for path in every if path.suffix in (".html", ".css")]
    return digest([templates, source_digest(*(path for path in every if path.suffix == ".py"))])


def slug(text: str, taken: Sequence[str] = ()) -> str:
    """A file name for any text: letters a-z, digits, `_` and `-`, distinct from those taken."""
    plain = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")
    if not plain or len(plain) > 80:
        plain = f"{plain[:60]}-{sha256(text.encode(errors='replace')).hexdigest()[:10]}".strip("-")
    name, count = plain, 2
    while name in taken:
        name, count = f"{plain}-{count}", count + 1
    return name


def check_slugs(results: Sequence[CaseResult]) -> None:
    """Refuses names of pages that are malformed, reserved or used twice."""
    taken: list[str] = [*_RESERVED]
    for result in results:
        if not _SLUG.fullmatch(result.slug) or result.slug in taken:
            raise ConfigError(
                f"the page name {result.slug[:80]!r} cannot be used; expected letters a-z, digits, "
                f"_ and -, once each, and none of {', '.join(_RESERVED)}"
            )
        taken.append(result.slug)


@contextlib.contextmanager
def published(out: Path) -> Iterator[Path]:
    """A directory whose files take their places in `out` if nothing fails meanwhile.

    Raises:
        ConfigError: somebody else's file is in the place of one of them.
        StoreError: the disk is full, read-only or gone; what was there before is intact.
    """
    stage = temporary(out)
    try:
        stage.mkdir(parents=True)
        sweep(out)
        try:
            yield stage
            Output(out).publish(stage)
        finally:
            remove(stage)
    except OSError as error:
        raise disk_error(error, out) from error


def report_names(slugs: Iterable[str]) -> list[str]:
    """The files of a report, by the names of its pages."""
    tables = [f"{name}.csv" for name in TABLES]
    pages = [f"{slug}.html" for slug in ("index", "studies", *slugs)]
    return [*pages, *tables, "results.json", MARK]


def put(stage: Path, texts: Mapping[str, str]) -> None:
    """Writes texts to files by name."""
    for name, text in texts.items():
        (stage / name).write_text(text, encoding="utf-8", newline="\n")
