"""The command line.  Everything heavy is imported inside the commands, so that help is instant."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Never

import typer

from comparisons.runs import environment, stored, supervisor
from comparisons.runs.console import complain, explained, refuse_bytes, reserve, say
from comparisons.runs.options import CASE, FOR_CHECK, FOR_STUDY, RUN, WORKPLACE, taking

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


_VERSION = typer.Option(
    False, "--version", is_eager=True, callback=_version, help="Show the version."
)


@app.callback(invoke_without_command=True)
@taking(*RUN, version=(bool, _VERSION))
def everything(context: typer.Context, **given: Any) -> None:
    """Fits models by several methods and reports which of them agree.

    Without a command: every model on its bundled data, by every method, or the cases of --config.
    The last line printed is the path of the report.

    Examples:

      concord

      concord --profile quick --jobs 2

      concord run gaussian_mixture --set k=2 --data faithful --column eruptions
    """
    if context.invoked_subcommand is None:
        _run(given)
    elif any(given.values()):
        context.fail(f"options go after the command: concord {context.invoked_subcommand} …")


@app.command(epilog=EXIT_CODES)
@taking(*CASE, *RUN)
def run(**given: Any) -> None:
    """Fits one model to one data set and compares the methods.

    Examples:

      concord run gaussian --data mine.csv --column height

      concord run gaussian_mixture --set k=3 --data galaxies

      concord run my_model.py:MyModel --data mine.csv --methods nuts,laplace

      concord run --pymc port.py:build --numpyro port.py:model --data mine.csv
    """
    _run(given, [_case(given)])


@app.command()
@taking(*CASE, "seed", "timeout", "debug", **FOR_CHECK)
def check(**given: Any) -> None:
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
    from comparisons.runs.settings import CaseSettings
    from models.errors import printable, refuse

    chosen, mistakes = _settings(given, "seed", "timeout")
    refuse(mistakes)
    for stage, result in staged(CaseSettings(**_case(given)).refused(), chosen.seed):
        say(printable(f"ok  {stage}: {result}"))


@app.command(epilog=EXIT_CODES)
@taking(*CASE, "truth", "replicates", "n", "profile", "methods", "keep", *WORKPLACE, **FOR_STUDY)
def study(
    name: Annotated[str, typer.Argument(help="The study; `concord list studies` lists them.")],
    **given: Any,
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
    _finish(lambda: _studied(name, given))


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
app.add_typer(stored.store, name="store")


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


def _run(given: Mapping[str, Any], cases: Sequence[Mapping[str, Any]] = ()) -> None:
    def attempt() -> tuple[Path, int]:
        from comparisons.runs.run import run, told_command

        chosen, mistakes = _settings({**given, "cases": cases}, *RUN, "cases")
        return run(chosen, told_command(), mistakes)

    _finish(attempt)


def _studied(name: str, given: Mapping[str, Any]) -> tuple[Path, int]:
    """Page and exit code of a study, by the options of its command."""
    from comparisons.runs.plan import model_spec
    from comparisons.runs.run import study, theory, told_command
    from comparisons.runs.settings import CaseSettings, numbers, parse_set
    from comparisons.runs.theory import NAME
    from comparisons.studies import study as find_study
    from models.errors import refuse

    chosen, mistakes = _settings(given, "profile", "methods", *WORKPLACE)
    if name == NAME:
        used = {"profile", *WORKPLACE} - {"tolerance"}
        unused = [one for one, value in given.items() if value and one not in used]
        mistakes += [
            f"--{one.replace('values', 'set')} is not for the study {NAME}" for one in unused
        ]
        refuse(mistakes)
        return theory(chosen, told_command())
    find_study(name)
    units, more = numbers("--n", given["n"]) if given["n"] else ((), [])
    mistakes += [*more, *([f"--profile is for the study {NAME} alone"] if given["profile"] else [])]
    refuse(mistakes)
    return study(
        name,
        model_spec(CaseSettings(**_case(given)).refused()),
        units,
        given["replicates"] or 4_000,
        chosen,
        told_command(),
        truth=parse_set(given["truth"] or (), "--truth"),
        keep=given["keep"],
    )


def _prepare() -> None:
    """Before anything of a user's is imported."""
    environment.prepare()
    if supervisor.active():
        reserve()


def _finish(attempt: Callable[[], tuple[Path, int]]) -> Never:
    """Prints the page of a command and exits with its code."""
    _prepare()
    try:
        page, code = attempt()
    except KeyboardInterrupt as interruption:
        complain(str(interruption) or "interrupted; the same command goes on with what is kept")
        raise typer.Exit(130) from None
    say(str(page))
    raise typer.Exit(code)


def _settings(given: Mapping[str, Any], *names: str) -> tuple[Any, list[str]]:
    """The settings of the options named, their limit of time told, and what is wrong with them."""
    from comparisons.runs.settings import Settings, settings, split_names

    options = {name: given[name] for name in names if name in Settings.model_fields}
    options |= {
        name: split_names(options[name] or ()) for name in ("methods", "only") if name in options
    }
    chosen, mistakes = settings(options, given.get("config"))
    supervisor.tell("limit", chosen.timeout)
    return chosen, mistakes


def _case(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `CaseSettings`: a model, or the programs in its place, and the data."""
    from comparisons.runs.settings import parse_set
    from models.errors import ConfigError

    pairs = [text.partition("=") for text in given["names"] or ()]
    if wrong := [first for first, equals, second in pairs if not (first and equals and second)]:
        raise ConfigError(f"--names {wrong[0]}: expected A=B, a name of each program")
    return {
        "model": given["model"] or "",
        "pymc": given["pymc"],
        "numpyro": given["numpyro"],
        "names": {first: second for first, _, second in pairs},
        "latent": tuple(given["latent"] or ()),
        "likelihood": given["likelihood"] and tuple(filter(None, given["likelihood"])),
        "allow_constant": given["allow_constant"],
        "set": parse_set(given["values"] or ()),
        "data": given["data"],
        "columns": tuple(given["column"] or ()),
    }
