"""A program's own variables as the parameters of its model, for what knows only the program."""

from collections.abc import Mapping

import jax
import numpy as np
import xarray as xr
from jax import Array

from models.capabilities import HasOwnPrograms
from models.errors import ModelError
from models.programs.density import Language
from models.spec import Model, Values


def parameters_of(
    model: Model, language: Language, sites: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Draws of the model's parameters from those of a program's variables, shape (chain, draw, …).

    Raises:
        ModelError: a variable is missing; names it.
    """
    adopted = model.adopted if isinstance(model, HasOwnPrograms) else None
    program = adopted.programs[language] if adopted else None
    names = program.names if program else [parameter.name for parameter in model.parameters]
    if missing := [name for name in names if name not in sites]:
        raise ModelError(f"{language} returned no {', '.join(missing)}")
    kept = {name: np.asarray(sites[name], float) for name in names}
    if adopted is None or program is None:
        return kept

    def one(values: Values) -> Values:
        return adopted.parameters(program, program.at(program.unconstrain(values)))

    found = jax.jit(jax.vmap(jax.vmap(one)))(kept)
    return {name: np.asarray(x) for name, x in found.items()}


def somewhere(
    model: Model, data: xr.Dataset, language: Language, rng: np.random.Generator
) -> dict[str, Array]:
    """A start of the suite's own: values of a program's variables with a finite density.

    Args:
        model: the model.
        data: the data.
        language: whose program.
        rng: draws it.
    """
    if isinstance(model, HasOwnPrograms):
        program = model.adopted.programs[language]
        return dict(program.at(program.starts(rng)[0]).values)
    return dict(model.start(rng, data))
