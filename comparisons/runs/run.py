"""The commands: from what is asked for to a page and an exit code.

Everything that is kept lies in the output directory: stored fits, batches and demonstrations in
`fits/`, the report beside them.  A lock keeps a second run out of it.
"""

import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from comparisons.case import Case
from comparisons.claims import GATE
from comparisons.grades import MARKS, Mark
from comparisons.report.files import report_names, slug
from comparisons.report.headline import published_grades
from comparisons.report.result import CaseResult
from comparisons.report.tables import identity, model_title
from comparisons.runs import supervisor
from comparisons.runs import theory as _theory
from comparisons.runs.batches import spec, there
from comparisons.runs.conduct import conduct, default_ladder, prepared
from comparisons.runs.console import complain, say, tell_reading
from comparisons.runs.executor import Cluster, Executor
from comparisons.runs.flow import case_result, closed, record_description, stored_record
from comparisons.runs.place import place, publish
from comparisons.runs.plan import Plan, chosen_methods, plans, studied_model
from comparisons.runs.progress import Counting, Report
from comparisons.runs.settings import Settings
from comparisons.store.entries import Store
from comparisons.store.keys import digest
from comparisons.studies import Setting
from comparisons.verdict import HOLDS, OUTCOMES, Verdict
from inference.method import label
from models.errors import FitError, printable, told


def run(settings: Settings, command: str, mistakes: Sequence[str] = ()) -> tuple[Path, int]:
    """Runs cases and writes the report, which repeats the command; `mistakes` are known already.

    Returns:
        The path of the first page, and the exit code: 0 all hold, 1 some verdict is DIFFER or some
        grade as bad as `fail_on`, 4 some fits errored or, for want of the gate, were not made.
    """
    with supervisor.stage("the reading of models and data"):
        planned = {plan.slug: plan for plan in plans(settings, mistakes)}
    tell_reading(*(plan.data for plan in planned.values()))
    with place(settings, report_names(planned), len(planned)) as (output, store, at):
        cases = {slug: plan.case(store) for slug, plan in planned.items()}
        with at:
            records, broken = _records(planned, cases, store, at)
        results = [
            case_result(slug, plan.spec["columns"], case, record, store, settings.tolerance)
            for slug, plan in planned.items()
            if (case := cases[slug]) and (record := records.get(slug))
        ]
        if not results:
            reasons = "".join(f"\n  {slug}: {reason}" for slug, reason in broken.items())
            raise FitError(f"no case could be run:{reasons}")
        page, screens = publish(results, output.path, command)
        store.used.update(*(record["used"] for record in records.values()))
    for screen in screens:
        say(f"{printable(str(screen))}\n")
    every = (verdict for r in results for verdicts in r.verdicts.values() for verdict in verdicts)
    code = conclude(every, case_errors(results, records, broken))
    return page, 1 if _failed_on(settings.fail_on, results) else code


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
) -> tuple[Path, int]:
    """Conducts a study and writes its page.

    Args:
        name: the study.
        described: how to build the model in any process, of `plan.model_spec`.
        units: the ladder of N; the usual one of the model if empty.
        replicates: most data sets at each N.
        settings: the seed, the output directory, the workers, and methods to study besides.
        command: the command line, for the page.
        truth: values at which a user's own programs draw; their mode for the rest.
        keep: whether to write every replicate too, as Parquet.

    Returns:
        The page's path, and the exit code: 0 all hold, 1 some verdict is DIFFER, 4 some failed.
    """
    with supervisor.stage("the reading of the model and its data"):
        model = studied_model(described, truth)
    methods = chosen_methods("quick", settings.methods, {}) if settings.methods else ()
    setting = Setting(model, settings.seed, methods, settings.tolerance)
    module = prepared(name, setting)
    from comparisons.report.pages.study import study_names, write

    where = place(settings, study_names(name, model))
    with where as (output, store, at), Counting() as progress:
        content = spec(name, described, setting)
        raw = (output, f"replicates/{slug(f'{name}-{model_title(model)}')}") if keep else None
        with at:
            workers = there(at, content, progress.listen) if isinstance(at, Cluster) else None
            ladder = units or default_ladder(model)
            found = conduct(module, setting, ladder, replicates, store, progress.told, workers, raw)
        page = write(found, output.path, command)
    for verdict in sorted(found.verdicts, key=lambda verdict: verdict.outcome in HOLDS):
        held = f"{verdict.observed:.4g}, error {verdict.error:.2g}; expected {verdict.expected:.4g}"
        say(printable(f"{verdict.outcome:<14}  {verdict.about}: {held}"))
    words = f"{found.replicates:,} data sets at each N; {{}} verdicts"
    return page, conclude(found.verdicts, found.failed, words)


