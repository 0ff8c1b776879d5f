"""Commands on what is stored: tables of verdicts, posteriors, and the fits beside a report."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from comparisons.runs import environment
from comparisons.runs.console import say
from comparisons.runs.options import taking
from comparisons.store.output import FILE, LIST, STORE, Output, kind, left_behind, remove
from models.errors import ConfigError

store = typer.Typer(
    help="Lists, verifies or prunes the fits that lie beside a report.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def diff(
    old: Annotated[Path, typer.Argument(help="A verdicts.csv, or the directory of a report.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Says which verdicts changed between two runs, as far as their Monte Carlo errors can tell.

    Exits with 1 if some changed.

    Example:

      concord diff old.csv reports/verdicts.csv
    """
    from comparisons.report.difference import differences

    found = differences(old, new)
    for difference in found:
        if difference.change != "unchanged":
            say(f"{difference.change}: {' · '.join(difference.row)}: {difference.reason}")
    counts = Counter(difference.change for difference in found)
    say(", ".join(f"{counts[name]} {name}" for name in ("changed", "cannot tell", "unchanged")))
    raise typer.Exit(1 if counts["changed"] else 0)


@taking("tolerance")
def posterior(
    old: Annotated[Path, typer.Argument(help="Draws as netCDF, as ArviZ writes them.")],
    new: Annotated[Path, typer.Argument(help="Other draws.")],
    tolerance: float | None,
) -> None:
    """Says whether two stored posteriors are the same, as far as their Monte Carlo errors can tell.

    Means and standard deviations of every number that both have. Exits with 1 if some differ.

    Example:

      concord posterior old.nc new.nc
    """
    from comparisons.posteriors import same_posterior
    from comparisons.report.formats import short

    found = same_posterior(old, new, tolerance=1.0 if tolerance is None else tolerance)
    frame = found.table().rename(columns={"first": old.name, "second": new.name})
    texts = dict.fromkeys(("parameter", "cause"), short)
    say(frame.to_string(index=False, na_rep="", float_format="{:.4g}".format, formatters=texts))
    say(repr(found))
    raise typer.Exit(0 if found.passed else 1)


@store.command("list")
@taking("out")
def list_fits(out: str | None) -> None:
    """Lists what is stored: key, bytes, date, whether it is in use, method, model and data.

    `in use`: by a page that is there. `unused`: by none. `other versions`: made with another
    Python or library, so that no run of this installation would use it.

    Example:
      concord store list --out mine
    """
    environment.prepare()
    from comparisons.report.formats import short
    from comparisons.runs.place import used
    from comparisons.store.entries import entries

    output = _ours(out)
    keys, found = used(output.path), list(entries(output.path / STORE))
    for entry in found:
        state = "in use" if entry.path.name in keys else "unused" if keys else ""
        state = state if entry.current else "other versions"
        date = datetime.fromtimestamp(entry.written).astimezone().isoformat(" ", "minutes")
        what = short(entry.what) or "no description that can be read"
        say(f"{entry.path.name[:12]}  {entry.size:>12,}  {date[:16]}  {state:<14}  {what}")
    total = sum(entry.size for entry in found)
    say(f"{len(found)} entries, {total:,} bytes in {output.path / STORE}")


@store.command()
@taking("out")
def verify(out: str | None) -> None:
    """Hashes every entry and every published file anew and says what is damaged.

    Nothing is changed: the next run sets a damaged entry aside and makes it anew. Exits with 4 if
    something is damaged.

    Example:
      concord store verify --out mine
    """
    environment.prepare()
    from comparisons.store.entries import damage, entries

    output = _ours(out)
    there = [entry.path for entry in entries(output.path / STORE)]
    found = [(path, problem) for path in there if (problem := damage(path))]
    changed = "is missing or not as it was written"
    found += [(output.path / name, changed) for name in output.damaged()]
    for path, problem in found:
        say(f"{path}: {problem}")
    checked = f"{len(there)} entries and {len(output.listed)} files were checked"
    say(f"{checked}: {f'{len(found)} are damaged' if found else 'all are whole'}")
    raise typer.Exit(4 if found else 0)


@store.command()
@taking("out")
def prune(
    out: str | None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
) -> None:
    """Removes what was set aside or left half-written, and entries that no page there uses.

    Only what concord has written is removed; what is removed is said, with its size. A run or a
    study that was interrupted has no page yet: let it end first, if its fits are to be kept.

    Example:
      concord store prune --dry-run
    """
    environment.prepare()
    from comparisons.runs.place import held, used
    from comparisons.store.entries import size, superfluous

    word, total, count = "would remove" if dry_run else "removed", 0, 0
    with held(_ours(out).path) as output:
        keys = used(output.path)
        left = [(path, "left half-written") for path in left_behind(output.path)]
        for path, reason in (*left, *superfluous(output.path / STORE, keys)):
            amount = size(path)
            if not dry_run:
                remove(path)
                if kind(path):
                    say(f"{path} cannot be removed")
                    continue
            say(f"{word} {path}: {reason}, {amount:,} bytes")
            total, count = total + amount, count + 1
    if not keys:
        say("which entries are in use is not known, as no report is there: every entry is kept")
    say(f"{word} {total:,} bytes, {count} in number")


def _ours(out: str | None) -> Output:
    """The output directory of that name, unless it is none of ours."""
    from comparisons.runs.settings import Settings
    from comparisons.store.entries import disk

    path = Path(out or Settings().out).absolute()
    with disk(path):
        if kind(path / LIST) == FILE:
            return Output(path)
    raise ConfigError(
        f"--out {path}: concord has written nothing there (there is no {LIST}). Name the "
        "directory of a report."
    )
