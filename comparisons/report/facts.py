"""Everything the report knows of a case, computed once; the page and the JSON both show it."""

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import arviz_stats as azs
import numpy as np
import pandas as pd
from arviz_stats.utils import ELPDDataLOO

from comparisons.criteria import leave_one_out
from comparisons.policy import MISFIT
from comparisons.reference import samplers
from comparisons.report import draws, headline, tables
from comparisons.report.draws import Comparable, Replicates
from comparisons.report.engines import engines
from comparisons.report.first_screen import FirstScreen, first_screen
from comparisons.report.headline import Agreement
from comparisons.report.result import CaseResult
from comparisons.report.tables import Row
from comparisons.store.keys import canonical, versions
from comparisons.verdict import Outcome
from inference.method import Method, label
from models.capabilities import HasOwnPrograms
from models.data.dataset import content_hash
from models.errors import ConfigError

_DRAWS = 500
"""Of each chain, for the expected log predictive density."""


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """A case, analysed.

    Attributes:
        result: the case.
        found: every method against the reference.
        screen: the first screen.
        source: the method whose draws stand for the posterior; None if none can be relied on.
        loo: its expected log predictive density, unit by unit; None where that is unknown.
        notable: the scalars of figures that show every method.
        drawn: draws of every method at these.
        replicates: replicated data, if there are any; `no_replicates` says why not.
        estimates, criteria, verdicts, grades: the rows of the tidy tables.
        convergence, engines, optimisers, agreement, forest, predictive, costs: those of the page's.
        changes: what changed since the last run, as (statement, change, reason); None if there
            was none.
    """

    result: CaseResult
    found: Agreement
    screen: FirstScreen
    source: Method | None
    loo: ELPDDataLOO | None
    notable: tuple[str, ...]
    drawn: Comparable
    replicates: Replicates | None
    no_replicates: str
    estimates: list[Row]
    criteria: list[Row]
    verdicts: list[Row]
    grades: list[Row]
    convergence: list[Row]
    engines: list[Row]
    optimisers: list[Row]
    agreement: list[Row]
    forest: list[Row]
    predictive: list[Row]
    costs: list[Row]
    changes: tuple[tuple[str, str, str], ...] | None = None

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many verdicts there are of each outcome."""
        return headline.counts(v for vs in self.result.verdicts.values() for v in vs)


_ROWS = (
    *("estimates", "criteria", "verdicts", "grades", "convergence", "engines", "optimisers"),
    *("agreement", "forest", "predictive", "costs"),
)


def facts(result: CaseResult) -> Facts:
    """Analyses a case."""
    found = headline.agreement(result)
    notable = headline.notable(found)
    drawn = draws.comparable(result, notable)
    replicates, no_replicates = None, "no sampler of the posterior can be relied on"
    source = _source(result, found)
    if source:
        replicates, no_replicates = draws.replicates(result, source)
    predictive = tables.predictive_rows(replicates) if replicates else []
    convergence = tables.convergence_rows(result)
    return Facts(
        result=result,
        found=found,
        screen=_screen(result, predictive),
        source=source,
        loo=_loo(result, source) if source else None,
        notable=notable,
        drawn=drawn,
        replicates=replicates,
        no_replicates=no_replicates,
        estimates=tables.estimate_rows(result),
        criteria=tables.criteria_rows(result) if result.estimates else [],
        verdicts=tables.verdict_rows(result),
        grades=tables.grade_rows(result),
        convergence=convergence,
        engines=_engines(result),
        optimisers=tables.optimiser_rows(result),
        agreement=tables.agreement_rows(result, found),
        forest=tables.forest_rows(drawn, notable),
        predictive=predictive,
        costs=tables.cost_rows(result, convergence),
    )


def _engines(result: CaseResult) -> list[Row]:
    grades = headline.published_grades(result)
    found = engines(result.estimates, result.failures, result.verdicts, grades)
    return [{"case": " on ".join(tables.identity(result).values()), **r._asdict()} for r in found]


def _screen(result: CaseResult, predictive: Sequence[Row]) -> FirstScreen:
    """The first screen, with what the replicated data say of the model."""
    told = []
    for row in predictive:
        share = row["share_below"]
        if not MISFIT <= share <= 1 - MISFIT:
            told.append(
                f"the model misses the data: the {100 * row['quantile']:.0f} % quantile of "
                f"{row['column']} is {row['observed']:.4g}, and {row['replicated']:.4g} ± "
                f"{row['replicated_sd']:.2g} in replicated data"
            )
    fits, grades = result.estimates, headline.published_grades(result)
    title = " · ".join(tables.identity(result).values())
    return first_screen(result.model, title, fits, result.verdicts, grades, told[:1])


def _source(result: CaseResult, found: Agreement) -> Method | None:
    """The method whose draws replicate the data: the reference, or the first reliable sampler."""
    if found.reference and result.estimates[found.reference].draws is not None:
        return found.reference
    return next(iter(samplers(result.estimates)), None)


def _loo(result: CaseResult, source: Method) -> ELPDDataLOO | None:
    draws = result.estimates[source].draws
    if draws is None or "log_likelihood" not in draws.children:
        return None
    if len(draws["log_likelihood"].data_vars) != 1:
        return None
    return leave_one_out(draws, per_chain=_DRAWS)


def same_data(cases: Sequence[Facts]) -> list[tuple[str, pd.DataFrame]]:
    """Models of the same data by their expected log predictive density, and what the data are."""
    groups: dict[str, dict[str, Facts]] = {}
    for known in cases:
        if known.loo is not None:
            group = groups.setdefault(content_hash(known.result.data), {})
            group[tables.model_title(known.result.model)] = known
    found = []
    for group in groups.values():
        if len(group) > 1:
            first = next(iter(group.values()))
            every = {name: known.loo for name, known in group.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table = azs.compare(every, round_to="none")
            found.append((tables.data_title(first.result), table))
    return found


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
        "hyper_parameters": _settings(result),
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
        **{name: getattr(known, name) for name in _ROWS},
        "tables": {name: tables.table_rows(table) for name, table in result.figures.items()},
        "provenance": provenance(result, command),
        "changes": known.changes,
    }
    return plain(content)


def plain(value: Any) -> Any:
    """`value` in JSON types, with null for what is not a finite number."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def settings(result: CaseResult) -> list[tuple[str, str]]:
    """The hyper-parameters, name and value."""
    if not dataclasses.is_dataclass(result.model) or isinstance(result.model, HasOwnPrograms):
        return []
    fields: Sequence[dataclasses.Field[Any]] = dataclasses.fields(result.model)
    return [(field.name, repr(getattr(result.model, field.name))) for field in fields]


def _settings(result: CaseResult) -> Any:
    try:
        return canonical(result.model)["settings"]
    except (ConfigError, KeyError, TypeError):
        return dict(settings(result))
