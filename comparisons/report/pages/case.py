"""Facts to HTML: self-contained, without scripts, everything escaped, nothing loaded."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from comparisons.report.facts import Facts
from comparisons.report.formats import number, percent, seconds, short, visible
from comparisons.report.sections import sections
from comparisons.report.sections.model import same_data
from comparisons.report.sections.runs import engines_table
from comparisons.report.tables import identity
from comparisons.verdict import OUTCOMES

MEANINGS = {
    "AGREE": "within the practical bound, Monte Carlo error included",
    "CONSISTENT": "no difference seen, and one that matters would have been",
    "EXPLAINED": "outside the bound, by as much as a named theory predicts",
    "DIFFER": "outside the bound, and nothing predicts it",
    "UNSURE": "more draws are needed to tell",
    "NOT COMPARABLE": "an input is missing, undefined or did not converge",
}
GRADES = {
    "ok": "its 95 % interval holds 93 to 98.5 % of the posterior",
    "careful": "85 to 93 %, or more than 98.5 %",
    "no": "less than 85 %",
}


def case_page(known: Facts, files: Mapping[str, str], command: str) -> str:
    """The page of a case, with the path of each stored fit from it, by label."""
    return render(
        "case.html",
        title=" on ".join(identity(known.result).values()),
        known=known,
        grades=GRADES,
        sections=sections(known, command),
        files=files,
    )


def index_page(
    every: Sequence[Facts], compared: Sequence[tuple[str, pd.DataFrame]], command: str
) -> str:
    """The overview: one row per case, and the models of the same data."""
    engines = [row for known in every for row in known.rows["engines"]]
    grid: dict[str, dict[str, list[Facts]]] = {}
    for one in every:
        cells = grid.setdefault(identity(one.result)["model"], {})
        cells.setdefault(one.result.data_name, []).append(one)
    return render(
        "index.html",
        title="Concord",
        rows=[{**identity(one.result), "known": one, "counts": one.counts} for one in every],
        counts={name: sum(known.counts[name] for known in every) for name in OUTCOMES},
        command=command,
        grid=grid,
        names=dict.fromkeys(one.result.data_name for one in every),
        grades=GRADES,
        models=same_data(compared),
        engines=engines_table(engines, cases=len(every) > 1),
    )


def render(template: str, **context: Any) -> str:
    """A page of a template, with the style and the meanings of verdicts."""
    environment = _environment()
    style = environment.get_template("style.css").render()
    fingerprint = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    context |= {"style": Markup(style), "fingerprint": fingerprint, "meanings": MEANINGS}
    return environment.get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("comparisons.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digits = partial(number, error=0.1)
    environment.filters.update(short=short, percent=percent, seconds=seconds, digits=digits)
    return environment
