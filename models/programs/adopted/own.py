"""Everything that belongs to an adopted model beside its name: programs, data, rows and units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from models.errors import ModelError, listing, told
from models.programs.adopted.arguments import called, label_names, names_of, replaced
from models.programs.adopted.functions import Adopted, Rows, functions
from models.programs.adopted.labels import Exchange, exchange
from models.programs.adopted.rows import Likelihoods
from models.programs.adopted.sizes import resized
from models.programs.adopted.structure import Structure, indexed
from models.programs.form import total
from models.spec import Arrays, Values

_DIGITS = 1e6
"""Mean over sd from which on the squares of a column have no digits left for its variation."""


@final
@dataclass(eq=False)
class Own:
    """Everything that belongs to an adopted model beside its name.

    Attributes:
        adopted: the programs.
        calls: the user's functions, by language.
        given: the data as they were given.
        arrays: `columns` of them.
        undecided: factors of which it cannot be told whether they are likelihood.
        rebuild: all of this on other data, arrays and in the form in which they are given; None if
            the programs hold theirs.
    """

    adopted: Adopted
    calls: Mapping[str, Callable[..., Any]]
    given: Any
    arrays: Arrays
    undecided: tuple[str, ...]
    rebuild: Callable[[Arrays, Any], Own] | None

    def __post_init__(self) -> None:
        adopted, arrays, programs = self.adopted, self.arrays, self.adopted.programs
        self.primary = next(iter(programs.values()))
        seen = {site: x for one in programs.values() for site, x in one.observed.items()}
        # the name of the data that a site observes; its own where there is none
        self.column_of = {
            site: next((n for n in (site, *arrays) if np.array_equal(arrays.get(n, ()), x)), site)
            for site, x in seen.items()
        }
        self.terms = Likelihoods(adopted, self.calls, self.given, arrays, self.column_of)
        samples = self.terms.samples()
        self.rows_of = {name: self.terms.rows(one, samples) for name, one in programs.items()}
        self._count = max(rows.count for rows in self.rows_of.values())
        cuts = {" + ".join(r.samples) or str(self.terms.units(r)): r for r in self.rows_of.values()}
        self.cut = " and ".join(cuts) if len(cuts) > 1 else ""
        if self.cut:  # of the terms of one program it is not known which of the other's rows are in
            self.rows_of = dict.fromkeys(self.rows_of, Rows(None, 1))
        self.rows = self.rows_of[self.primary.language]
        self.data = self._dataset({self.column_of[site]: x for site, x in seen.items()})
        self.measured = tuple(dict.fromkeys(self.column_of.values()))
        self.covariates = tuple(str(n) for n in self.data.data_vars if n not in self.measured)
        self._others: dict[int, Own] = {}
        self._sized: dict[int, Own] = {}

    def _dataset(self, seen: Arrays) -> xr.Dataset:
        """The observed data first, then everything else that has a name, with its labels."""
        numbers = {n: a for n, a in self.arrays.items() if a.dtype.kind in "biuf" and n not in seen}
        variables, coords = {}, _coords(self.adopted)
        for name, array in {**seen, **numbers}.items():
            dims = [f"{name}_dim_{i}" for i in range(array.ndim)]
            if self.rows.whole > 1 and self.rows.whole in array.shape:
                dims[array.shape.index(self.rows.whole)] = "row"
            # a dim of the parameters of the same name has labels of its own
            variables[f"{name}_index" if name in coords else name] = (tuple(dims), array)
        names, numbered = names_of(self.given), list[str]()
        for name in (name for name in numbers if name in names):
            column: Any = self.given[names[name]]
            labels = label_names(column)
            if labels is not None and f"{name}_label" not in coords:
                coords |= dict.fromkeys((f"{name}_label", *self._indexed(name)), labels)
                numbered.append(f"{name} is 0, 1, … for {listing(labels.tolist(), 4)}")
            if hasattr(column, "columns"):
                coords[f"{name}_dim_1"] = np.array(list(map(str, column.columns)))
        read = getattr(self.given, "attrs", {}).get("read", "")
        attrs = {"read": read, "labels": "; ".join(numbered)}
        return xr.Dataset(variables, coords, {key: text for key, text in attrs.items() if text})

    def _indexed(self, name: str) -> list[str]:
        """The axes of parameters that a column of labels indexes and that have another name."""
        program, codes, rows = self.primary, self.arrays[name], self.rows
        taken = {axis for site in program.sites for axis in site.axes}
        rows = replace(rows, kept=None)
        if taken & {name, f"{name}_label"} or codes.shape != (rows.count,) or rows.cut is not None:
            return []
        return indexed(program, partial(self.terms.summed, program, rows), codes)

    @property
    def units(self) -> int:
        """N: rows, groups of rows, or 1 where all data are one unit."""
        return self.terms.units(self.rows)

    @property
    def size(self) -> int:
        """The number that n is: of units, or of all rows where they are one."""
        if self.units > 1:
            return self.units
        # a likelihood that is factors alone observes nothing
        longest = max((len(a) for a in self.arrays.values() if a.ndim), default=1)
        return self._count if self._count > 1 else self._length(self.data) or longest

    @property
    def grows(self) -> bool:
        """Whether there can be data of another size."""
        return self._rebuilds and self.units > 1 and not self.rows.samples

    @property
    def _rebuilds(self) -> bool:
        return self.rebuild is not None and set(self.measured) <= set(self.arrays)

    def _length(self, data: xr.Dataset) -> int:
        """The rows of a data set, which tell it from those of other sizes."""
        return max((next(iter(data[name].shape), 1) for name in self.measured), default=0)

    def like(self, data: xr.Dataset | None) -> Own:
        """The programs on data of that size, if they were asked for; else these."""
        if data is None or data is self.data:
            return self
        return self._others.get(self._length(data), self)

    def sized(self, n: int, draw: Callable[[int], Arrays] | None = None) -> Own:
        """The programs on data of n units, or of all rows where they are one unit.

        The data are what `draw` makes; the user's own, over again, if None.

        Raises:
            ModelError: the programs do not take such data; says what to change.
        """
        if n == self.size and draw is None:
            return self
        if n not in self._sized:
            self._sized[n] = self._resized(n, draw)
            self._others[self._length(self._sized[n].data)] = self._sized[n]
        return self._sized[n]

    def _resized(self, n: int, draw: Callable[[int], Arrays] | None) -> Own:
        now = self.size
        only = f"or study them at n=[{now}]"
        if self.rebuild is None or not self._rebuilds:
            raise ModelError(
                f"the programs hold their {now} rows: pass functions of the data, and data=, {only}"
            )
        if self.units == 1:
            why = "the likelihood is one term for all rows"
            if self.cut:
                why = f"the programs cut the data into {self.cut} terms, so that all are one unit"
            raise ModelError(f"{why}, and others are no more of the same: study it at n=[{now}]")
        if names := self.rows.samples:
            raise ModelError(
                f"{listing(names, 4)} are samples of their own: study them at n=[{now}]"
            )
        kept = np.arange(self.rows.whole) if self.rows.kept is None else self.rows.kept
        unit = np.full(self.rows.whole, -1)
        unit[kept] = self.rows.cut.row if self.rows.cut else np.arange(kept.size)
        sizes = {size for site in self.adopted.named.sites for size in site.shape}
        try:
            if draw is not None:
                arrays = {**self.arrays, **draw(n)}
                found = self.rebuild(arrays, arrays)
            else:
                arrays, rows, labels = resized(self.arrays, unit, n, sizes)
                every = isinstance(self.given, Mapping) or not hasattr(self.given, "shape")
                new = arrays if every else {name: arrays[name] for name in labels}
                found = self.rebuild(arrays, replaced(self.given, new, rows))
        except Exception as error:  # whatever a user's program raises
            raise ModelError(
                f"the programs do not take the data of {n} units ({told(error)}): pass all that "
                f"has a row in data=, {only}"
            ) from error
        shapes = [{s.name: s.shape for s in own.adopted.sites} for own in (self, found)]
        changed = [name for name, shape in shapes[0].items() if shapes[1].get(name) != shape]
        if changed:
            raise ModelError(
                f"{', '.join(changed)} has another shape with {n} units than with {now}: integrate "
                f"it out with latent={tuple(changed)!r}, {only}"
            )
        if found.units != n:
            raise ModelError(
                f"of {n} units the programs see {found.units}: study them at n=[{now}]"
            )
        return found

    def call(self, language: str, data: xr.Dataset) -> Any:
        if language not in self.calls:
            raise ModelError(f"there is no {language} program")
        arrays, given = dict(self.arrays), self.given
        if data is not self.data:
            new = {n: data[n].data for n in self.measured if n in arrays}
            arrays |= new
            given = replaced(given, new) if new else given
        return called(self.calls[language], given, arrays)

    @cached_property
    def starts(self) -> np.ndarray:
        return self.primary.starts(np.random.default_rng(0))

    @cached_property
    def parameters_at(self) -> Callable[[Array], Values]:
        return jax.jit(lambda u: self.adopted.parameters(self.primary, self.primary.at(u)))

    @cached_property
    def mode(self) -> Values:
        """Parameters at the mode of their posterior density in unconstrained coordinates."""
        from scipy.optimize import minimize

        program = functions(self.adopted, self.primary, self.rows)
        first = program.unconstrain(self.parameters_at(jnp.asarray(self.starts[0])))

        def minus(u: Array) -> Array:
            priors = total(program.log_prior(u)) + total(program.log_jacobian(u))
            return -(priors + sum(jnp.sum(term) for term in program.log_likelihood(u)))

        both = jax.jit(jax.value_and_grad(minus))

        def finite(u: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = both(jnp.asarray(u))
            fine = np.isfinite(value) and np.isfinite(slope).all()
            return (float(value), np.asarray(slope)) if fine else (1e300, np.zeros(u.size))

        end = minimize(finite, np.asarray(first), jac=True, method="L-BFGS-B")
        return jax.jit(program.constrain)(jnp.asarray(end.x))

    @cached_property
    def exchange(self) -> Exchange:
        """The components of a mixture that can change places."""
        # places of components first, neither their shares nor how wide they are
        rank, sites = {"real": 0, "simplex": 2}, self.adopted.sites
        shapes = {s.name: s.shape for s in sorted(sites, key=lambda s: rank.get(s.support, 1))}
        if all(n == 1 for shape in shapes.values() for n in shape):
            return Exchange()
        named = self.adopted.named
        program = functions(self.adopted, named, self.rows_of[named.language])

        @jax.jit
        def log_likelihood(values: Values) -> Array:
            terms = program.log_likelihood(program.unconstrain(values))
            return jnp.concatenate([jnp.ravel(term) for term in terms])

        @jax.jit
        def log_prior(values: Values) -> Array:
            return total(program.log_prior(program.unconstrain(values)))

        with jax.ensure_compile_time_eval():  # it may first be asked for while JAX traces
            points = [self.parameters_at(jnp.asarray(start)) for start in self.starts[:2]]
            return exchange(shapes, log_likelihood, log_prior, points)

    @cached_property
    def structure(self) -> Structure:
        program = self.adopted.named
        return self.terms.structure(program, self.rows_of[program.language])

    @cached_property
    def likelihood_problem(self) -> str:
        if self.undecided:
            names = ", ".join(self.undecided)
            return (
                f"which part of {names} is likelihood? name what is with "
                f"likelihood={self.undecided!r}, or likelihood=() if none is"
            )
        if self.adopted.latent:
            return ""
        found = self.structure
        if found.rough:
            return found.rough
        if not found.absent and not found.nullity and not found.latent:
            return ""
        if far := [str(n) for n, column in self.data.items() if _far(column.data)]:
            return (
                f"the values of {', '.join(far)} differ too little for their size: in float64 the "
                "likelihood cannot tell parameters apart; subtract their mean"
            )
        left = f"{found.nullity} directions" if found.nullity > 1 else "a direction"
        hierarchy = any(name in found.parents for name in found.spare)
        if found.redundant and found.latent == found.spare and not hierarchy:
            those = " and ".join(found.redundant)
            instead = f", or integrate it out with latent={found.spare!r}" if found.spare else ""
            return (
                f"the likelihood leaves {left} of {those} undetermined whatever their values: "
                f"leave out what is redundant{instead}"
            )
        if found.latent:
            names = ", ".join(found.latent)
            count = sum(found.sizes[name] for name in found.latent)
            be = "is a latent variable" if len(found.latent) == 1 else "are latent variables"
            them = "it" if len(found.latent) == 1 else "them"
            return (
                f"{names} {be}: {count} values for {self.size} rows; integrate {them} out "
                f"with latent={found.latent!r}"
            )
        if found.absent:
            return f"the likelihood does not depend on {', '.join(found.absent)}"
        those = " and ".join(found.loose) or "its parameters"
        return f"the likelihood leaves {left} of {those} undetermined"


def _far(column: np.ndarray) -> bool:
    """Whether values are so far from 0 that products of them hide in what way they differ."""
    if column.dtype.kind not in "iuf" or column.size < 2:
        return False
    sd = np.std(column)
    return bool(0 < _DIGITS * sd < np.abs(np.mean(column)) and np.ptp(column) > 0)


def _coords(adopted: Adopted) -> Arrays:
    """The coordinates that a PyMC model names."""
    model = getattr(adopted.programs.get("pymc"), "model", None)
    sizes = {d: n for s in adopted.sites for d, n in zip(s.dims, s.shape, strict=False)}
    return {
        str(dim): np.array([str(label) for label in labels])
        for dim, labels in getattr(model, "coords", {}).items()
        if labels is not None and sizes.get(str(dim)) == len(labels)
    }
