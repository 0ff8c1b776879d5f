"""Publishing: a report is written whole beside the old one, then moved into its place."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from comparisons.report.result import CaseResult
from comparisons.store.entries import disk_error
from inference.method import label
from models.errors import ConfigError

_STAGE = ".report-"
_SLUG = re.compile(r"[a-z0-9_-]{1,120}")
_RESERVED = (
    *("index", "fits", "replicates", "results", "estimates", "criteria", "verdicts", "studies"),
    *("theory", "grades"),
)


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
    """Refuses names that are no file names of ours.

    Raises:
        ConfigError: a slug is malformed, reserved or used twice.
    """
    seen: set[str] = set()
    for result in results:
        if not _SLUG.fullmatch(result.slug) or result.slug in _RESERVED:
            raise ConfigError(
                f"the page name {result.slug[:80]!r} cannot be used; expected letters a-z, digits, "
                f"_ and -, and none of {', '.join(_RESERVED)}"
            )
        if result.slug in seen:
            raise ConfigError(f"two cases have the page name {result.slug!r}; expected one each")
        seen.add(result.slug)


@contextlib.contextmanager
def published(out: Path) -> Iterator[Path]:
    """A directory whose files take their places in `out` if nothing fails meanwhile.

    Raises:
        StoreError: the disk is full, read-only or gone; what was there before is intact.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f"{_STAGE}*"):  # by a process that was killed
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=out))
        try:
            yield stage
            # the first page last, so that it never links to what is not there
            for path in sorted(stage.iterdir(), key=lambda p: (p.name == "index.html", p.name)):
                path.replace(out / path.name)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, out) from error


def put(stage: Path, texts: Mapping[str, str]) -> None:
    """Writes texts to files by name."""
    for name, text in texts.items():
        (stage / name).write_text(text, encoding="utf-8", newline="\n")


def links(result: CaseResult, out: Path) -> dict[str, str]:
    """Where the stored fits lie as seen from a page, by label."""
    paths = result.files.items()
    return {label(method): Path(os.path.relpath(path, out)).as_posix() for method, path in paths}
