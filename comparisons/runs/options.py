"""The options of the commands: one table, and how a command takes some of them."""

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer

from comparisons.policy import LADDER
from models.settings import MOST


def option(
    text: str, metavar: str | None = None, *names: str, kind: Any = str, **how: Any
) -> tuple[Any, Any]:
    """The type and the declaration of an option that is None unless it is given."""
    return kind | None, typer.Option(None, *names, metavar=metavar, help=text, **how)


_many = partial(option, kind=list[str])


def _flag(text: str, name: str) -> tuple[Any, Any]:
    return bool, typer.Option(False, name, help=text)


_PROFILES = "quick|standard|thorough"
_MODEL = "A model of the catalogue, or your own: my_model.py:MyModel."
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (str | None, typer.Argument(None, help=_MODEL)),
    "values": _many("A hyper-parameter of the model; may repeat.", "NAME=VALUE", "--set"),
    "pymc": option("Your own PyMC model, or the function that returns it.", "FILE:NAME"),
    "numpyro": option("Your own NumPyro function.", "FILE:NAME"),
    "names": _many("What A is called in the other program; may repeat.", "A=B"),
    "latent": _many("A variable to integrate out of the likelihood; may repeat.", "NAME"),
    "likelihood": _many(
        "A factor or potential that is likelihood, where that is asked for; may repeat; '' if "
        "none is.",
        "NAME",
    ),
    "allow_constant": _flag(
        "Take two programs for one model whose log densities differ by one constant.",
        "--allow-constant",
    ),
    "data": option(
        "A bundled data set, or a CSV or Parquet file. Default: the model's own examples."
    ),
    "column": _many("A column to use; repeat it for several.", "NAME"),
    "methods": _many(
        "Methods to use, separated by commas: nuts, or one variant of it, nuts[pymc]. "
        "Default: all.",
        "NAMES",
    ),
    "only": _many(
        "Comparisons to make, separated by commas; whether both programs are the same model is "
        "always checked. Default: all.",
        "NAMES",
    ),
    "profile": option(
        "How long to run; without a command, quick is also one data set per model alone. "
        "Default: standard.",
        _PROFILES,
    ),
    "seed": option("Seed of every random number, 0 or larger. Default: 0.", kind=int),
    "out": option("Where the report and the fits go. Default: reports.", "DIRECTORY"),
    "jobs": option("Worker processes; 1: this process. Default: one for each processor.", kind=int),
    "scheduler": option(
        "A Dask scheduler that runs: tcp://127.0.0.1:8786. Its workers must see --out.", "ADDRESS"
    ),
    "config": option(
        "A file of settings: the options here by name, [[cases]] with model, set, data and "
        "columns, and [settings.METHOD]. Options given here win.",
        "RUN.TOML",
        kind=Path,
    ),
    "timeout": option(
        "Most time for one fit, one batch, or one stage of reading and checking a model.",
        "SECONDS",
        kind=float,
        show_default="21600",
    ),
    "tolerance": option(
        "Factor on every practical bound: 2 lets twice as much pass. Default: 1.", kind=float
    ),
    "fail_on": option("Exit with 1 also where a grade is so bad, or worse.", "careful|no"),
    "standardise": _flag(
        "Centre and scale each measured column first, to mean 0 and sd 1.", "--standardise"
    ),
    "truth": _many(
        "Where your own programs draw their data: a=0.5, or b=[1,2]; may repeat.", "NAME=VALUE"
    ),
    "replicates": option(
        "Most data sets at each N; fewer if all is decided.",
        kind=int,
        min=100,
        max=MOST,
        show_default="4000",
    ),
    "n": option(
        "Numbers of units, separated by commas.",
        "N,N,…",
        show_default=",".join(map(str, LADDER)) + "; those of your data for your own programs",
    ),
    "keep": _flag("Also write every replicate's numbers, as Parquet.", "--keep"),
    "force": _flag(
        "Write into a directory that concord did not make: files that bear a name of the "
        "report's are replaced, all others stay.",
        "--force",
    ),
    "debug": _flag("Run in this process and show the traceback of an error.", "--debug"),
}
READING = ("names", "latent", "likelihood", "allow_constant")
CASE = ("model", "values", "pymc", "numpyro", *READING, "data", "column")
WORKPLACE = ("seed", "out", "jobs", "scheduler", "timeout", "tolerance", "force", "debug")
RUN = ("methods", "only", "profile", "config", "fail_on", "standardise", *WORKPLACE)
FOR_CHECK = {"data": option("Data to check it on. Default: data simulated from the model.")}
FOR_STUDY = {
    "model": option(_MODEL),
    "data": option("Data whose covariates and groups the simulated ones have."),
    "profile": option(
        "How much is simulated by the study `theory`.", _PROFILES, show_default="standard"
    ),
    "methods": _many(
        "Methods to study besides the study's own, each data set by itself: nuts[pymc].", "NAMES"
    ),
}
"""Where a command means something else by an option."""


def taking[F: Callable[..., Any]](*names: str, **own: tuple[Any, Any]) -> Callable[[F], F]:
    """Gives a command, as arguments of its own or in `given`, options of the table or others."""
    taken = {name: _OPTIONS[name] for name in names} | own
    further = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in taken.items()
    ]

    def decorated(command: F) -> F:
        known = inspect.signature(command, eval_str=True).parameters
        first = [known[name] for name in known if name not in ("given", *taken)]
        vars(command)["__signature__"] = inspect.Signature([*first, *further])
        return command

    return decorated
