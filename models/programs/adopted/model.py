"""An adopted model: a user's own programs, with their data, as a model of this suite.

What a model of the catalogue declares is read off the programs: parameters with their supports and
dims, starts with a finite density, simulation by the program itself, a point at which to study it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final, get_args

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.errors import ModelError
from models.programs.adopted.arguments import called, label_names
from models.programs.adopted.functions import Adopted, Rows, functions, rows_of
from models.programs.adopted.program import Site, UserProgram
from models.programs.adopted.structure import Structure, structure
from models.spec import Model, Parameter, Support, Values

if TYPE_CHECKING:
    import pymc as pm

    from models.programs.form import Program

_KINDS: Mapping[str, Support] = {
    "greaterthan": "positive",
    "greaterthaneq": "positive",
    "softplus_positive": "positive",
    "unit_interval": "unit_interval",
    "interval": "interval",
    "openinterval": "interval",
    "corr_cholesky": "correlation_cholesky",
    "corrcholesky": "correlation_cholesky",
    "positivedefinite": "covariance",
    "positivedefinitecholesky": "other",
    "ordered_vector": "ordered",
    "orderedvector": "ordered",
    "zerosum": "zero_sum",
}
"""Our words for supports, by the words of the libraries where they are others."""
_ROW = "row"
"""The dim of the rows of the data."""


@final
@dataclass(frozen=True, eq=False)
class AdoptedModel(Model):
    """A user's own programs with their data.

    Attributes:
        name: what reports call it.
        source: a digest of the programs and of how they are read.
    """

    name: str  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    source: str

    def __repr__(self) -> str:
        """Its name and the languages in which it is written."""
        return f"{self.name} ({', '.join(self.languages)})"

    def known_as(self, name: str, source: str, truth: Values | None = None) -> AdoptedModel:
        """The same model under another name.

        Args:
            name: the name.
            source: another digest, such as that of its files.
            truth: the point at which it is studied; the mode of its joint density if None.
        """
        other = AdoptedModel(name, source)
        object.__setattr__(other, "own", self._own)
        if truth is not None:
            object.__setattr__(other, "given_truth", truth)
        return other

    @property
    def _own(self) -> Own:
        return self.__dict__["own"]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of its programs; the first is read unless another is asked for."""
        return tuple(self._own.adopted.programs)

    @property
    def data(self) -> xr.Dataset:
        """The data that the programs observe and the numbers they are given, by name."""
        return self._own.data

    @property
    def adopted(self) -> Adopted:
        """The programs, matched."""
        return self._own.adopted

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(map(_parameter, self.adopted.sites))

    @property
    def truth(self) -> Values:
        return self.__dict__.get("given_truth") or self._own.mode

    def start(self, rng: np.random.Generator, data: xr.Dataset) -> Values:
        del data
        points = self._own.starts
        return self._own.parameters_at(jnp.asarray(points[rng.integers(len(points))]))

    def simulate(self, rng: np.random.Generator, values: Values, n: int) -> xr.Dataset:
        """Other data for the same rows: covariates, groups and sizes stay as they are."""
        del n
        sets = self.simulated_sets(rng, {k: np.asarray(x)[None] for k, x in values.items()})
        return self.data.assign({k: (self.data[k].dims, x[0]) for k, x in sets.items()})

    def simulated_sets(
        self, rng: np.random.Generator, values: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """A draw of what the programs observe at each of many points.

        Args:
            rng: the stream of the draws.
            values: the parameters on the natural scale, shape (points, …).

        Returns:
            By name in the data, shape (points, …).

        Raises:
            ModelError: the program cannot draw its data; says why.
        """
        if self.adopted.latent:
            raise ModelError("with latent variables integrated out it cannot draw data")
        if factors := self.adopted.likelihood.get(self.adopted.named.language):
            raise ModelError(f"{', '.join(factors)} is likelihood that cannot be drawn from")
        drawn = self.adopted.named.simulate(rng, dict(values))
        return {self._own.column_of[site]: array for site, array in drawn.items()}

    def prior_draws(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        """Draws of the parameters, shape (count, …); empty where the prior cannot be drawn from."""
        drawn = self.adopted.named.prior_draws(rng, count)
        if isinstance(drawn, str):
            return {}
        return {p.name: drawn[p.name] for p in self.parameters}

    def source_of(self, language: str) -> str:
        """The text of a program; "" without one."""
        return self._own.text_of(language)

    @property
    def samples_parameters(self) -> bool:
        """Whether its NumPyro program samples the parameters under their own names."""
        program = self.adopted.programs.get("numpyro")
        names = {parameter.name for parameter in self.parameters}
        return program is not None and set(program.names) == names

    def numpyro(self, data: xr.Dataset) -> Any:
        """The NumPyro program on data of the same shape.

        Raises:
            ModelError: it has none.
        """
        return self._own.call("numpyro", data)

    def pymc(self, data: xr.Dataset) -> pm.Model:
        """The PyMC program on data of the same shape.

        Raises:
            ModelError: it has none.
        """
        return self._own.call("pymc", data)

    def bound(self, data: Any) -> xr.Dataset:
        """The data it was adopted with, whatever form they are given in again."""
        del data
        return self.data

    def functions(self, data: xr.Dataset, language: str) -> Program:
        """A program's functions of its unconstrained space, on data of the same shape.

        Raises:
            ModelError: it has no program in that language.
        """
        if language not in self.languages:
            raise ModelError(f"{self.name} has no {language} program; it has {self.languages[0]}")
        program = self.adopted.programs[language]
        observed = None if data is self.data else self._own.observed_in(program, data)
        return functions(self.adopted, program, self._own.rows_of[language], observed)

    def units(self, data: xr.Dataset) -> np.ndarray:
        """Every row is a unit, or all data are one."""
        del data
        return np.arange(self._own.rows.count)

    def refusal(self, language: str | None, target: str, kind: str) -> str:
        """Why a method cannot fit it, as a sentence; "" if it can.

        Args:
            language: whose program the method fits; None if neither.
            target: `likelihood` or `posterior`.
            kind: of the method, as `Method.kind`.
        """
        if language is not None and language not in self.languages:
            return f"there is no {language} program"
        if target == "likelihood" or kind == "optimum" or kind == "laplace":
            return self.likelihood_problem
        return ""

    @property
    def likelihood_problem(self) -> str:
        """Why its likelihood must not be maximised, as a sentence; "" if it may."""
        return self._own.likelihood_problem


class Own:
    """Everything that belongs to an adopted model beside its name."""

    def __init__(
        self,
        adopted: Adopted,
        calls: Mapping[str, Callable[..., Any]],
        given: Any,
        arrays: Mapping[str, np.ndarray],
        undecided: Sequence[str],
    ) -> None:
        self.adopted, self._calls = adopted, calls
        self._given, self._arrays, self._undecided = given, arrays, tuple(undecided)
        self.primary = next(iter(adopted.programs.values()))
        self.rows_of = {name: _rows(adopted, one) for name, one in adopted.programs.items()}
        self.rows = self.rows_of[self.primary.language]
        self.column_of = _columns_of(adopted.programs.values(), arrays)
        self.data = _dataset(adopted, arrays, self.column_of, self.rows.count, given)

    def call(self, language: str, data: xr.Dataset) -> Any:
        if language not in self._calls:
            raise ModelError(f"there is no {language} program")
        arrays = dict(self._arrays)
        if data is not self.data:
            arrays |= {str(n): v.data for n, v in data.data_vars.items() if str(n) in arrays}
        return called(self._calls[language], self._given, arrays)

    def text_of(self, language: str) -> str:
        try:
            return inspect.getsource(self._calls[language])
        except (KeyError, OSError, TypeError):
            return ""

    def observed_in(self, program: UserProgram, data: xr.Dataset) -> dict[str, Array]:
        return {site: data[self.column_of[site]].data for site in program.observed}

    @cached_property
    def starts(self) -> np.ndarray:
        return self.primary.starts(np.random.default_rng(0))

    @cached_property
    def parameters_at(self) -> Callable[[Array], Values]:
        return jax.jit(lambda u: self.adopted.parameters(self.primary, self.primary.at(u)))

    @cached_property
    def mode(self) -> Values:
        """Parameters at the mode of the joint density in unconstrained coordinates."""
        from scipy.optimize import minimize

        both = jax.jit(jax.value_and_grad(lambda u: -self.primary.log_joint(u)))

        def minus(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = both(jnp.asarray(u))
            fine = np.isfinite(value) and np.isfinite(slope).all()
            return (float(value), np.asarray(slope)) if fine else (1e300, np.zeros(u.size))

        end = minimize(minus, self.starts[0], jac=True, method="L-BFGS-B")
        return self.parameters_at(jnp.asarray(end.x))

    @cached_property
    def structure(self) -> Structure:
        program, adopted = self.primary, self.adopted

        def terms(u: Array) -> Array:
            found = adopted.likelihood_terms(program, program.at(u))
            return jnp.concatenate([jnp.ravel(term) for term in found])

        return structure(program, terms, np.random.default_rng(0))

    @cached_property
    def likelihood_problem(self) -> str:
        if self._undecided:
            names = ", ".join(self._undecided)
            listed = ", ".join(map(repr, self._undecided))
            return (
                f"which part of {names} is likelihood? name what is with likelihood=({listed},), "
                "or likelihood=() if none is"
            )
        if self.adopted.latent:
            return ""
        found = self.structure
        if not found.absent and not found.nullity:
            return ""
        if found.latent:
            names = ", ".join(found.latent)
            count = sum(found.sizes[name] for name in found.latent)
            listed = ", ".join(map(repr, found.latent))
            be = "is a latent variable" if len(found.latent) == 1 else "are latent variables"
            return (
                f"{names} {be}: {count} values for {self.rows.count} rows; integrate it out "
                f"with latent=({listed},)"
            )
        if found.absent:
            return f"the likelihood does not depend on {', '.join(found.absent)}"
        those = " and ".join(found.loose) or "its parameters"
        return f"the likelihood leaves {found.nullity} directions of {those} undetermined"


def _rows(adopted: Adopted, program: UserProgram) -> Rows:
    """How the terms of a program's log-likelihood are summed to units."""
    if adopted.latent:
        return Rows(None, 1)
    terms = jax.eval_shape(program.at, jnp.zeros(program.size))
    return rows_of([term.shape for term in adopted.likelihood_terms(program, terms)])


def _columns_of(programs: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """By observed site, the name of the data that it observes; its own where there is none."""
    found: dict[str, str] = {}
    for program in programs:
        for site, array in program.observed.items():
            alike = (
                name
                for name, given in arrays.items()
                if given.shape == array.shape and np.array_equal(given, array)
            )
            found[site] = next(alike, site)
    return found


def _dataset(
    adopted: Adopted,
    arrays: Mapping[str, np.ndarray],
    column_of: Mapping[str, str],
    count: int,
    given: Any,
) -> xr.Dataset:
    """The observed data first, then everything else that has a name, with its labels."""
    seen = {
        column_of[site]: array
        for program in adopted.programs.values()
        for site, array in program.observed.items()
    }
    numbers = {n: a for n, a in arrays.items() if a.dtype.kind in "biuf" and n not in seen}
    variables, coords = {}, _coords(adopted)
    for name, array in {**seen, **numbers}.items():
        dims = [f"{name}_dim_{i}" for i in range(array.ndim)]
        if array.ndim and array.shape[0] == count > 1:
            dims[0] = _ROW
        # a dim of the parameters of the same name has labels of its own
        variables[f"{name}_index" if name in coords else name] = (tuple(dims), array)
    for name in numbers:
        column: Any = (
            given[name] if isinstance(given, Mapping) or hasattr(given, "columns") else None
        )
        labels = None if column is None else label_names(column)
        if labels is not None and f"{name}_label" not in coords:
            coords[f"{name}_label"] = labels
        if column is not None and hasattr(column, "columns"):
            coords[f"{name}_dim_1"] = np.array(list(map(str, column.columns)))
    return xr.Dataset(variables, coords)


def _coords(adopted: Adopted) -> dict[str, np.ndarray]:
    """The coordinates that a PyMC model names."""
    found = {}
    for program in adopted.programs.values():
        model = getattr(program, "model", None)
        for dim, labels in getattr(model, "coords", {}).items():
            if labels is not None:
                found[str(dim)] = np.asarray([str(x) for x in labels])
    sizes = {d: n for s in adopted.sites for d, n in zip(s.dims, s.shape, strict=False)}
    return {dim: labels for dim, labels in found.items() if sizes.get(dim) == len(labels)}


def _parameter(site: Site) -> Parameter:
    """A site as a row of the parameter table."""
    known = {word: word for word in get_args(Support.__value__)}
    support: Support = ({**known, **_KINDS}).get(site.support, "other")
    dims = site.dims
    if len(dims) != len(site.shape) or len(set(dims)) != len(dims):
        dims = tuple(f"{site.name}_dim_{i}" for i in range(len(site.shape)))
    return Parameter(site.name, support, dims)
