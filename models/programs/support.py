"""Rows that a program cannot have drawn, found before any fit.

JAX takes the last element for an index beyond what it indexes, where NumPy refuses.  Both programs
are evaluated by JAX, so that a[g] with g ≥ len(a) is a[-1] in both and they agree; PyMC's own
program is therefore evaluated once, by NumPy, at one point.
"""

import re
from typing import Any, cast

import numpy as np
import xarray as xr

from models.data.column import rows_text
from models.programs.numpyro import is_factor, layers, numpyro_trace
from models.programs.pymc import pymc_program
from models.spec import Model

_STARTS = 3
"""Starts at which the supports of the rows are looked at."""
_BEYOND = re.compile(r"index (-?\d+) is out of bounds for axis \d+ with size (\d+)")


def outside_support(model: Model, data: xr.Dataset) -> str:
    """Which rows the NumPyro program cannot have drawn, as a sentence; "" if there are none.

    Nor can the PyMC program take an index beyond what it indexes, see `beyond`.
    A support may depend on the parameters, so a row counts only if it lies outside at every one
    of a few starts. Sites without a term for each row are left to the gate.
    """
    from numpyro import validation_enabled

    if problem := beyond(model, data):
        return problem
    rng = np.random.default_rng(0)
    count = next(iter(data.data_vars.values())).shape[0]
    outside: dict[str, np.ndarray] = {}
    supports: dict[str, Any] = {}
    with validation_enabled(False):  # a start from such data may be no point of the model either
        for _ in range(_STARTS):
            for name, site in numpyro_trace(model, data, model.start(rng, data)).items():
                if site["type"] != "sample" or not site["is_observed"]:
                    continue
                if is_factor(site) or np.shape(site["value"])[:1] != (count,):
                    continue
                here = np.asarray(~site["fn"].support(site["value"]) & _seen(site["fn"]))
                if here.shape[:1] == (count,):
                    supports[name] = site["fn"].support
                    rows = here.reshape(count, -1).any(axis=1)
                    outside[name] = rows & outside.get(name, np.True_)
    for name, rows in outside.items():
        if rows.any():
            support = supports[name]
            while hasattr(support, "base_constraint"):  # of each element
                support = support.base_constraint
            return (
                f"{name} is outside of the support of {model.name} in {rows.sum()} of {count} "
                f"rows, {rows_text(rows)}; expected {support!s:.60}: drop or correct "
                "them, or use another model"
            )
    return ""


def _seen(law: Any) -> Any:
    """Where the terms of a distribution are not masked."""
    from numpyro.distributions import MaskedDistribution

    seen: Any = True
    for one in layers(law):
        if isinstance(one, MaskedDistribution):
            seen &= one._mask
    return seen


def beyond(model: Model, data: xr.Dataset) -> str:
    """Which variable of the data is beyond what the PyMC program indexes by it.

    A sentence with the variable, its rows and the size of what it indexes; "" if all is well, or if
    what is wrong is no index, which the checks of the program itself will name.
    """
    error = _evaluated(model, data)
    found = _BEYOND.search(error)
    if not found:
        return error
    index, size = map(int, found.groups())
    for name, array in data.data_vars.items():
        values = np.asarray(array.data)
        inside = np.clip(values, -size, size - 1)
        repaired = data.assign({str(name): (array.dims, inside)})
        if (values == index).any() and _evaluated(model, repaired) != error:
            rows = rows_text((values != inside).reshape(len(values), -1).any(axis=1))
            return (
                f"{name} goes from {values.min()} to {values.max()}, beyond the {size} values "
                f"(0 … {size - 1}) that {model.name} indexes by it, in {rows}: count from 0, as "
                f"cc.groups does, or give the model {values.max() + 1}"
            )
    return f"the PyMC program takes element {index} of {size}: count from 0"


def _evaluated(model: Model, data: xr.Dataset) -> str:
    """The message of an IndexError of the program's log density at a start; "" without one."""
    import pytensor
    from pytensor.compile.mode import Mode

    by_numpy = Mode(linker="py", optimizer=cast("Any", None))
    try:
        program = pymc_program(model, data)
        with pytensor.config.change_flags(cxx=""):
            density = program.compile_fn(program.logp(sum=False), mode=by_numpy)
        density(program.initial_point(0))
    except np.exceptions.AxisError:
        return ""
    except IndexError as error:
        return str(error).partition("\n")[0]
    except Exception:  # whatever a user's program raises: the stage it belongs to will name it
        return ""
    return ""
