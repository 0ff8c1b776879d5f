"""Adoption: a user's own PyMC model, NumPyro function, or both, as a model of this suite."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict, final

import jax
import jax.numpy as jnp
import numpy as np

from models.data.files import opened
from models.errors import ConfigError, DataError, ModelError, did_you_mean, shown
from models.programs.adopted.arguments import called, columns, on_jax_arrays, replaced, source
from models.programs.adopted.functions import Adopted
from models.programs.adopted.model import AdoptedModel
from models.programs.adopted.own import Own
from models.programs.adopted.pair import pair
from models.programs.adopted.program import UserProgram, program_of
from models.programs.precision import float64
from models.settings import sequence
from models.spec import Arrays

_POINTS = 3  # at which it is seen whether a factor depends on the data


class Reading(TypedDict, total=False):
    """How a user's programs are read, as `adopt` has it."""

    latent: Sequence[str]
    likelihood: Sequence[str] | None
    allow_constant: bool


@float64
def adopt(
    pymc: Any = None,
    numpyro: Callable[..., Any] | None = None,
    data: Any = None,
    *,
    names: Mapping[str, str] | None = None,
    latent: Sequence[str] = (),
    likelihood: Sequence[str] | None = None,
    allow_constant: bool = False,
) -> AdoptedModel:
    """A user's own programs as a model.

    Args:
        pymc: a built `pm.Model`, or a function of the data that returns one.
        numpyro: a NumPyro function of the data.
        data: a mapping or frame, whose names are the functions' arguments; or an array for a
            function of one argument; a file by its path; None if the programs hold their data.
        names: which name of one program is which of the other.
        latent: variables to integrate out by Laplace's method.
        likelihood: factors or potentials that belong to the likelihood; found out by changing the
            data where None.
        allow_constant: whether the log densities of the two programs may differ by one constant,
            which the gate then names.

    Returns:
        The model, with the data in it.

    Raises:
        ConfigError: no program, or an argument or a name that does not exist.
        DataError: an argument is neither numbers nor labels.
        ModelError: a program cannot be evaluated; says which site is to blame.
    """
    if not isinstance(names, Mapping | None):
        raise ConfigError(f"names is {shown(names)}; expected names={{'a': 'alpha'}}")
    latent = sequence("latent", latent, str, "('z',)")
    if likelihood is not None:
        likelihood = sequence("likelihood", likelihood, str, "('term',)")
    data = opened(data)
    given = {"numpyro": numpyro, "pymc": pymc}  # in this order: the first is read by default
    calls = {name: _function(name, own) for name, own in given.items() if own is not None}
    if not calls:
        raise ConfigError("nothing to adopt: pass pymc=, numpyro= or both")
    if names and len(calls) < 2:
        raise ConfigError("names= is for two programs of your own: pass pymc= and numpyro=")
    built = pymc is not None and not callable(pymc)
    own = _own(_Recipe(calls, built, names, latent, likelihood, allow_constant), data)
    how = dict(names or {}), latent, likelihood, *["constant"] * allow_constant
    return AdoptedModel(_title(given), _digest(own, how), own, {})


def _digest(own: Own, how: Sequence[object]) -> str:
    """A digest of programs, and of how they are read."""
    texts = [
        source(own.calls[name]) or repr((program.sites, program.factors, list(program.observed)))
        for name, program in own.adopted.programs.items()
    ]
    return hashlib.sha256("\n".join(map(str, (*texts, *how))).encode()).hexdigest()


def _own(recipe: _Recipe, data: Any) -> Own:
    arrays = columns(data, *recipe.calls.values())
    try:
        return recipe(arrays, data)
    except Exception as error:  # whatever a user's program raises
        if not isinstance(error, ConfigError | ModelError) and (told := _missing(arrays)):
            raise DataError(f"{told}, which the programs do not take: {error}") from error
        traced = isinstance(error.__cause__, jax.errors.TracerArrayConversionError)
        if not traced or "numpyro" not in recipe.calls:
            raise
    # it indexes its data with what is traced, which NumPy's arrays do not take
    calls = {**recipe.calls, "numpyro": on_jax_arrays(recipe.calls["numpyro"])}
    return replace(recipe, calls=calls)(arrays, data)


def _missing(arrays: Arrays) -> str:
    """The first of the data that has missing or infinite values, in words; "" if none has."""
    for name, array in arrays.items():
        gone = np.atleast_1d(~np.isfinite(array)) if array.dtype.kind == "f" else np.zeros(1, bool)
        if count := int(gone.sum()):
            kind = "missing" if np.isnan(array).any() else "infinite"
            first = np.argwhere(gone)[0][0]
            return f"{name} has {count} {kind} of {array.size} values (first in row [{first}])"
    return ""


