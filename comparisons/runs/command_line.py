"""The command line.  Everything heavy is imported inside the commands, so that help is instant."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Never

import typer

from comparisons.runs import environment, stored, storing, supervisor
from comparisons.runs.console import complain, explained, refuse_bytes, reserve, say
from comparisons.runs.options import (
    CheckData,
    Column,
    Config,
    Data,
    Debug,
    FailOn,
    Force,
    Jobs,
    Keep,
    Latent,
    Methods,
    ModelName,
    Names,
    Numpyro,
    Only,
    Out,
    Profile,
    Pymc,
    Replicates,
    Scheduler,
    Seed,
    Standardise,
    StudyData,
    StudyMethods,
    StudyProfile,
    Timeout,
    Tolerance,
    Truth,
    Units,
    Values,
    which,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CODES = """Exit codes: 0 all verdicts hold · 1 some verdict is DIFFER ·
2 usage, configuration, data, or a directory that cannot be written · 3 the output directory is in
use by another run · 4 some fits errored · 130 interrupted."""

app = typer.Typer(
    name="concord",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"concord {version('concord')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    methods: Methods = None,
    only: Only = None,
    profile: Profile = None,
    seed: Seed = None,
    out: Out = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    config: Config = None,
    timeout: Timeout = None,
    tolerance: Tolerance = None,
    fail_on: FailOn = None,
    standardise: Standardise = False,
    force: Force = False,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Fits models by several methods and reports which of them agree.

    Without a command: every model on its bundled data, by every method, or the cases of --config.
    The last line printed is the path of the report.

    Examples:

      concord

      concord --profile quick --jobs 2

      concord run gaussian_mixture --set k=2 --data faithful --column eruptions
    """
    options = _options(context)
    if context.invoked_subcommand is None:
        _run(options, config, debug, force)
    elif any((debug, force, config, *options.values())):
        context.fail(f"options go after the command: concord {context.invoked_subcommand} …")


