"""A user's model class whose programs say more than its parameter table: read as own programs.

A factor or potential that may be likelihood, latent variables sized by the data, an initial value
that PyMC cannot do without: the reader of the catalogue's programs has no words for these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.programs.adopt import adopt
from models.programs.numpyro import numpyro_trace
from models.programs.pymc import pymc_program

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from models.programs.adopted.model import AdoptedModel
    from models.spec import Model


def reason_to_adopt(model: Model, data: xr.Dataset) -> str:
    """Why a model is read as a user's own programs, as a sentence; "" if it is not.

    Args:
        model: the model.
        data: the data, as its programs read them.
    """
    if type(model).__module__.startswith("models.catalogue"):
        return ""
    rows = next(iter(data.data_vars.values())).dims[:1]
    sized = [p.name for p in model.parameters if set(p.dims) & set(rows)]
    if sized:
        return f"{', '.join(sized)} has a value for each row"
    try:
        start = model.start(np.random.default_rng(0), data)
        sites = numpyro_trace(model, data, start)
        program = pymc_program(model, data)
    except Exception:  # a user's program: the gate names what is wrong with it, and where
        return ""
    from numpyro.distributions import Unit

    factors = [n for n, s in sites.items() if s["type"] == "sample" and isinstance(s["fn"], Unit)]
    factors += [variable.name for variable in getattr(program, "potentials", ())]
    if factors:
        return f"{', '.join(dict.fromkeys(factors))} may be likelihood"
    values = getattr(program, "rvs_to_initial_values", {})
    started = [variable.name for variable, value in values.items() if value is not None]
    return f"{', '.join(started)} has an initial value" if started else ""


def adopt_class(model: Model, data: xr.Dataset) -> AdoptedModel:
    """A model class's programs, adopted with data.

    Args:
        model: the model.
        data: the data, as its programs read them.

    Raises:
        ModelError: a program cannot be evaluated; says which site is to blame.
    """

    def bound(program: Callable[[xr.Dataset], Any]) -> Callable[..., Any]:
        def call(**arrays: Any) -> Any:
            changed = {n: (data[n].dims, x) for n, x in arrays.items() if n in data.data_vars}
            return program(data.assign(changed))

        return call

    given = {str(name): variable.values for name, variable in data.data_vars.items()}
    found = adopt(bound(model.pymc), bound(model.numpyro), given)
    return found.known_as(model.name, repr(model), model.truth)
