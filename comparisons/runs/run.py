"""The commands: from what is asked for to a page and an exit code.

Everything that is kept lies in the output directory: stored fits, batches and demonstrations in
`fits/`, the report beside them.  A lock keeps a second run out of it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
import typer
from filelock import FileLock, Timeout

from comparisons.claims import GATE
from comparisons.grades import MARKS
from comparisons.runs import signals
from comparisons.runs import theory as _theory
from comparisons.runs.batches import Here as MeasuringHere
from comparisons.runs.batches import There, spec
from comparisons.runs.conduct import conduct
from comparisons.runs.console import tell_reading
from comparisons.runs.executor import ONE_THREAD, Cluster, Executor, Here
from comparisons.runs.flow import case_result, closed, record_description, stored_record
from comparisons.runs.plan import chosen_methods, plans, studied_model
from comparisons.runs.progress import Counting, Report, say
from comparisons.runs.publish import publish
from comparisons.runs.studying import default_ladder, prepared
from comparisons.store.entries import Store, disk_error
from comparisons.store.keys import digest
from comparisons.verdict import OUTCOMES
from inference.method import label
from models.errors import ConcordError, FitError, printable, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from comparisons.case import Case
    from comparisons.grades import Mark
    from comparisons.report.result import CaseResult
    from comparisons.runs.plan import Plan
    from comparisons.runs.settings import Settings
    from comparisons.verdict import Verdict
    from models.spec import Model


class InUseError(ConcordError):
    """Another run writes to the same output directory."""


class Place(NamedTuple):
    """Where a command keeps things, and who works for it."""

    out: Path
    store: Store
    executor: Executor


def run(
    settings: Settings, command: str, *, mistakes: Sequence[str] = (), debug: bool = False
) -> tuple[Path, int]:
    """Runs cases, writes the report.

    Args:
        settings: what to run.
        command: the command line, for the report.
        mistakes: what is known to be wrong with the settings, to be told with what else is.
        debug: run in this process, one case after the other, and let exceptions through.

    Returns:
        The path of the report's first page, and the exit code: 0 all hold, 1 some verdict is
        DIFFER or some grade as bad as `fail_on`, 4 some fits errored or, where the gate did not
        agree, were not made.

    Raises:
        ConfigError, DataError, ModelError: what was asked for cannot be run.
        FitError: not a single case could be run.
        InUseError: another run uses the output directory.
        StoreError: the output directory cannot be written.
    """
    planned = plans(settings, mistakes)
    tell_reading(*(plan.data for plan in planned))
    with place(settings, {}, debug=debug, most=len(planned)) as working:
        cases = {plan.slug: plan.case(working.store) for plan in planned}
        with working.executor as executor:
            records, broken = _records(planned, cases, working.store, executor)
        results = [
            case_result(
                plan.slug,
                plan.spec["columns"],
                cases[plan.slug],
                records[plan.slug],
                working.store,
                settings.tolerance,
            )
            for plan in planned
            if plan.slug in records
        ]
        if not results:
            reasons = "".join(f"\n  {slug}: {reason}" for slug, reason in broken.items())
            raise FitError(f"no case could be run:{reasons}")
        page, screens = publish(results, working.out, command)
    for screen in screens:
        typer.echo(f"{printable(str(screen))}\n")
    every = (verdict for r in results for verdicts in r.verdicts.values() for verdict in verdicts)
    code = conclude(every, case_errors(results, records, broken))
    return page, 1 if _failed_on(settings.fail_on, working.out, len(results)) else code


def study(
    name: str,
    described: Mapping[str, Any],
    units: Sequence[int],
    replicates: int,
    settings: Settings,
    command: str,
    *,
    truth: Mapping[str, Any] | None = None,
    keep: bool = False,
    debug: bool = False,
) -> tuple[Path, int]:
    """Conducts a study and writes its page.

    Args:
        name: the study.
        described: how to build the model in any process, of `plan.studied_spec`.
        units: the ladder of N; the usual one of the model if empty.
        replicates: most data sets at each N.
        settings: the seed, the output directory, the workers, and methods to study besides.
        command: the command line, for the page.
        truth: values at which a user's own programs draw; their mode for the rest.
        keep: whether what was measured of every replicate is written too, as Parquet.
        debug: measure in this process.

    Returns:
        The path of the page, and the exit code: 0 all hold, 1 some verdict is DIFFER, 4 some
        replicates failed.

    Raises:
        ConcordError: the study, the model, the scheduler or the output directory cannot be used.
    """
    model = studied_model(described, truth)
    units = units or default_ladder(model)
    methods = chosen_methods("quick", settings.methods, {}) if settings.methods else ()
    module, setting = prepared(name, model, methods, settings.seed, settings.tolerance)
    with place(settings, ONE_THREAD, debug=debug) as working, Counting() as progress:
        workers = MeasuringHere(module, setting)
        if isinstance(working.executor, Cluster):
            workers = There(working.executor, spec(name, described, setting), progress.listen)
        raw = _replicates(working.out, name, model) if keep else None
        with working.executor:
            found = conduct(
                module, setting, units, replicates, working.store, progress.told, workers, raw
            )
        from comparisons.report.pages.study import write

        page = write(found, working.out, command)
    start = f"{found.replicates:,} data sets at each N; "
    return page, conclude(found.verdicts, found.failed, start)


def theory(settings: Settings, command: str, *, debug: bool = False) -> tuple[Path, int]:
    """Shows every claim of the theory and writes the pages.

    Args:
        settings: the profile, the seed, the output directory and the workers.
        command: the command line, for the pages.
        debug: show them in this process.

    Returns:
        The path of the page, and the exit code: 0 all hold, 1 some verdict is DIFFER, 4 some entry
        failed.

    Raises:
        ConfigError: no scheduler at the address.
        InUseError: another run uses the output directory.
        StoreError: the output directory cannot be written.
    """
    planned = [(_theory.NAME, name) for name in _theory.catalogue()]
    with (
        place(settings, ONE_THREAD, debug=debug) as working,
        Report(planned, "entries") as report,
    ):
        effort = _theory.EFFORT[settings.profile]
        listen = partial(report.told, _theory.NAME)
        with working.executor as executor:
            found = _theory.demonstrations(settings.seed, effort, working.store, executor, listen)
        from comparisons.report.pages.theory import write

        page = write(found, working.out, command)
    errors = [f"{one.name}: {one.failure}" for one in found if one.failure]
    return page, conclude((claim for one in found for claim in one.claims), errors, noun="claims")


def conclude(
    verdicts: Iterable[Verdict], errors: Sequence[str], start: str = "", noun: str = "verdicts"
) -> int:
    """Says what went wrong and how many verdicts there are of each outcome.

    Args:
        verdicts: all verdicts of a command.
        errors: a sentence for each thing that went wrong.
        start: how the last line begins.
        noun: what the verdicts are called there.

    Returns:
        The exit code: 1 if some verdict is DIFFER, else 4 if something went wrong, else 0.
    """
    for error in errors:
        say(f"error: {error}")
    counts = Counter(verdict.outcome for verdict in verdicts)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    say(f"{start}{counts.total()} {noun}: {', '.join(parts) or 'none'}")
    if counts["DIFFER"]:
        return 1
    return 4 if errors else 0


def _failed_on(mark: str | None, out: Path, cases: int) -> bool:
    """Whether a grade of the report is that mark or a worse one, or a case has none; says which."""
    if mark is None:
        return False
    grades = pd.read_csv(out / "grades.csv", keep_default_na=False)
    graded = len(grades[["model", "data"]].drop_duplicates())
    if graded < cases:
        told = "that takes a sampler that passes its checks, and posterior_agreement"
        say(f"no method was graded in {cases - graded} of {cases} cases: {told}")
    worse = grades[grades["mark"].isin(MARKS[MARKS.index(cast("Mark", mark)) :])]
    for row in worse.itertuples():
        about = f"{row.model} on {row.data}: {row.method} for {row.parameter}"
        say(f"{about} is {row.mark}: {row.cause}")
    return len(worse) > 0 or graded < cases


def case_errors(
    results: Sequence[CaseResult], records: Mapping[str, Any], broken: Mapping[str, str]
) -> list[str]:
    """A sentence for each case, fit and comparison that failed or was not made."""
    errors = [f"{slug}: {reason}" for slug, reason in broken.items()]
    for result in results:
        if cause := closed(result.verdicts[GATE]):
            errors.append(f"{result.slug}: {cause}")
        record = records[result.slug]
        for name, reason in {**record["failures"], **record["problems"]}.items():
            errors.append(f"{result.slug} {name}: {reason}")
    return errors


def told_command() -> str:
    """The command line of this process, as the report repeats it."""
    program = Path(sys.argv[0]).name
    start = ["python", "-m", "comparisons"] if program == "__main__.py" else [program]
    return shlex.join([*start, *sys.argv[1:]])


@contextmanager
def place(
    settings: Settings, environment: Mapping[str, str], *, debug: bool, most: int = 1024
) -> Iterator[Place]:
    """The output directory, made if it is not there and kept from other runs, and an executor.

    Args:
        settings: the directory and the workers.
        environment: environment of worker processes, besides this process's.
        debug: whether to work in this process and to let exceptions through.
        most: most processes that are of use.

    Raises:
        InUseError: another run uses the directory.
        StoreError: it cannot be written.
    """
    out = Path(settings.out).absolute()
    store = Store(out / "fits", warn=say)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=0):
            store.sweep()
            if debug or (settings.jobs == 1 and not settings.scheduler):
                yield Place(out, store, Here(debug=debug))
                return
            jobs = min(settings.jobs or os.cpu_count() or 1, most)
            log = out / "run.log"
            cluster = Cluster(jobs, settings.scheduler, store.root, log, environment)
            yield Place(out, store, cluster)
    except Timeout as error:
        raise InUseError(
            f"another run writes to {out}: it holds the lock {out / '.lock'}. "
            "Wait for it to end, or choose another directory with --out."
        ) from error
    except OSError as error:
        raise disk_error(error, out) from error


def _records(
    planned: Sequence[Plan], cases: Mapping[str, Case], store: Store, executor: Executor
) -> tuple[dict[str, Any], dict[str, str]]:
    """Records by slug, and why there is none of the others."""
    records, broken = {}, {}
    for plan in planned:
        record = stored_record(cases[plan.slug], tuple(plan.spec["only"]), store)
        if record is not None:
            records[plan.slug] = record
    missing = [plan for plan in planned if plan.slug not in records]
    with Report(_fits(missing, cases)) as report:
        if records:
            report.say(f"{len(records)} of {len(planned)} cases are unchanged")
        tasks = {}
        for plan in sorted(missing, key=_weight, reverse=True):  # the longest first
            key = digest(record_description(cases[plan.slug], tuple(plan.spec["only"])))
            tasks[plan.slug] = (plan.spec, plan.slug, str(store.root), key)

        def listen(task: str, event: str, name: str, seconds: float) -> None:
            report.told(task, event, name, seconds)
            signals.last_words(_interrupted(report, store))

        listen("", "", "", 0.0)
        try:
            call = "comparisons.runs.flow:run_spec"
            for slug, outcome in executor.results(call, tasks, listen):
                if isinstance(outcome, Exception):
                    broken[slug] = told(outcome)
                else:
                    records[slug] = outcome
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(_interrupted(report, store)) from interruption
    return records, broken


def _replicates(out: Path, name: str, model: Model) -> Path:
    """Where the numbers of every replicate of a study are kept."""
    from comparisons.report.files import slug
    from comparisons.report.tables import model_title

    return out / "replicates" / slug(f"{name}-{model_title(model)}")


def _interrupted(report: Report, store: Store) -> str:
    return (
        f"interrupted after {report.done} of {report.total} fits, which are kept in "
        f"{store.root}; the same command resumes"
    )


def _fits(missing: Sequence[Plan], cases: Mapping[str, Case]) -> Iterator[tuple[str, str]]:
    for plan in missing:
        case = cases[plan.slug]
        methods = (method for method in case.methods if method not in case.refusals)
        yield from ((plan.slug, label(method)) for method in methods)


def _weight(plan: Plan) -> int:
    """A rough measure of how long a case takes: numbers in the data times parameters."""
    numbers = sum(int(variable.size) for variable in plan.data.data_vars.values())
    return numbers * sum(int(np.size(value)) for value in plan.model.truth.values())
