"""Everything the report knows of a case, computed once; the page and the JSON both show it."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import arviz_stats as azs
import pandas as pd
from arviz_stats.utils import ELPDDataLOO

from comparisons.criteria import leave_one_out
from comparisons.policy import MISFIT
from comparisons.reference import samplers
from comparisons.report import draws, headline, tables
from comparisons.report.draws import Comparable, Replicates
from comparisons.report.first_screen import FirstScreen, first_screen
from comparisons.report.formats import number, with_error
from comparisons.report.headline import Agreement, Row
from comparisons.report.result import CaseResult
from comparisons.store.keys import canonical, versions
from comparisons.verdict import Outcome
from inference.method import Method, label
from models.data.dataset import content_hash
from models.programs.density import units

_DRAWS = 500  # of each chain, for the expected log predictive density


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """A case, analysed."""

    result: CaseResult
    found: Agreement  # every method against the reference
    screen: FirstScreen
    loo: ELPDDataLOO | None  # expected log predictive density, unit by unit; None where unknown
    notable: tuple[str, ...]  # the scalars of figures that show every method
    drawn: Comparable  # draws of every method at these
    replicates: Replicates | str  # replicated data; where there are none, why
    rows: Mapping[str, list[Row]]  # of every table, by its name
    changes: tuple[tuple[str, str, str], ...] | None = None
    """(statement, change, reason) since the last run; None if there was none."""
    studied: tuple[Row, ...] = ()
    """Rows of `study.csv` on intervals of this model, with the `page` of their study."""

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many verdicts there are of each outcome."""
        return headline.counts(v for vs in self.result.verdicts.values() for v in vs)


def facts(result: CaseResult) -> Facts:
    """Analyses a case."""
    found = headline.agreement(result)
    every = headline.free(result.model, found.scalars)
    notable = headline.notable(found._replace(scalars=tuple(every)))
    drawn = draws.comparable(result, notable)
    # the reference, or the first reliable sampler
    source = found.reference
    if source is None or result.estimates[source].draws is None:
        source = next(iter(samplers(result.estimates)), None)
    replicates, loo = "no sampler of the posterior can be relied on", None
    if source:
        replicates, loo = draws.replicates(result, source), _loo(result, source)
    predictive = [] if isinstance(replicates, str) else list(tables.predictive_rows(replicates))
    convergence = list(tables.convergence_rows(result))
    identity, grades = tables.identity(result), headline.published_grades(result)
    shipped = headline.engines(result.estimates, result.failures, result.verdicts, grades)
    rows = {
        "estimates": tables.estimate_rows(result),
        "criteria": tables.criteria_rows(result),
        "verdicts": tables.verdict_rows(result),
        "grades": [{**identity, **grade._asdict()} for grade in grades],
        "convergence": convergence,
        "engines": [{"case": " on ".join(identity.values()), **row} for row in shipped],
        "optimisers": tables.optimiser_rows(result),
        "agreement": found.rows,
        "samplers": list(headline.pairs(result)),
        "predictive": predictive,
        "costs": list(tables.cost_rows(result, convergence)),
    }
    told, title = list(_warnings(result, predictive)), tables.title(result)
    given = (result.estimates, result.verdicts, grades, told, result.failures)
    screen = first_screen(result.model, title, *given)
    return Facts(result, found, screen, loo, notable, drawn, replicates, rows)


def _warnings(result: CaseResult, predictive: Sequence[Row]) -> Iterator[str]:
    """Where numbers are not in the data's own units, and where the model first misses the data."""
    if any("original_sd" in variable.attrs for variable in result.data.data_vars.values()):
        yield "the data were standardised: every number is in sd of its column, not in its units"
    for row in predictive:
        if not MISFIT <= row["share_below"] <= 1 - MISFIT:
            yield (
                f"the model misses the data: the {100 * row['quantile']:.0f} % quantile of "
                f"{row['column']} is {number(row['observed'])}, and "
                f"{with_error(row['replicated'], row['replicated_sd'])} in replicated data"
            )
            return


def _loo(result: CaseResult, source: Method) -> ELPDDataLOO | None:
    draws = result.estimates[source].draws
    if draws is None or "log_likelihood" not in draws.children:
        return None
    one = len(draws["log_likelihood"].data_vars) == 1 < units(result.model, result.data)
    return leave_one_out(draws, per_chain=_DRAWS) if one else None


def same_data(cases: Sequence[Facts]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Models of the same data by their expected log predictive density, and what the data are."""
    groups: dict[str, dict[str, Facts]] = {}
    for known in cases:
        if known.loo is not None:
            group = groups.setdefault(content_hash(known.result.data), {})
            group[tables.model_title(known.result.model)] = known
    for group in groups.values():
        if len(group) > 1:
            with warnings.catch_warnings(action="ignore"):
                table = azs.compare({n: known.loo for n, known in group.items()}, round_to="none")
            first = next(iter(group.values()))
            yield tables.identity(first.result)["data"], table


def provenance(result: CaseResult, command: str) -> dict[str, Any]:
    """Everything that is needed to make the case again."""
    return {
        "command": command,
        "seed": result.seed,
        "profile": result.profile,
        "precision": "float64",
        "data_sha256": content_hash(result.data),
        "content_key": result.key,
        "versions": versions(),
    }


def as_json(known: Facts, command: str) -> dict[str, Any]:
    """The case in plain JSON types; NaN is null."""
    result = known.result
    content = {
        "slug": result.slug,
        "model": result.model.name,
        "hyper_parameters": canonical(result.model)["settings"],
        "data": result.data_name,
        "columns": list(result.columns),
        "sizes": {str(dim): size for dim, size in result.data.sizes.items()},
        "headline": known.screen.sentence,
        "warnings": list(known.screen.warnings),
        "reference": label(known.found.reference) if known.found.reference else "",
        "counts": known.counts,
        "titles": dict(result.titles),
        "not_applicable": [name for name, verdicts in result.verdicts.items() if not verdicts],
        "refusals": {label(method): reason for method, reason in result.refusals.items()},
        "failures": dict(result.failures),
        "seconds": result.seconds,
        **known.rows,
        "tables": {name: table.to_dict("records") for name, table in result.figures.items()},
        "provenance": provenance(result, command),
        "changes": known.changes,
    }
    return plain(content)


def plain(value: Any) -> Any:
    """`value` in JSON types, with null for what is not a finite number."""
    text = json.dumps(value, default=lambda one: one.item())  # of NumPy's numbers
    return json.loads(text, parse_constant=lambda _: None)
