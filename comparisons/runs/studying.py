"""One study of a model, or of a user's own programs, in this process: for notebooks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comparisons.policy import LADDER
from comparisons.runs.conduct import conduct
from comparisons.runs.console import tell_reading
from comparisons.runs.programs import at_truth
from comparisons.store.entries import Store
from comparisons.studies import Setting, further
from comparisons.studies import study as find_study
from inference.method import Method
from models.capabilities import HasOwnPrograms
from models.data.load import opened
from models.errors import refuse, shown
from models.programs.adopted.classes import adopt_class, chosen
from models.programs.precision import float64
from models.settings import MOST, check_seed, sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from comparisons.studies import Study
    from models.spec import Model

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
    tolerance: float = 1.0,
    seed: int = 0,
) -> Study:
    """Checks what theory says of repeated data sets; `models.programs.adopted.sizes` says which.

    Args:
        name: the study: `coverage`, `calibration`, `asymptotics`, …
        model: a model of the catalogue or of your own class; else pass `pymc`, `numpyro` or both.
        data: as `compare` takes them.
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        names: which name of one program is which of the other, where they differ.
        latent: as `compare` takes them.
        likelihood: as `compare` takes it.
        truth: where your own programs draw; at your posterior mode for what is not given.
        n: numbers of units; by default `default_ladder`.
        replicates: most data sets at each n; fewer if all is decided.
        methods: those to study besides its own, each data set by itself.
        tolerance: factor on every practical bound.
        seed: of every random stream.

    Returns:
        The verdicts, with a table of them.

    Raises:
        ConcordError: the study, a name, a number, the data or a program cannot be used; says why.
    """
    find_study(name)
    programs = {"pymc": pymc, "numpyro": numpyro, "names": names}
    given = chosen(model, opened(data), programs, latent=latent, likelihood=likelihood)
    own = data is None or isinstance(given, HasOwnPrograms)
    model = at_truth(given if own else adopt_class(given, opened(data)), truth)
    ladder = _ladder(model, n, replicates, seed)
    module, setting = prepared(name, model, methods, seed, tolerance)
    with tempfile.TemporaryDirectory() as folder:
        return conduct(module, setting, ladder, replicates, Store(Path(folder)), lambda *_: None)


def prepared(
    name: str, model: Model, methods: Sequence[Method], seed: int, tolerance: float
) -> tuple[ModuleType, Setting]:
    """The study and what it is to study.

    Args:
        name: the study.
        model: the model, at its truth.
        methods: those to study besides its own.
        seed: of every random stream.
        tolerance: factor on every practical bound.

    Raises:
        ConfigError: there is no such study, or it takes no such methods.
    """
    module = find_study(name)
    methods = sequence("methods", methods, Method, "(cc.NUTS(),)")
    tell_reading(getattr(model, "data", None))
    further(name, model, methods)
    return module, Setting(model, seed, tuple(methods), tolerance)


def default_ladder(model: Model) -> tuple[int, ...]:
    """The N at which a model is studied unless others are named.

    Args:
        model: the model.

    Returns:
        Numbers of units, smallest first.
    """
    if not isinstance(model, HasOwnPrograms):
        return LADDER
    units = model.size
    return (units, _TIMES * units) if model.grows else (units,)


def _ladder(model: Model, n: Sequence[int] | int, replicates: int, seed: object) -> tuple[int, ...]:
    """The ladder that was asked for; refuses numbers that cannot be used."""
    asked = list(np.ravel(np.asarray(n, object)))
    found = [
        f"n={shown(one)}: expected integers from 2 to {MOST:,}, as in n=[50, 200]"
        for one in asked
        if not isinstance(one, int | np.integer) or not 2 <= int(one) <= MOST
    ]
    if not isinstance(replicates, int | np.integer) or not _LEAST <= int(replicates) <= MOST:
        found.append(f"replicates={shown(replicates)}: expected {_LEAST} or more, to {MOST:,}")
    refuse(found)
    check_seed(seed)
    return tuple(sorted({int(one) for one in asked})) or default_ladder(model)
