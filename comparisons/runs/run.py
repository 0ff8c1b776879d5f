"""The run: plans to cases, cases to workers, records to the report.

Everything a run keeps lies in its output directory: the stored fits in `fits/`, the report beside
them.  A lock keeps a second run out of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

import comparisons
from comparisons.claims import GATE
from comparisons.runs import theory as _theory
from comparisons.runs.batches import Cluster, Here, cluster
from comparisons.runs.conduct import conduct
from comparisons.runs.flow import case_result, closed, run_case, stored_record
from comparisons.runs.plan import chosen_methods, dumped, plans
from comparisons.runs.pool import run_pool
from comparisons.runs.progress import Counting, Report
from comparisons.store.entries import Store, disk_error
from comparisons.store.keys import digest, files_digest
from comparisons.studies import Setting, further
from comparisons.studies import study as find_study
from inference.method import label
from models.errors import ConcordError, FitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons.case import Case
    from comparisons.report.result import CaseResult
    from comparisons.runs.batches import Workers
    from comparisons.runs.plan import Plan
    from comparisons.runs.settings import Settings
    from models.spec import Model

OUTCOMES = ("AGREE", "EXPLAINED", "DIFFER", "UNSURE", "NOT COMPARABLE")


class InUseError(ConcordError):
    """Another run writes to the same output directory."""


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
        DIFFER, 4 some fits errored or, where the gate did not agree, were not made.

    Raises:
        ConfigError, DataError, ModelError: what was asked for cannot be run.
        FitError: not a single case could be run.
        InUseError: another run uses the output directory.
        StoreError: the output directory cannot be written.
    """
    planned = plans(settings, mistakes)
    out = Path(settings.out).absolute()
    with _locked(out):
        return _locked_run(planned, settings, out, command, debug)


def study(
    name: str,
    reference: str,
    model: Model,
    units: Sequence[int],
    replicates: int,
    settings: Settings,
    command: str,
    *,
    scheduler: str | None = None,
    keep: bool = False,
    debug: bool = False,
) -> tuple[Path, int]:
    """Conducts a study and writes its page.

    Args:
        name: the study.
        reference: how workers find the model's class: its catalogue name, or `file.py:Class`.
        model: the model, studied at its `truth`.
        units: the ladder of N.
        replicates: most data sets at each N.
        settings: the seed, the output directory, the number of worker processes, and the methods
            that are studied besides the study's own, at their quick settings.
        command: the command line, for the page.
        scheduler: address of a Dask scheduler whose workers measure; processes here by default.
        keep: whether what was measured of every replicate is written too, as Parquet.
        debug: measure in this process.

    Returns:
        The path of the page, and the exit code: 0 all hold, 1 some verdict is DIFFER, 4 some
        replicates failed.

    Raises:
        ConfigError: there is no such study, or no scheduler at the address.
        FitError: the model cannot be fitted to many data sets at once.
        InUseError: another run uses the output directory.
        StoreError: the output directory cannot be written.
    """
    module = find_study(name)
    out = Path(settings.out).absolute()
    methods = chosen_methods("quick", settings.methods, {}) if settings.methods else ()
    further(name, module, model, methods)
    setting = Setting(model, settings.seed, methods)
    spec = {
        "study": name,
        "model": reference,
        "set": dumped(model),
        "seed": settings.seed,
        "methods": [label(method) for method in methods],
    }
    jobs = settings.jobs or os.cpu_count() or 1
    with _locked(out), ExitStack() as stack:
        store = Store(out / "fits", warn=_say)
        workers: Workers = Here(module, setting)
        if scheduler or (jobs > 1 and not debug):
            workers = Cluster(stack.enter_context(cluster(jobs, scheduler)), spec)
        progress = stack.enter_context(Counting())
        raw = None
        if keep:
            from comparisons.report.files import slug
            from comparisons.report.tables import model_title

            raw = out / "replicates" / slug(f"{name}-{model_title(model)}")
        found = conduct(
            module, setting, units, replicates, store, progress.told, workers=workers, keep=raw
        )
        from comparisons.report.pages.study import write

        page = write(found, out, command)
    counts = Counter(verdict.outcome for verdict in found.verdicts)
    for sentence in found.failed:
        _say(f"error: {sentence}")
    _say(f"{found.replicates:,} data sets at each N; {counts.total()} verdicts: {_listed(counts)}")
    if counts["DIFFER"]:
        return page, 1
    return page, 4 if found.failures else 0