@final
@dataclass(frozen=True)
class _Recipe:
    """How programs are adopted, with any data.

    Attributes:
        calls: the functions to call, by language.
        built: whether the PyMC model was built before.
        names: as `adopt` takes them; the rest too.
    """

    calls: Mapping[str, Callable[..., Any]]
    built: bool
    names: Mapping[str, str] | None
    latent: tuple[str, ...]
    likelihood: Sequence[str] | None
    allow_constant: bool

    def __call__(self, arrays: Arrays, given: Any) -> Own:
        """The programs with data: arrays, and the data as they are given."""
        programs = {language: self._program(language, arrays, given) for language in self.calls}
        both = len(programs) == 2
        matched = pair(programs["numpyro"], programs["pymc"], self.names) if both else None
        found = {name: self._factors(one, arrays, given) for name, one in programs.items()}
        undecided = [factor for _, unknown in found.values() for factor in unknown]
        factors = {name: seen for name, (seen, _) in found.items()}
        adopted = Adopted(programs, matched, self.latent, factors, self.allow_constant)
        if unknown := [name for name in self.latent if name not in adopted.named.names]:
            raise ConfigError(
                f"latent: there is no variable {', '.join(unknown)}; the model has "
                f"{', '.join(adopted.named.names)}"
            )
        rebuild = None if self.built else self
        return Own(adopted, self.calls, given, arrays, tuple(undecided), rebuild)

    def _program(self, language: str, arrays: Arrays, given: Any) -> UserProgram:
        call = self.calls[language]
        program = program_of(language, partial(called, call, given, arrays), built=self.built)
        _refuse_forgotten(call, program, arrays)
        if not program.size:
            raise ModelError(f"the {language} program has no parameter: sample what is to be found")
        return program

    def _factors(
        self, program: UserProgram, arrays: Arrays, given: Any
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The factors that depend on the data, and those of which that cannot be told."""
        if self.likelihood is not None:
            return tuple(name for name in program.factors if name in self.likelihood), ()
        if not program.factors:
            return (), ()
        if not arrays:
            holding = program.factors_with_arrays()
            return ((), holding) if program.observed else (holding, ())
        rng = np.random.default_rng(0)
        changed = {name: _changed(array, rng) for name, array in arrays.items()}
        found, unknown = self._moved(program, changed, given)
        for name, array in arrays.items():
            if not array.ndim and array.dtype.kind in "iu":
                with suppress(Exception):  # of a size, of which a program takes no other
                    found |= self._moved(program, {**arrays, name: array + 1}, given)[0]
        # a factor of places alone, such as of neighbours, is as well a prior
        if found and program.observed and (places := _places(program, arrays)):
            unknown |= found - self._moved(program, {**changed, **places}, given)[0]
        if not found and not program.observed:
            return (), program.factors
        kept = tuple(name for name in program.factors if name in found - unknown)
        return kept, tuple(name for name in program.factors if name in unknown)

    def _moved(self, program: UserProgram, arrays: Arrays, given: Any) -> tuple[set[str], set[str]]:
        """The factors that are not the same with other data, and those that are never finite."""
        other = self._program(program.language, arrays, replaced(given, arrays))
        points = np.random.default_rng(0).uniform(-0.5, 0.5, (_POINTS, program.size))
        both = [[one.at(jnp.asarray(u)).factors for one in (program, other)] for u in points]
        found, unknown = set[str](), set[str]()
        for name in program.factors:
            sums = np.array([[np.sum(factors[name]) for factors in pair] for pair in both])
            sums = sums[np.isfinite(sums).any(axis=1)]
            if not len(sums):
                unknown.add(name)
            elif not np.allclose(*sums.T, rtol=1e-12):
                found.add(name)
        return found, unknown


def _refuse_forgotten(call: Callable[..., Any], program: UserProgram, arrays: Arrays) -> None:
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


def _function(language: str, program: Any) -> Callable[..., Any]:
    """The function to call for a program: itself, or one that returns the built model."""
    if callable(program):
        return program
    import pymc as pm

    if language == "pymc" and isinstance(program, pm.Model):
        return lambda: program
    expected = "a pm.Model or a function that returns one" if language == "pymc" else "a function"
    raise ConfigError(f"{language}= is {type(program).__name__}; expected {expected}")


def _places(program: UserProgram, arrays: Arrays) -> Arrays:
    """Those of the data that may be places on an axis of a variable and are not observed."""
    most = max((size for site in program.sites for size in site.shape), default=0)
    return {
        name: array
        for name, array in arrays.items()
        if array.ndim
        and array.dtype.kind in "iu"
        and array.min() >= 0
        and array.max() < most
        and not any(np.array_equal(array, one) for one in program.observed.values())
    }


def _changed(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same numbers in another order, moved a little where they are no integers or all one.

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
    if values.size == 1:
        return ~array if kind == "b" else array + (1 if kind in "iu" else 0.01 + 0.01 * abs(array))
    measured = array.dtype.kind == "f" and not np.array_equal(array, np.round(array))
    return found + 0.01 * np.nanstd(array) if measured else found


def _title(given: Mapping[str, Any]) -> str:
    """The name of the NumPyro function, else of the PyMC one or model."""
    for program in (given["numpyro"], given["pymc"]):
        name = getattr(program, "__name__", "") or getattr(program, "name", "")
        if name and name not in ("model", "<lambda>", "build"):
            return str(name)
    return "model"
