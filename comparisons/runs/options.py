"""The options that commands share, each with its help text."""

from pathlib import Path
from typing import Annotated, Any

import typer

from comparisons.policy import LADDER
from models.settings import MOST

Column = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A column to use; repeat it for several."),
]
ModelName = Annotated[
    str | None, typer.Argument(help="A model of the catalogue, or your own: my_model.py:MyModel.")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter of the model; may repeat."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        metavar="NAMES",
        help="Methods to use, separated by commas: nuts, or one variant of it, nuts[pymc]. "
        "Default: all.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="NAMES",
        help="Comparisons to make, separated by commas; whether both programs are the same model "
        "is always checked. Default: all.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        metavar="quick|standard|thorough",
        help="How long to run; without a command, quick is also one data set per model alone. "
        "Default: standard.",
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of every random number, 0 or larger. Default: 0.")
]
Out = Annotated[
    str | None,
    typer.Option(metavar="DIRECTORY", help="Where the report and the fits go. Default: reports."),
]
Jobs = Annotated[
    int | None,
    typer.Option(help="Worker processes; 1: this process. Default: one for each processor."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Dask scheduler that runs: tcp://127.0.0.1:8786. Its workers must see --out.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="RUN.TOML",
        help="A file of settings: the options here by name, [[cases]] with model, set, data and "
        "columns, and [settings.METHOD]. Options given here win.",
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(help="Factor on every practical bound: 2 lets twice as much pass. Default: 1."),
]
FailOn = Annotated[
    str | None,
    typer.Option(metavar="careful|no", help="Exit with 1 also where a grade is so bad, or worse."),
]
Standardise = Annotated[
    bool,
    typer.Option(
        "--standardise", help="Centre and scale each measured column first, to mean 0 and sd 1."
    ),
]
Replicates = Annotated[
    int | None,
    typer.Option(
        min=100,
        max=MOST,
        help="Most data sets at each N; fewer if all is decided.",
        show_default="4000",
    ),
]
Units = Annotated[
    str | None,
    typer.Option(
        "--n",
        metavar="N,N,…",
        help="Numbers of units, separated by commas.",
        show_default=",".join(map(str, LADDER)) + "; those of your data for your own programs",
    ),
]
StudyProfile = Annotated[
    str | None,
    typer.Option(
        metavar="quick|standard|thorough",
        help="How much is simulated by the study `theory`.",
        show_default="standard",
    ),
]
StudyMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        metavar="NAMES",
        help="Methods to study besides the study's own, each data set by itself: nuts[pymc].",
    ),
]
Truth = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Where your own programs draw their data: a=0.5, or b=[1,2]; may repeat.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Most time for one fit, one batch, or one stage of reading and checking a model.",
        show_default="21600",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="A bundled data set, or a CSV or Parquet file. Default: the model's own examples."
    ),
]
CheckData = Annotated[
    str | None, typer.Option(help="Data to check it on. Default: data simulated from the model.")
]
StudyData = Annotated[
    str | None, typer.Option(help="Data whose covariates and groups the simulated ones have.")
]
Keep = Annotated[
    bool, typer.Option("--keep", help="Also write every replicate's numbers, as Parquet.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Write into a directory that concord did not make: files that bear a name of the "
        "report's are replaced, all others stay.",
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Run in this process and show the traceback of an error."),
]
Pymc = Annotated[
    str | None,
    typer.Option(metavar="FILE:NAME", help="Your own PyMC model, or the function that returns it."),
]
Numpyro = Annotated[
    str | None, typer.Option(metavar="FILE:NAME", help="Your own NumPyro function.")
]
Names = Annotated[
    list[str] | None,
    typer.Option(metavar="A=B", help="What A is called in the other program; may repeat."),
]
Latent = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A variable to integrate out of the likelihood; may repeat."),
]


def which(
    model: str | None,
    pymc: str | None,
    numpyro: str | None,
    names: list[str] | None,
    latent: list[str] | None,
) -> dict[str, Any]:
    """The model of a case, or the programs in its place.

    Args:
        model: a model of the catalogue or of a file.
        pymc: a PyMC program, as `file.py:name`.
        numpyro: a NumPyro program, as `file.py:name`.
        names: `A=B`, a name of each program.
        latent: variables to integrate out.

    Returns:
        Fields of `CaseSettings`.

    Raises:
        ConfigError: neither or both; or a name without its counterpart.
    """
    from models.errors import ConfigError

    if (model is None) == (pymc is None and numpyro is None):
        raise ConfigError(
            "name a model, such as gaussian, or your own programs with --pymc FILE:NAME, "
            "--numpyro FILE:NAME or both"
        )
    pairs = [text.partition("=") for text in names or ()]
    if wrong := [first for first, equals, second in pairs if not (first and equals and second)]:
        raise ConfigError(f"--names {wrong[0]}: expected A=B, a name of each program")
    return {
        "model": model or "",
        "pymc": pymc,
        "numpyro": numpyro,
        "names": {first: second for first, _, second in pairs},
        "latent": tuple(latent or ()),
    }