def theory(
    settings: Settings, command: str, *, scheduler: str | None = None, debug: bool = False
) -> tuple[Path, int]:
    """Shows every claim of the theory and writes the pages.

    Args:
        settings: the profile, the seed, the output directory and the number of worker processes.
        command: the command line, for the pages.
        scheduler: address of a Dask scheduler to use; processes here by default.
        debug: show them in this process.

    Returns:
        The path of the page, and the exit code: 0 all hold, 1 some verdict is DIFFER, 4 some entry
        failed.

    Raises:
        ConfigError: no scheduler at the address.
        InUseError: another run uses the output directory.
        StoreError: the output directory cannot be written.
    """
    out = Path(settings.out).absolute()
    jobs = settings.jobs or os.cpu_count() or 1
    planned = [(_theory.NAME, name) for name in _theory.catalogue()]
    with _locked(out), ExitStack() as stack:
        store = Store(out / "fits", warn=_say)
        client = None
        if scheduler or (jobs > 1 and not debug):
            client = stack.enter_context(cluster(jobs, scheduler))
        report = stack.enter_context(Report(planned, "entries"))

        def told(event: str, name: str, seconds: float) -> None:
            report.activity(_theory.NAME, event, name, seconds)

        effort = _theory.EFFORT[settings.profile]
        found = _theory.demonstrations(settings.seed, effort, store, client, told)
        from comparisons.report.pages.theory import write

        page = write(found, out, command)
    for one in found:
        if one.failure:
            _say(f"error: {one.name}: {one.failure}")
    counts = Counter(claim.verdict.outcome for one in found for claim in one.claims)
    _say(f"{counts.total()} claims: {_listed(counts)}")
    if counts["DIFFER"]:
        return page, 1
    return page, 4 if any(one.failure for one in found) else 0


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """The output directory, made if it is not there and kept from other runs.

    Raises:
        InUseError: another run uses it.
        StoreError: it cannot be written.
    """
    try:
        (out / "fits").mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InUseError(
            f"another run writes to {out}: it holds the lock {out / '.lock'}. "
            "Wait for it to end, or choose another directory with --out."
        ) from error
    except OSError as error:
        raise disk_error(error, out) from error


def _say(message: str) -> None:
    Report(()).say(message)


def _locked_run(
    planned: Sequence[Plan], settings: Settings, out: Path, command: str, debug: bool
) -> tuple[Path, int]:
    only = tuple(settings.only)
    report = Report(())
    store = Store(out / "fits", warn=report.say)
    store.sweep()
    cases = {plan.slug: plan.case(store) for plan in planned}
    records: dict[str, Any] = {}
    for plan in planned:
        record = stored_record(cases[plan.slug], only, store)
        if record is not None:
            records[plan.slug] = record
    missing = [plan for plan in planned if plan.slug not in records]
    broken: dict[str, str] = {}
    with Report(_fits(missing, cases)) as report:
        if records:
            report.say(f"{len(records)} of {len(planned)} cases are unchanged")
        try:
            for plan, outcome in _outcomes(missing, cases, settings, store, out, report, debug):
                if isinstance(outcome, str):
                    broken[plan.slug] = outcome
                else:
                    records[plan.slug] = outcome
        except KeyboardInterrupt as interruption:
            raise KeyboardInterrupt(
                f"interrupted after {report.done} of {report.total} fits, which are kept in "
                f"{store.root}; the same command resumes"
            ) from interruption
    results = [
        case_result(plan, cases[plan.slug], records[plan.slug], store)
        for plan in planned
        if plan.slug in records
    ]
    if not results:
        reasons = "".join(f"\n  {slug}: {reason}" for slug, reason in broken.items())
        raise FitError(f"no case could be run:{reasons}")
    page = _write(results, out, command)
    return page, _conclude(results, records, broken, report)


