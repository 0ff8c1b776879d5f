"""The flow of one case: the gate, then every fit, then every other comparison.

    data | model.simulate → Case → case.fit(method) → Estimate → compare(case) → Verdict

What a case yields is a plain JSON record beside the stored fits, so that processes can hand it
on and an unchanged case is not computed again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict, final

import pandas as pd
from pydantic import TypeAdapter

from comparisons import case as _case
from comparisons.case import Case, Progress
from comparisons.claims import GATE
from comparisons.report.result import CaseResult
from comparisons.runs.plan import chosen, plan, title
from comparisons.runs.remote import require_same
from comparisons.store.entries import Store
from comparisons.store.keys import digest, source_digest
from comparisons.verdict import Verdict, at_tolerance, not_comparable
from inference.estimate import Estimate
from inference.method import Method, label
from models.errors import StoreError, told
from models.programs.precision import float64

_CASE = Path(str(_case.__file__))  # every comparison is given a case, and depends on its code
_LAYOUT = 4  # version of the layout of records


class _Record(TypedDict):
    """All that is kept of a case beside its fits."""

    fits: list[str]
    failures: dict[str, str]
    problems: dict[str, str]
    tables: dict[str, dict[str, Any]]
    verdicts: dict[str, list[Verdict]]
    seconds: float
    used: list[str]


_RECORD, _VERDICTS = TypeAdapter(_Record), TypeAdapter(list[Verdict])


def run_spec(
    spec: Mapping[str, Any],
    slug: str,
    root: str,
    expected: str,
    *,
    skip: Mapping[str, str],
    tell: Progress,
) -> dict[str, Any]:
    """Runs the case of a plan's spec, in any process, and returns its record.

    Args:
        spec: see `comparisons.runs.plan.Plan`.
        slug: name of its page.
        root: directory of the store.
        expected: digest of the record's description where the case was planned.
        skip: why a fit or a comparison is not to be attempted, by name.
        tell: told of every fit and comparison, and of warnings.
    """
    import jax

    jax.clear_caches()  # of the case before: what it compiled is not called again, and takes GBs
    if not Path(root).is_dir():
        raise StoreError(f"{root}: a worker does not see it; --out must be where all workers do")
    store = Store(Path(root), warn=lambda message: tell("warning", message, 0.0))
    case = plan(spec, slug).case(store, tell)
    require_same(record_description(case, tuple(spec["only"])), expected)
    return run_case(case, tuple(spec["only"]), store, tell, skip)


def run_case(
    case: Case, only: tuple[str, ...], store: Store, activity: Progress, skip: Mapping[str, str]
) -> dict[str, Any]:
    """Runs a case and returns its record.

    Args:
        case: the case, with the same store.
        only: the comparisons to make; all if empty. The gate is always made.
        store: where verdicts are kept.
        activity: told of every fit and comparison as it begins and ends.
        skip: why a fit or a comparison is not to be attempted, by name.
    """
    began = time.perf_counter()
    modules = chosen(only)
    problems = {name: skip[name] for name in modules if name in skip}
    untabled = {name: skip[_table_of(name)] for name in modules if _table_of(name) in skip}
    known = {*modules, *map(_table_of, modules)}
    case.failed.update({name: reason for name, reason in skip.items() if name not in known})
    verdicts: dict[str, list[Verdict]] = {}
    fits, cause = list[str](), ""
    for name, module in modules.items():
        if cause:
            verdicts[name] = [not_comparable(title(module), cause)]
            continue
        verdicts[name] = _kept_verdicts(case, name, module, store, activity, problems)
        if name == GATE and not (cause := closed(verdicts[name])):
            fits = [label(method) for method in case.estimates()]
    problems |= untabled
    tables = {} if cause else tabulated(case, modules, activity, problems)
    record = {
        "fits": fits,
        "failures": dict(case.failed),
        "problems": problems,
        "tables": tables,
        "verdicts": {name: list(map(asdict, vs)) for name, vs in verdicts.items()},
        "seconds": time.perf_counter() - began,
        "used": sorted(store.used),
    }
    if not case.failed and not problems:  # failures are never stored
        store.save_json(record_description(case, only), record)
    return record


def closed(gate: Iterable[Verdict]) -> str:
    """Why nothing is fitted, by the verdicts of the gate; "" if all of them agree."""
    verdict = next((v for v in gate if v.outcome != "AGREE"), None)
    if verdict is None:
        return ""
    reason = verdict.cause or f"{verdict.observed:g} against {verdict.expected:g}"
    shown = "not fitted, since the two programs are not shown to be one model"
    return f"{shown}: {verdict.about}: {reason}"


def stored_record(case: Case, only: tuple[str, ...], store: Store) -> dict[str, Any] | None:
    """The record of an unchanged case whose fits are all there and whole; else None."""
    methods = {label(method): method for method in case.methods}

    def sound(record: dict[str, Any]) -> dict[str, Any]:
        _RECORD.validate_python(record)
        if not set(record["fits"]) <= set(methods) or set(record["verdicts"]) != set(chosen(only)):
            raise ValueError("it is a record of something else")
        for published in record["tables"].values():
            pd.DataFrame(published)
        return record

    record = store.load_json(record_description(case, only), sound)
    if record is None:
        return None
    whole = [store.intact(case.fit_description(methods[name])) for name in record["fits"]]
    return record if all(whole) else None


def record_description(case: Case, only: tuple[str, ...]) -> dict[str, object]:
    """Everything the record of a case depends on."""
    modules = chosen(only)
    source = source_digest(*(Path(str(module.__file__)) for module in modules.values()), _CASE)
    return {"record": list(modules), "layout": _LAYOUT, "case": case.key, "source": source}


def case_result(
    slug: str,
    columns: Sequence[str],
    case: Case,
    record: Mapping[str, Any],
    store: Store,
    tolerance: float = 1.0,
) -> CaseResult:
    """A case as the report is given it: its record, and its estimates read when asked for.

    Args:
        slug: the name of its page.
        columns: those of the data that are used; empty where all are.
        case: the case.
        record: its record, as `run_case` returns it.
        store: where its fits are.
        tolerance: factor on the practical bounds of every comparison but the gate.
    """
    methods = {label(method): method for method in case.methods}
    fitted = [methods[name] for name in record["fits"]]
    descriptions = {method: case.fit_description(method) for method in fitted}
    passing = ("seconds", "used")
    timeless = {name: value for name, value in record.items() if name not in passing}
    titles = {name: title(module) for name, module in chosen(tuple(record["verdicts"])).items()}
    return CaseResult(
        slug=slug,
        model=case.model,
        data_name=case.data_name,
        columns=tuple(columns),
        data=case.data,
        seed=case.seed,
        profile=case.profile,
        estimates=_StoredEstimates(case, store, descriptions),
        refusals=case.refusals,
        failures=record["failures"],
        verdicts={
            name: at_tolerance(
                (Verdict(**verdict) for verdict in verdicts), 1.0 if name == GATE else tolerance
            )
            for name, verdicts in record["verdicts"].items()
        },
        titles=titles,
        seconds=record["seconds"],
        figures={name: pd.DataFrame(table) for name, table in record["tables"].items()},
        key=digest([slug, list(columns), case.data_name, case.key, timeless, titles, tolerance]),
        files={method: store.fit_path(content) for method, content in descriptions.items()},
    )


@final
@dataclass(eq=False)
class _StoredEstimates(Mapping[Method, Estimate]):
    """Estimates by method, each read when first asked for; one that cannot be is fitted anew."""

    case: Case
    store: Store
    descriptions: Mapping[Method, dict[str, object]]
    read: dict[Method, Estimate] = field(default_factory=dict)

    def __getitem__(self, method: Method) -> Estimate:
        if method not in self.read:
            if not self.store.intact(self.descriptions[method]):
                path = self.store.fit_path(self.descriptions[method])
                raise StoreError(f"{path}: the fit vanished during the run; run again")
            self.read[method] = self.case.fit(method)
        return self.read[method]

    def __iter__(self) -> Iterator[Method]:
        return iter(self.descriptions)

    def __len__(self) -> int:
        return len(self.descriptions)


def compared(case: Case, module: ModuleType) -> tuple[list[Verdict], str]:
    """The verdicts of a comparison, and why it could not be made: they say NOT COMPARABLE then."""
    found, problem = _attempted("comparison", lambda: list(module.compare(case)))
    return found if found is not None else [not_comparable(title(module), problem)], problem


def _table_of(name: str) -> str:
    """The activity of making a comparison's table."""
    return f"table of {name}"


