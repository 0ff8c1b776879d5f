"""One study of a model, or of a user's own programs, in this process: for notebooks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comparisons.runs.conduct import conduct
from comparisons.store.entries import Store
from comparisons.studies import Setting, further
from comparisons.studies import study as find_study
from models.capabilities import HasOwnPrograms
from models.errors import ConfigError, refuse
from models.programs.adopt import adopt
from models.programs.adopted.classes import adopt_class, missing
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from comparisons.studies import Study
    from inference.method import Method
    from models.spec import Model

LADDER = (50, 200, 800)
"""The N of a model of the catalogue, unless others are named."""
_TIMES = 4
"""The second N of a user's own programs is so many times that of their data."""
_LEAST = 100


@float64
def study(
    name: str,
    model: Model | None = None,
    data: object = None,
    *,
    pymc: object = None,
    numpyro: Callable[..., object] | None = None,
    names: Mapping[str, str] | None = None,
    latent: Sequence[str] = (),
    likelihood: Sequence[str] | None = None,
    truth: Mapping[str, object] | None = None,
    n: Sequence[int] | int = (),
    replicates: int = 1_000,
    methods: Sequence[Method] = (),
    seed: int = 0,
) -> Study:
    """Checks what theory says of repeated data sets on data sets drawn at a truth.

    A model of the catalogue is studied at its `truth`. Of your own programs the covariates and
    groups of your data are kept, in all sets alike; data of n units have your rows, or your groups
    of rows where latent variables are integrated out, in one random order that never changes, and
    over again when all are taken.

    Args:
        name: the study: `coverage`, `calibration`, `asymptotics`, …
        model: a model of the catalogue or of your own class; else pass `pymc`, `numpyro` or both.
        data: for programs a mapping or a frame, whose names are their arguments; for a class of
            which something is left out, what `compare` takes.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.
        latent: variables of the programs to integrate out of the likelihood.
        likelihood: factors or potentials that belong to the likelihood, where that is asked for.
        truth: values of parameters at which your own programs draw; the posterior mode at your
            data for those that are not given.
        n: numbers of units; 50, 200 and 800 of the catalogue, the units of your data and four
            times as many of your own programs, by default.
        replicates: most data sets at each n; fewer if all is decided.
        methods: those to study besides the study's own, each data set by itself.
        seed: of every random stream.

    Returns:
        The verdicts, with a table of them.

    Raises:
        ConfigError: there is no such study, or a name or number that cannot be used.
        DataError: the data do not suit the model.
        FitError: the model cannot be studied so; says why, and what to change.
        ModelError: a program cannot be evaluated, or does not take data of n units.
    """
    module = find_study(name)
    if model is None:
        model = adopt(pymc, numpyro, data, names=names, latent=latent, likelihood=likelihood)
    elif pymc is not None or numpyro is not None:
        raise ConfigError("pass a model, or pymc= and numpyro=, not both")
    elif missing(model) or data is not None:
        model = adopt_class(model, data, latent=latent, likelihood=likelihood)
    model = studied(model, truth)
    ladder = tuple(sorted({n} if isinstance(n, int) else set(n))) or default_ladder(model)
    refuse(_mistakes(ladder, replicates, seed))
    further(name, module, model, methods)
    with tempfile.TemporaryDirectory() as folder:
        setting, store = Setting(model, seed, tuple(methods)), Store(Path(folder))
        return conduct(module, setting, ladder, replicates, store, lambda *_: None)


def studied(model: Model, truth: Mapping[str, object] | None) -> Model:
    """The model at a truth.

    Raises:
        ConfigError: there is no such parameter, it has another shape, or the model has a truth of
            its own.
    """
    if not truth:
        return model
    if not isinstance(model, HasOwnPrograms):
        raise ConfigError(
            f"truth= is for your own programs; {model.name} is studied at its own: define `truth` "
            "in a class derived from it"
        )
    return model.known_as(model.name, model.source, truth)


def default_ladder(model: Model) -> tuple[int, ...]:
    """The N at which a model is studied unless others are named."""
    if not isinstance(model, HasOwnPrograms):
        return LADDER
    units = model.size
    return (units, _TIMES * units) if model.grows else (units,)


def _mistakes(ladder: Sequence[int], replicates: int, seed: int) -> list[str]:
    found = [f"n={n}: expected integers of at least 2, as in n=[50, 200]" for n in ladder if n < 2]
    if replicates < _LEAST:
        found.append(f"replicates={replicates}: expected {_LEAST} or more")
    return found + ([f"seed is {seed}; expected an integer of at least 0"] if seed < 0 else [])
