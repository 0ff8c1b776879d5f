"""Adoption: a user's own PyMC model, NumPyro function, or both, as a model of this suite."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.errors import ConfigError, ModelError, did_you_mean
from models.programs.adopted.arguments import called, columns, on_jax_arrays, replaced
from models.programs.adopted.functions import Adopted
from models.programs.adopted.model import AdoptedModel
from models.programs.adopted.own import Own
from models.programs.adopted.pair import pair
from models.programs.adopted.program import UserProgram

_READ = ("numpyro", "pymc")
"""The order of the languages; the first that is there is read by default."""


def adopt(
    pymc: Any = None,
    numpyro: Callable[..., Any] | None = None,
    data: Any = None,
    *,
    names: Mapping[str, str] | None = None,
    latent: Sequence[str] = (),
    likelihood: Sequence[str] | None = None,
) -> AdoptedModel:
    """A user's own programs as a model.

    Args:
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        data: a mapping or frame, whose names are the functions' arguments; or an array for a
            function of one argument; None if the programs hold their data.
        names: which name of one program is which of the other.
        latent: variables to integrate out by Laplace's method.
        likelihood: factors or potentials that belong to the likelihood; found out by changing the
            data where None.

    Returns:
        The model, with the data in it.

    Raises:
        ConfigError: no program, or an argument or a name that does not exist.
        DataError: an argument is neither numbers nor labels.
        ModelError: a program cannot be evaluated; says which site is to blame.
    """
    given = {"pymc": pymc, "numpyro": numpyro}
    calls = {name: _function(name, own) for name, own in given.items() if own is not None}
    if not calls:
        raise ConfigError("nothing to adopt: pass pymc=, numpyro= or both")
    calls = {name: calls[name] for name in _READ if name in calls}
    built = pymc is not None and not callable(pymc)

    own = _own(calls, data, built, names, tuple(latent), likelihood)
    programs = own.adopted.programs
    texts = [_source(calls[language], program) for language, program in programs.items()]
    parts = (*texts, dict(names or {}), latent, likelihood)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    model = AdoptedModel(_title(given), digest)
    object.__setattr__(model, "own", own)
    return model


def _own(calls: dict[str, Callable[..., Any]], data: Any, *matching: Any) -> Own:
    """The programs with their data; `calls` is changed where one needs JAX's arrays."""
    arrays = columns(data, *calls.values())
    try:
        return _builder(calls, *matching)(arrays, data)
    except ModelError as error:
        traced = isinstance(error.__cause__, jax.errors.TracerArrayConversionError)
        if not traced or "numpyro" not in calls:
            raise
    # it indexes its data with what is traced, which NumPy's arrays do not take
    calls["numpyro"] = on_jax_arrays(calls["numpyro"])
    return _builder(calls, *matching)(arrays, data)


def _builder(
    calls: Mapping[str, Callable[..., Any]],
    built: bool,
    names: Mapping[str, str] | None,
    latent: tuple[str, ...],
    likelihood: Sequence[str] | None,
) -> Callable[[Mapping[str, np.ndarray], Any], Own]:
    """Adopts the programs with any data: arrays, and the data as they are given."""

    def build(arrays: Mapping[str, np.ndarray], whole: Any) -> Own:
        bound = partial(_program, given=whole, built=built)
        programs = {name: bound(name, call, arrays=arrays) for name, call in calls.items()}
        matched = pair(programs["numpyro"], programs["pymc"], names) if len(calls) == 2 else None
        found = {
            name: _likelihood(program, partial(bound, name, calls[name]), arrays, whole, likelihood)
            for name, program in programs.items()
        }
        undecided = [factor for _, unknown in found.values() for factor in unknown]
        factors = {name: seen for name, (seen, _) in found.items()}
        adopted = Adopted(programs, matched, latent, factors)
        _refuse_unknown(latent, adopted.named)
        return Own(adopted, calls, whole, arrays, undecided, None if built else build)

    return build