@app.command(epilog=EXIT_CODES)
def run(
    context: typer.Context,
    model: ModelName = None,
    values: Values = None,
    pymc: Pymc = None,
    numpyro: Numpyro = None,
    names: Names = None,
    latent: Latent = None,
    data: Data = None,
    column: Column = None,
    methods: Methods = None,
    only: Only = None,
    profile: Profile = None,
    seed: Seed = None,
    out: Out = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    config: Config = None,
    timeout: Timeout = None,
    tolerance: Tolerance = None,
    fail_on: FailOn = None,
    standardise: Standardise = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Fits one model to one data set and compares the methods.

    Examples:

      concord run gaussian --data mine.csv --column height

      concord run gaussian_mixture --set k=3 --data galaxies

      concord run my_model.py:MyModel --data mine.csv --methods nuts,laplace

      concord run --pymc port.py:build --numpyro port.py:model --data mine.csv
    """
    from comparisons.runs.settings import parse_set

    case = {
        **which(model, pymc, numpyro, names, latent),
        "set": parse_set(values or ()),
        "data": data,
        "columns": list(column or ()),
    }
    _run({**_options(context), "cases": [case]}, config, debug, force)


@app.command()
def check(
    model: ModelName = None,
    values: Values = None,
    pymc: Pymc = None,
    numpyro: Numpyro = None,
    names: Names = None,
    latent: Latent = None,
    data: CheckData = None,
    column: Column = None,
    seed: Seed = None,
    timeout: Timeout = None,
    debug: Debug = False,
) -> None:
    """Checks that a model's two programs are one model, without fitting it.

    Stages: import, parameter table, simulate, start, both programs, finite density, same density.
    The first that fails is named, with what to change.

    Examples:

      concord check my_model.py:MyModel

      concord check gaussian_mixture --set k=3

      concord check --pymc port.py:build --numpyro port.py:model --data mine.csv
    """
    _prepare()

    from comparisons.runs.check import staged
    from comparisons.runs.settings import CaseSettings, parse_set, settings
    from models.errors import printable, refuse

    chosen, mistakes = settings({"seed": seed, "timeout": timeout})
    refuse(mistakes)
    supervisor.tell("limit", chosen.timeout)
    case = CaseSettings(
        **which(model, pymc, numpyro, names, latent),
        set=parse_set(values or ()),
        data=data,
        columns=tuple(column or ()),
    )
    for stage, result in staged(case, chosen.seed):
        say(printable(f"ok  {stage}: {result}"))


@app.command(epilog=EXIT_CODES)
def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The study; `concord list studies` lists them.")],
    model: Annotated[
        str | None,
        typer.Option(help="A model of the catalogue, or your own: my_model.py:MyModel."),
    ] = None,
    values: Values = None,
    pymc: Pymc = None,
    numpyro: Numpyro = None,
    names: Names = None,
    latent: Latent = None,
    data: StudyData = None,
    column: Column = None,
    truth: Truth = None,
    replicates: Replicates = None,
    n: Units = None,
    profile: StudyProfile = None,
    jobs: Jobs = None,
    methods: StudyMethods = None,
    scheduler: Scheduler = None,
    timeout: Timeout = None,
    tolerance: Tolerance = None,
    keep: Keep = False,
    seed: Seed = None,
    out: Out = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Checks what theory says of repeated data sets, on repeated data sets.

    Data are simulated at the model's truth, fitted, and summarised, until every statement is
    decided or the replicates are spent. A study that was interrupted goes on where it stopped.
    Your own programs draw theirs at --truth, and at the posterior mode of --data for the rest.
    The study `theory` is about no one model: it shows each claim of the theory by running it.

    Examples:

      concord study asymptotics --model gaussian --n 10,50,100,500,1000,5000

      concord study coverage --model gaussian_mixture --set k=2 --replicates 10000

      concord study coverage --numpyro port.py:model --data mine.csv --truth slope=0.5

      concord study theory --profile quick
    """
    _prepare()
    _finish(lambda: _studied(context.params))


def _studied(given: dict[str, Any]) -> tuple[Path, int]:
    """Page and exit code of a study, by the options of its command."""
    from comparisons.runs.plan import studied_spec
    from comparisons.runs.run import study, theory, told_command
    from comparisons.runs.settings import CaseSettings, numbers, parse_set, settings, split_names
    from comparisons.runs.theory import NAME
    from comparisons.studies import study as find_study
    from models.errors import refuse

    name, how = given["name"], {"debug": given["debug"], "force": given["force"]}
    every = ("profile", "seed", "out", "jobs", "scheduler", "timeout")
    options = {option: given[option] for option in (*every, "tolerance")}
    chosen, mistakes = settings({**options, "methods": split_names(given["methods"] or ())})
    supervisor.tell("limit", chosen.timeout)
    if name == NAME:
        unused = [one for one in given if given[one] and one not in (*every, "name", *how)]
        mistakes += [
            f"--{one.replace('values', 'set')} is not for the study {NAME}" for one in unused
        ]
        refuse(mistakes)
        return theory(chosen, told_command(), **how)
    find_study(name)
    units, more = numbers("--n", given["n"]) if given["n"] else ((), [])
    mistakes += [*more, *([f"--profile is for the study {NAME} alone"] if given["profile"] else [])]
    refuse(mistakes)
    programs = {key: given[key] for key in ("model", "pymc", "numpyro", "names", "latent")}
    case = CaseSettings(
        **which(**programs),
        set=parse_set(given["values"] or ()),
        data=given["data"],
        columns=tuple(given["column"] or ()),
    )
    return study(
        name,
        studied_spec(case),
        units,
        given["replicates"] or 4_000,
        chosen,
        told_command(),
        truth=parse_set(given["truth"] or (), "--truth"),
        keep=given["keep"],
        **how,
    )


@app.command("list")
def list_entries(
    kind: Annotated[
        str | None, typer.Argument(metavar="models|methods|comparisons|studies|theory|data")
    ] = None,
) -> None:
    """Lists what there is: models, methods, comparisons, studies, theory or data; or all of it.

    Example:

      concord list methods
    """
    environment.prepare()

    from comparisons.runs.listing import listing

    for line in listing(kind):
        say(line)


for _command in (stored.diff, stored.posterior):
    app.command()(_command)
app.add_typer(storing.store, name="store")


def main() -> Never:
    """Runs the command line and ends the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        refuse_bytes(sys.argv)
        app()
    except KeyboardInterrupt:
        complain("interrupted")
        raise SystemExit(130) from None
    except BaseException as error:  # ours, a bug, or what a user's file raised
        place = supervisor.raised_at(error)
        if "--debug" in sys.argv or (isinstance(error, SystemExit) and not place):
            raise
        message, code = explained(error, place)
        complain(f"error: {message}")
        raise SystemExit(code) from None
    raise SystemExit(0)


def _run(options: dict[str, Any], config: Path | None, debug: bool, force: bool) -> None:
    _prepare()

    def attempt() -> tuple[Path, int]:
        from comparisons.runs.run import run, told_command
        from comparisons.runs.settings import settings

        chosen, mistakes = settings(options, config)
        supervisor.tell("limit", chosen.timeout)
        return run(chosen, told_command(), mistakes=mistakes, debug=debug, force=force)

    _finish(attempt)


def _prepare() -> None:
    """Before anything of a user's is imported."""
    environment.prepare()
    if supervisor.active():
        reserve()


def _finish(attempt: Callable[[], tuple[Path, int]]) -> Never:
    """Prints the page of a command and exits with its code."""
    try:
        page, code = attempt()
    except KeyboardInterrupt as interruption:
        complain(str(interruption) or "interrupted; the same command goes on with what is kept")
        raise typer.Exit(130) from None
    say(str(page))
    raise typer.Exit(code)


def _options(context: typer.Context) -> dict[str, Any]:
    """The options of a run that a command was given."""
    from comparisons.runs.settings import split_names

    shared = ("profile", "seed", "out", "jobs", "scheduler", "timeout", "tolerance", "fail_on")
    given = {name: context.params[name] for name in (*shared, "standardise")}
    named = ("methods", "only")
    return given | {name: split_names(context.params[name] or ()) for name in named}
