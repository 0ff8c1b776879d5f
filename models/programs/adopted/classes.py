"""A user's model class, read as own programs where it says less, or more, than a model must.

One program is enough: the other, `parameters`, `start`, `simulate` and `truth` may be left out, and
what is given is taken.  So is a class read whose programs say more than its parameter table: a
factor or potential that may be likelihood, latent variables sized by the data, an initial value
that PyMC cannot do without; the reader of the catalogue's programs has no words for these.
"""

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import xarray as xr

from models.data.dataset import as_dataset
from models.errors import ConfigError, ModelError, did_you_mean
from models.programs.adopt import Reading, adopt
from models.programs.adopted.arguments import columns
from models.programs.adopted.model import AdoptedModel
from models.programs.numpyro import is_factor, numpyro_trace
from models.programs.pymc import pymc_program
from models.spec import PARTS, PROGRAMS, Arrays, Model, defines, refuse_other

_UNNAMED = re.compile(r"No variable named '?(\w+)|object has no attribute '(\w+)'")
_ROWS = 40
"""Of data that a class draws where none are given."""


def missing(model: Model) -> tuple[str, ...]:
    """The parts of a model that a class leaves out; () of a user's own programs."""
    if isinstance(model, AdoptedModel):
        return ()
    refuse_other(model)
    return tuple(name for name in (*PROGRAMS, *PARTS) if not defines(type(model), name))


def reason_to_adopt(model: Model, data: xr.Dataset) -> str:
    """Why a model that lacks nothing is read as own programs, as a sentence; "" if it is not."""
    if type(model).__module__.startswith("models."):
        return ""
    rows = next(iter(data.data_vars.values())).dims[:1]
    sized = [p.name for p in model.parameters if set(p.dims) & set(rows)]
    if sized:
        return f"{', '.join(sized)} has a value for each row"
    try:
        sites = numpyro_trace(model, data, model.start(np.random.default_rng(0), data))
        program = pymc_program(model, data)
    except Exception:  # a user's program: the gate names what is wrong with it, and where
        return ""
    factors = [n for n, s in sites.items() if s["type"] == "sample" and is_factor(s)]
    factors += [variable.name for variable in getattr(program, "potentials", ())]
    if factors:
        return f"{', '.join(dict.fromkeys(factors))} may be likelihood"
    values = getattr(program, "rvs_to_initial_values", {})
    started = [variable.name for variable, value in values.items() if value is not None]
    return f"{', '.join(started)} has an initial value" if started else ""


def adopt_class(model: Model, data: Any = None, **reading: Unpack[Reading]) -> AdoptedModel:
    """A model class's programs, adopted with data.

    A program of one argument `data` gets a Dataset, `data["y"].data`; one of other arguments gets
    the columns of these names.

    Args:
        model: the model.
        data: a mapping, a frame or a Dataset, by whose names the programs read; whatever suits the
            simulation of a class that has one, with truth and parameters; None to draw by that.
        reading: how programs are read, as `adopt` takes it.

    Raises:
        ConfigError: there is no program, there are no data, or a name that they do not have.
        DataError: the data do not suit the simulation.
        ModelError: a program cannot be evaluated; says which site is to blame.
    """
    absent = missing(model)
    written = [language for language in PROGRAMS if language not in absent]
    if isinstance(model, AdoptedModel) or not written:
        lacking = "is adopted already" if isinstance(model, AdoptedModel) else "has no program"
        raise ConfigError(f"{model!r} {lacking}: define numpyro(self, data), pymc(self, data)")
    given = _named(model, data, absent)
    programs: dict[str, Any] = {
        language: _bound(model, getattr(model, language), given) for language in written
    }
    found = adopt(**programs, data=given, **reading)
    text = hashlib.sha256(f"{model!r} {found.source}".encode()).hexdigest()
    # a class that knows nothing of integrating out gives what is left of its truth
    parts = ("truth",) if reading.get("latent") else PARTS
    told = [name for name in parts if name not in absent]
    return found.known_as(model.name, text).with_class(model, told)