def _refuse_forgotten(
    call: Callable[..., Any], program: UserProgram, arrays: Mapping[str, np.ndarray]
) -> None:
    """Refuses programs one of whose arguments is drawn as a latent variable of the same name."""
    for name, argument in inspect.signature(call).parameters.items():
        if name not in program.names:
            continue
        shape = next(site.shape for site in program.sites if site.name == name)
        if name not in arrays and argument.default is None:
            raise ModelError(
                f"{name} is not in data=, so the {program.language} program draws it as a latent "
                f"variable: add it to the data{did_you_mean(name, arrays)}"
            )
        if name in arrays and shape and shape == arrays[name].shape:
            raise ModelError(
                f"{name} is data, but the {program.language} program draws it as a latent "
                f"variable: pass it to `{'obs' if program.language == 'numpyro' else 'observed'}=`"
            )


def _refuse_unknown(latent: Sequence[str], program: UserProgram) -> None:
    if unknown := [name for name in latent if name not in program.names]:
        raise ConfigError(
            f"latent: there is no variable {', '.join(unknown)}; the model has "
            f"{', '.join(program.names)}"
        )


def _function(language: str, program: Any) -> Callable[..., Any]:
    """The function to call for a program: itself, or one that returns the built model."""
    if callable(program):
        return program
    import pymc as pm

    if language == "pymc" and isinstance(program, pm.Model):
        return lambda: program
    expected = "a pm.Model or a function that returns one" if language == "pymc" else "a function"
    raise ConfigError(f"{language}= is {type(program).__name__}; expected {expected}")


def _program(
    language: str,
    call: Callable[..., Any],
    given: Any,
    arrays: Mapping[str, np.ndarray],
    *,
    built: bool,
) -> UserProgram:
    bound = partial(called, call, given, arrays)
    if language == "numpyro":
        from models.programs.adopted.numpyro import NumpyroProgram

        program: UserProgram = NumpyroProgram(bound)
    else:
        from models.programs.adopted.pymc import PymcProgram

        program = PymcProgram(bound, built=built)
    _refuse_forgotten(call, program, arrays)
    return program


def _likelihood(
    program: UserProgram,
    build: Callable[..., UserProgram],
    arrays: Mapping[str, np.ndarray],
    whole: Any,
    named: Sequence[str] | None,
) -> tuple[tuple[str, ...], list[str]]:
    """The factors that depend on the data, and those of which that cannot be told."""
    if named is not None:
        return tuple(name for name in program.factors if name in named), []
    if not program.factors:
        return (), []
    if not arrays:
        holding = program.factors_with_arrays()
        return (holding, []) if not program.observed else ((), list(holding))
    rng = np.random.default_rng(0)
    changed = {name: _changed(array, rng) for name, array in arrays.items()}
    other = build(arrays=changed, given=replaced(whole, changed))
    u = jnp.asarray(rng.uniform(-0.5, 0.5, program.size))
    before, after = program.at(u).factors, other.at(u).factors
    found = tuple(
        name
        for name in program.factors
        if not np.allclose(np.sum(before[name]), np.sum(after[name]), rtol=1e-12, equal_nan=True)
    )
    return found, [] if found or program.observed else list(program.factors)


def _changed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same numbers in another order, moved a little where they are no integers.

    One stands in the place of another, or sums would not change; but none that may be an index, of
    numbers without gaps, is lost.
    """
    if array.ndim == 0:
        return array * 1.01 if array.dtype.kind == "f" else array
    found = rng.permutation(array)
    values, counts = np.unique(found, return_counts=True)
    kind = array.dtype.kind
    gaps = kind == "f" or (kind in "iu" and values.size != values[-1] - values[0] + 1)
    spare = values[:-1] if gaps else values[counts > 1]
    if spare.size and values.size > 1:
        flat = found.reshape(-1)
        instead = values[-1] if spare[0] != values[-1] else values[0]
        flat[np.flatnonzero(flat == spare[0])[0]] = instead
    measured = array.dtype.kind == "f" and not np.array_equal(array, np.round(array))
    return found + 0.01 * np.nanstd(array) if measured else found


def _title(given: Mapping[str, Any]) -> str:
    """The name of the NumPyro function, else of the PyMC one or model."""
    for program in (given["numpyro"], given["pymc"]):
        name = getattr(program, "__name__", "") or getattr(program, "name", "")
        if name and name not in ("model", "<lambda>", "build"):
            return str(name)
    return "model"


def _source(call: Callable[..., Any], program: UserProgram) -> str:
    """The text of a program, or what is known of it where there is none."""
    try:
        return inspect.getsource(call)
    except (OSError, TypeError):
        return repr((program.sites, program.factors, list(program.observed)))