def _outcomes(
    missing: Sequence[Plan],
    cases: dict[str, Case],
    settings: Settings,
    store: Store,
    out: Path,
    report: Report,
    debug: bool,
) -> Iterator[tuple[Plan, dict[str, Any] | str]]:
    if not debug:
        size = settings.jobs or os.cpu_count() or 1
        longest_first = sorted(missing, key=_weight, reverse=True)
        log = out / "run.log"
        log.write_bytes(b"")
        try:
            yield from run_pool(longest_first, size, store.root, log, report)
        finally:
            with suppress(OSError):
                if not log.stat().st_size:
                    log.unlink()
        return
    for plan in missing:

        def activity(event: str, name: str, seconds: float, slug: str = plan.slug) -> None:
            report.activity(slug, event, name, seconds)

        case = plan.case(store, activity)
        yield plan, run_case(case, tuple(settings.only), store, activity, {})


def _fits(missing: Sequence[Plan], cases: dict[str, Case]) -> Iterator[tuple[str, str]]:
    for plan in missing:
        case = cases[plan.slug]
        methods = (method for method in case.methods if method not in case.refusals)
        yield from ((plan.slug, label(method)) for method in methods)


def _weight(plan: Plan) -> int:
    """A rough measure of how long a case takes: numbers in the data times parameters."""
    numbers = sum(int(variable.size) for variable in plan.data.data_vars.values())
    return numbers * sum(int(np.size(value)) for value in plan.model.truth.values())


def _write(results: Sequence[CaseResult], out: Path, command: str) -> Path:
    """Writes the report, unless the same one is already there."""
    folder = Path(str(comparisons.__file__)).parent / "report"
    sources = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    key = digest([command, [result.key for result in results], files_digest(sources)])
    mark = out / ".report.json"
    written = _read_mark(mark)
    if written.get("key") == key and _hashes(out, written["files"]) == written["files"]:
        return out / written["page"]

    from comparisons.report.pages.write import write

    before = _stamps(out)
    mark.unlink(missing_ok=True)
    page = write(results, out, command)
    files = [name for name, stamp in _stamps(out).items() if before.get(name) != stamp]
    written = {"key": key, "page": page.name, "files": _hashes(out, files)}
    mark.write_text(json.dumps(written, indent=1))
    return page


def _read_mark(mark: Path) -> dict[str, Any]:
    try:
        found = json.loads(mark.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and {"key", "page", "files"} <= found.keys()
    # the page is one of the files that are checked, which lie directly in the directory
    return found if whole and _names(found["files"]) and found["page"] in [*found["files"]] else {}


def _names(files: object) -> bool:
    return isinstance(files, dict) and all(Path(name).name == name for name in files)


def _stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of the files directly in the output directory."""
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in out.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != "run.log"
    }


def _hashes(out: Path, names: Sequence[str]) -> dict[str, str]:
    return {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in names
        if (out / name).is_file()
    }


def _conclude(
    results: Sequence[CaseResult],
    records: dict[str, Any],
    broken: dict[str, str],
    report: Report,
) -> int:
    """Says what came out, and what did not; returns the exit code."""
    counts = Counter(
        verdict.outcome
        for result in results
        for verdicts in result.verdicts.values()
        for verdict in verdicts
    )
    errors = [f"{slug}: {reason}" for slug, reason in broken.items()]
    for result in results:
        if cause := closed(result.verdicts[GATE]):
            errors.append(f"{result.slug}: {cause}")
        record = records[result.slug]
        for name, reason in {**record["failures"], **record["problems"]}.items():
            errors.append(f"{result.slug} {name}: {reason}")
    for error in errors:
        report.say(f"error: {error}")
    report.say(f"{counts.total()} verdicts: {_listed(counts) or 'none'}")
    if counts["DIFFER"]:
        return 1
    return 4 if errors else 0


def told_command() -> str:
    """The command line of this process, as the report repeats it."""
    import shlex

    program = Path(sys.argv[0]).name
    start = ["python", "-m", "comparisons"] if program == "__main__.py" else [program]
    return shlex.join([*start, *sys.argv[1:]])
