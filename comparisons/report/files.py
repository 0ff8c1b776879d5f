"""Publishing: a report is written whole beside the old one, then moved into its place."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from comparisons.report.result import CaseResult
from comparisons.store.entries import disk_error
from comparisons.store.trees import to_netcdf
from models.errors import ConfigError

_STAGE = ".report-"
_SLUG = re.compile(r"[a-z0-9_-]{1,120}")
_RESERVED = (
    "index", "fits", "replicates", "results", "estimates", "criteria", "verdicts", "studies",
    "theory",
)  # fmt: skip


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
            _move(stage, out)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, out) from error


def _move(stage: Path, out: Path) -> None:
    """Files one by one, the first page last, so that it never links to what is not there."""
    files = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name == "index.html")
    for path in files:
        (out / path).parent.mkdir(exist_ok=True)
        (stage / path).replace(out / path)
    for folder in {path.parent for path in files if path.parent != Path()}:
        for old in (out / folder).glob("*.nc"):  # of methods that are no longer there
            if old.relative_to(out) not in files:
                old.unlink()


def write_draws(result: CaseResult, stage: Path) -> dict[str, str]:
    """One netCDF file per fit, with its data; returns their paths from the page, by label."""
    paths: dict[str, str] = {}
    names: list[str] = []
    for label, fit in result.estimates.items():
        names.append(slug(label, names))
        path = stage / result.slug / f"{names[-1]}.nc"
        path.parent.mkdir(exist_ok=True)
        stored = result.files.get(label)
        if stored is not None and stored.is_file():
            shutil.copyfile(stored, path)
        else:
            path.write_bytes(to_netcdf(fit))
        paths[label] = f"{result.slug}/{path.name}"
    return paths
