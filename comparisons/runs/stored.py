"""Commands that compare what is stored: two tables of verdicts, two posteriors."""

from pathlib import Path
from typing import Annotated

import typer

from comparisons.runs.console import say
from comparisons.runs.options import Tolerance


def diff(
    old: Annotated[Path, typer.Argument(help="A verdicts.csv, or the directory of a report.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Says which verdicts changed between two runs, as far as their Monte Carlo errors can tell.

    Exits with 1 if some changed.

    Example:

      concord diff old.csv reports/verdicts.csv
    """
    from collections import Counter

    from comparisons.report.difference import differences

    found = differences(old, new)
    for difference in found:
        if difference.change != "unchanged":
            say(f"{difference.change}: {' · '.join(difference.row)}: {difference.reason}")
    counts = Counter(difference.change for difference in found)
    say(", ".join(f"{counts[name]} {name}" for name in ("changed", "cannot tell", "unchanged")))
    raise typer.Exit(1 if counts["changed"] else 0)


def posterior(
    old: Annotated[Path, typer.Argument(help="Draws as netCDF, as ArviZ writes them.")],
    new: Annotated[Path, typer.Argument(help="Other draws.")],
    tolerance: Tolerance = None,
) -> None:
    """Says whether two stored posteriors are the same, as far as their Monte Carlo errors can tell.

    Means and standard deviations of every number that both have. Exits with 1 if some differ.

    Example:

      concord posterior old.nc new.nc
    """
    from comparisons.posteriors import same_posterior
    from comparisons.report.formats import short

    found = same_posterior(old, new, tolerance=tolerance or 1.0)
    frame = found.table().rename(columns={"first": old.name, "second": new.name})
    say(
        frame.to_string(
            index=False,
            na_rep="",
            float_format="{:.4g}".format,
            formatters=dict.fromkeys(("parameter", "cause"), short),
        )
    )
    say(repr(found))
    raise typer.Exit(0 if found.passed else 1)