def theory(settings: Settings, command: str) -> tuple[Path, int]:
    """Shows every claim of the theory and writes the pages: the first one and the exit code."""
    from comparisons.report.pages.theory import theory_names, write

    names, effort = [*_theory.catalogue()], _theory.EFFORT[settings.profile]
    where = place(settings, theory_names(names))
    planned = [(_theory.NAME, name) for name in names]
    with where as (output, store, at), Report(planned, "entries") as report:
        with at:
            listen = partial(report.told, _theory.NAME)
            found = _theory.demonstrations(settings.seed, effort, store, at, listen)
        page = write(found, output.path, command)
    errors = [f"{one.name}: {one.failure}" for one in found if one.failure]
    return page, conclude((claim for one in found for claim in one.claims), errors, "{} claims")


def conclude(verdicts: Iterable[Verdict], errors: Sequence[str], words: str = "{} verdicts") -> int:
    """Says what went wrong and how many verdicts there are of each outcome.

    The exit code: 1 if some verdict is DIFFER, else 4 if something went wrong, else 0.
    """
    for error in errors:
        complain(f"error: {error}")
    counts = Counter(verdict.outcome for verdict in verdicts)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    complain(f"{words.format(counts.total())}: {', '.join(parts) or 'none'}")
    return 1 if counts["DIFFER"] else 4 if errors else 0


def _failed_on(mark: Mark | None, results: Sequence[CaseResult]) -> bool:
    """Whether a grade is that mark or a worse one, or a case has none; says which."""
    if mark is None:
        return False
    graded = [(" on ".join(identity(one).values()), published_grades(one)) for one in results]
    if missing := sum(not grades for _, grades in graded):
        told = "that takes a sampler that passes its checks, and posterior_agreement"
        complain(f"no method was graded in {missing} of {len(results)} cases: {told}")
    bad = MARKS[MARKS.index(mark) :]
    worse = [(case, one) for case, grades in graded for one in grades if one.mark in bad]
    for case, one in worse:
        complain(f"{case}: {one.method} for {one.parameter} is {one.mark}: {one.cause}")
    return bool(missing or worse)


def case_errors(
    results: Sequence[CaseResult], records: Mapping[str, Any], broken: Mapping[str, str]
) -> list[str]:
    """A sentence for each case, fit and comparison that failed or was not made."""
    errors = [f"{slug}: {reason}" for slug, reason in broken.items()]
    for result in results:
        if cause := closed(result.verdicts[GATE]):
            errors.append(f"{result.slug}: {cause}")
        record = records[result.slug]
        failed = {**record["failures"], **record["problems"]}
        errors += [f"{result.slug} {name}: {reason}" for name, reason in failed.items()]
    return errors


def told_command() -> str:
    """The command line of this process, as the report repeats it."""
    program = Path(sys.argv[0]).name
    start = ["python", "-m", "comparisons"] if program == "__main__.py" else [program]
    return shlex.join([*start, *sys.argv[1:]])


def _records(
    planned: Mapping[str, Plan], cases: Mapping[str, Case], store: Store, executor: Executor
) -> tuple[dict[str, Any], dict[str, str]]:
    """Records by slug, and why there is none of the others."""
    only = {slug: tuple(plan.spec["only"]) for slug, plan in planned.items()}
    kept = {slug: stored_record(case, only[slug], store) for slug, case in cases.items()}
    records = {slug: record for slug, record in kept.items() if record is not None}
    missing = [plan for slug, plan in planned.items() if slug not in records]
    fits = [
        (plan.slug, label(method))
        for plan in missing
        for method in cases[plan.slug].methods
        if method not in cases[plan.slug].refusals
    ]
    tasks, broken = {}, dict[str, str]()
    for plan in sorted(missing, key=_weight, reverse=True):  # the longest first
        key = digest(record_description(cases[plan.slug], only[plan.slug]))
        tasks[plan.slug] = (plan.spec, plan.slug, str(store.root), key)
    with Report(fits) as report:
        if records:
            complain(f"{len(records)} of {len(planned)} cases are unchanged")

        def words() -> str:
            where = f"which are kept in {store.root}; the same command resumes"
            return f"interrupted after {report.counted}, {where}"

        def listen(task: str, event: str, name: str, seconds: float) -> None:
            report.told(task, event, name, seconds)
            supervisor.tell("words", words())

        listen("", "", "", 0.0)
        try:
            for slug, outcome in executor.results(f"{__package__}.flow:run_spec", tasks, listen):
                if isinstance(outcome, Exception):
                    broken[slug] = told(outcome)
                else:
                    records[slug] = outcome
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(words()) from interruption
    return records, broken


def _weight(plan: Plan) -> int:
    """A rough measure of how long a case takes: numbers in the data times parameters."""
    numbers = sum(int(variable.size) for variable in plan.data.data_vars.values())
    return numbers * sum(int(np.size(value)) for value in plan.model.truth.values())
