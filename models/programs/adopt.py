"""Adoption: a user's own PyMC model, NumPyro function, or both, as a model of this suite."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

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


@float64
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
            function of one argument; a file by its path; None if the programs hold their data.
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
    own = _own(_Recipe(calls, built, names, latent, likelihood), data)
    texts = [
        source(own.calls[name]) or repr((program.sites, program.factors, list(program.observed)))
        for name, program in own.adopted.programs.items()
    ]
    parts = (*texts, dict(names or {}), latent, likelihood)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return AdoptedModel(_title(given), digest, own, {})


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
            kind, first = (
                "missing" if np.isnan(array).any() else "infinite",
                np.argwhere(gone)[0][0],
            )
            return f"{name} has {count} {kind} of {array.size} values (first in row [{first}])"
    return ""


@final
@dataclass(frozen=True)
class _Recipe:
    """How programs are adopted, with any data.

    Attributes:
        calls: the functions to call, by language.
        built: whether the PyMC model was built before.
        names: as `adopt` takes them; `latent` and `likelihood` too.
    """

    calls: Mapping[str, Callable[..., Any]]
    built: bool
    names: Mapping[str, str] | None
    latent: tuple[str, ...]
    likelihood: Sequence[str] | None

    def __call__(self, arrays: Arrays, given: Any) -> Own:
        """The programs with data: arrays, and the data as they are given."""
        programs = {language: self._program(language, arrays, given) for language in self.calls}
        both = len(programs) == 2
        matched = pair(programs["numpyro"], programs["pymc"], self.names) if both else None
        found = {name: self._factors(one, arrays, given) for name, one in programs.items()}
        undecided = [factor for _, unknown in found.values() for factor in unknown]
        factors = {name: seen for name, (seen, _) in found.items()}
        adopted = Adopted(programs, matched, self.latent, factors)
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
        other = self._program(program.language, changed, replaced(given, changed))
        u = jnp.asarray(rng.uniform(-0.5, 0.5, program.size))
        before, after = program.at(u).factors, other.at(u).factors
        sums = {n: (np.sum(before[n]), np.sum(after[n])) for n in program.factors}
        same = {n: np.allclose(*both, rtol=1e-12, equal_nan=True) for n, both in sums.items()}
        found = tuple(name for name in program.factors if not same[name])
        return found, () if found or program.observed else program.factors


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