def chosen(
    model: Model | None, data: Any, programs: Mapping[str, Any], **reading: Unpack[Reading]
) -> Model:
    """The model that is meant: one that is given, or own programs, adopted.

    Args:
        model: a model of the catalogue or of a user's class; None for own programs.
        data: as they were given.
        programs: `pymc`, `numpyro` and `names`, as `adopt` takes them.
        reading: how programs are read, as `adopt` takes it.

    Returns:
        The model itself where nothing of it is missing or asked for.

    Raises:
        ConfigError: both are given, or none.
        ModelError: a program cannot be evaluated; says which site is to blame.
    """
    if model is None:
        return adopt(**programs, data=data, **reading)
    if programs.get("pymc") is not None or programs.get("numpyro") is not None:
        raise ConfigError("pass a model, or pymc= and numpyro=, not both")
    if programs["names"]:
        raise ConfigError("names= is for two programs of your own: pass pymc= and numpyro=")
    return adopt_class(model, data, **reading) if missing(model) or asked(reading) else model


def asked(reading: Mapping[str, Any]) -> bool:
    """Whether something of how programs are read was asked for, as `adopt_class` takes it."""
    return any(reading.values()) or reading.get("likelihood") is not None


def _named(model: Model, data: Any, absent: Sequence[str]) -> Any:
    """The data as something that has names."""
    schema = not {"parameters", "simulate", "truth"} & set(absent)
    if data is None and not {"simulate", "truth"} & set(absent):
        return model.simulate(np.random.default_rng(0), model.truth, _ROWS)
    calls = (getattr(model, name) for name in PROGRAMS if name not in absent)
    if isinstance(data, xr.Dataset) or (data is None and not any(map(_arguments, calls))):
        return data
    if schema:
        return as_dataset(data, model)
    if data is None:
        raise ConfigError(
            f"{model.name} needs data: give it data={{…}} (on the command line: --data mine.csv), "
            "or define simulate and truth in its class"
        )
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        return data
    if name := getattr(data, "name", None):
        return {str(name): data}
    raise ConfigError(
        f'{model.name} reads data by their names, and an array has none: data={{"y": y}}'
    )


def _arguments(program: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(program).parameters)


def _bound(model: Model, program: Callable[..., Any], given: Any) -> Callable[..., Any]:
    """A program as a function of named arrays, if it is one of a Dataset; else itself."""
    if _arguments(program) != ["data"]:
        return program
    first = given if isinstance(given, xr.Dataset) else _as_dataset(columns(given))

    def call(**arrays: Any) -> Any:
        own = {name: first[name].dims for name in arrays if name in first}
        data = {n: (own.get(n) or _dims(n, x), x) for n, x in arrays.items()}
        named = {name: array for name, array in data.items() if name not in first.coords}
        sizes = {d: s for dims, x in named.values() for d, s in zip(dims, x.shape, strict=True)}
        coords = first.coords.items()
        kept = {n: c for n, c in coords if all(sizes.get(d) == s for d, s in c.sizes.items())}
        try:
            return program(xr.Dataset(named, kept))
        except (AttributeError, KeyError) as error:
            raise _explained(model, error, list(arrays)) from error

    functools.update_wrapper(call, program)
    every = inspect.Parameter("arrays", inspect.Parameter.VAR_KEYWORD)
    vars(call)["__signature__"] = inspect.Signature([every])
    return call


def _as_dataset(arrays: Arrays) -> xr.Dataset:
    """Arrays that have their first dimension in common where that is as long."""
    rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
    dims = {
        name: ["row", *_dims(name, array)[1:]] if array.shape[:1] == (rows,) else _dims(name, array)
        for name, array in arrays.items()
    }
    return xr.Dataset({name: (dims[name], array) for name, array in arrays.items()})


def _dims(name: str, array: Any) -> list[str]:
    return [f"{name}_dim_{i}" for i in range(np.ndim(array))]


def _explained(model: Model, error: Exception, names: Sequence[str]) -> Exception:
    """An error of a program, in words where it is about a name that the data do not have."""
    found = _UNNAMED.search(str(error))
    if not found or ("Dataset" not in str(error) and isinstance(error, AttributeError)):
        return ModelError(f"{type(error).__name__}: {error}")
    name = found.group(1) or found.group(2)
    return ConfigError(
        f"{model.name} reads data[{name!r}], which the data do not have."
        f"{did_you_mean(name, names)} Name the column so: data={{{name!r}: …}}, or in the first "
        "line of the file"
    )