def tabulated(
    case: Case, modules: Mapping[str, ModuleType], activity: Progress, problems: dict[str, str]
) -> dict[str, Any]:
    """Tables that comparisons publish beside their verdicts, where they define `table(case)`.

    Args:
        case: the case.
        modules: the comparisons by name; one has None to publish where it says nothing of the case.
        activity: told of every table.
        problems: why a comparison could not be made, by name; those of tables are added.
    """
    tables = {}
    for name, module in modules.items():
        table = vars(module).get("table")
        if table is None or name in problems:
            continue
        activity("compare", _table_of(name), 0.0)
        published, problem = _attempted("table", partial(float64(table), case))
        if problem:
            problems[name] = problem
        elif published is not None:
            tables[name] = published.to_dict("list")
    return tables


def _kept_verdicts(
    case: Case,
    name: str,
    module: ModuleType,
    store: Store,
    activity: Progress,
    problems: dict[str, str],
) -> list[Verdict]:
    """The verdicts of a comparison, from the store if they are there."""
    if name in problems:
        return [not_comparable(title(module), problems[name])]
    description = {
        "verdicts": name,
        "case": case.key,
        "failures": dict(case.failed),
        "source": source_digest(Path(str(module.__file__)), _CASE),
    }
    stored = store.load_json(description, _VERDICTS.validate_python)
    if stored is not None:
        return stored
    activity("compare", name, 0.0)
    verdicts, problem = compared(case, module)
    if problem:
        problems[name] = problem
    elif description["failures"] == case.failed:  # a sibling's fit may have failed meanwhile
        store.save_json(description, [asdict(verdict) for verdict in verdicts])
    return verdicts


def _attempted[T](what: str, attempt: Callable[[], T]) -> tuple[T | None, str]:
    """The result of an attempt, or why there is none."""
    try:
        return attempt(), ""
    except StoreError:
        raise
    except Exception as error:  # a user's program may raise anything
        return None, f"the {what} failed: {told(error)}"
