"""The exchangeable units of adopted programs: which terms of their likelihood share rows.

Given the parameters all terms are independent, so that each row of each observed site is a unit:
samples of 47 and 42 values are N = 89, and of 40 and 40 they are 80.  Rows of two sites, as many of
each, are one unit where something says that they are outcomes of the same row: a plate or dim of
one name, labels that are summed out over both, a latent variable with a value for each row, data
that are a table of as many rows, or a column of as many rows that both depend on.  Rows that are
masked in every term tell nothing and are not counted.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import combinations
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse.csgraph import connected_components

from models.programs.adopted.arguments import called, replaced
from models.programs.adopted.functions import Adopted, Rows
from models.programs.adopted.marginal import groups, tied_to
from models.programs.adopted.program import UserProgram, program_of
from models.programs.adopted.structure import Structure, structure
from models.spec import Arrays


@final
@dataclass(frozen=True)
class Likelihoods:
    """The terms of the likelihoods of programs, and what tells which of them share rows.

    A term goes by the data that a site observes, in both programs alike; a factor by its own name.

    Attributes:
        adopted: the programs.
        calls: the user's functions, by language.
        given: the data as they were given.
        arrays: `columns` of them.
        column_of: by observed site, the name of the data.
    """

    adopted: Adopted
    calls: Mapping[str, Callable[..., Any]]
    given: Any
    arrays: Arrays
    column_of: Mapping[str, str]

    @cached_property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes of the terms by name, in their order, by language."""
        found = {}
        for language, one in self.adopted.programs.items():
            names: list[str] = []

            def terms(u: Array, one: UserProgram = one, names: list[str] = names) -> list[Array]:
                named = self._terms(one, u)
                names.extend(named)  # JAX would sort a dictionary
                return list(named.values())

            shapes = [term.shape for term in jax.eval_shape(terms, jnp.zeros(one.size))]
            found[language] = dict(zip(names, shapes, strict=True))
        return found

    def _terms(self, program: UserProgram, u: Array) -> dict[str, Array]:
        terms, names = program.at(u), self._names(program)
        factors = self.adopted.likelihood.get(program.language, ())
        keys = [*(names.get(site, site) for site in terms.likelihood), *factors]
        return dict(zip(keys, self.adopted.likelihood_terms(program, terms), strict=True))

    def _names(self, program: UserProgram) -> dict[str, str]:
        """The names of the terms of its sites: their own where that of the data is taken."""
        found: dict[str, str] = {}
        for site in program.observed:
            column = self.column_of[site]
            found[site] = site if column in (*found.values(), *program.factors) else column
        return found

    def samples(self) -> list[list[str]]:
        """The names of all terms, those together that share rows, in one order."""
        names, moved = sorted(set().union(*self.shapes.values())), cache(self._moved)
        shared = np.zeros((len(names), len(names)), bool)
        for i, j in combinations(range(len(names)), 2):
            pair = {names[i], names[j]}
            for language, own in self.shapes.items():
                program = self.adopted.programs[language]
                lengths = _common([own[name] for name in pair]) if pair <= own.keys() else {}
                shared[i, j] |= any(self._share(program, pair, n, moved) for n in lengths)
        label = connected_components(shared, directed=False)[1]
        return [[names[i] for i in np.flatnonzero(label == k)] for k in dict.fromkeys(label)]

    def _share(
        self, program: UserProgram, pair: set[str], n: int, moved: Callable[..., set[str]]
    ) -> bool:
        """Whether two terms of a program, both with an axis of length n, share rows."""
        names = self._names(program)
        dims = [{*program.dims.get(site, ())} for site, name in names.items() if name in pair]
        if (len(dims) == 2 and dims[0] & dims[1]) or any(n in s.shape for s in program.sites):
            return True
        if hasattr(self.given, "columns"):
            return len(self.given) == n
        if not self.arrays:  # then a factor passes for a part of the rows of a site
            return not pair <= {*names.values()}
        lengths = list(getattr(self.given, "sizes", {}).values())
        columns = [name for name, array in self.arrays.items() if array.shape[:1] == (n,)]
        return lengths.count(n) == 1 or any(pair <= moved(program, name) for name in columns)

    def _moved(self, program: UserProgram, column: str) -> set[str]:
        """The names of the terms that another order of a column changes."""
        new, call = {column: np.roll(self.arrays[column], 1, axis=0)}, self.calls[program.language]
        bound = partial(called, call, replaced(self.given, new), {**self.arrays, **new})
        with suppress(Exception):  # of a program that does not take it
            u = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, program.size))
            one, other = (self._terms(p, u) for p in (program, program_of(program.language, bound)))
            return {n for n in one if not np.array_equal(one[n], other[n], equal_nan=True)}
        return set()

    def rows(self, program: UserProgram, samples: list[list[str]]) -> Rows:
        """How a program's terms are summed to units.

        Rows are on the first axis, unless some variable has a value for each of them and none for
        each of those on another axis, which is longer.
        """
        shapes = self.shapes[program.language]
        own = [here for names in samples if (here := [name for name in shapes if name in names])]
        options = [_common([shapes[name] for name in here]) for here in own]
        if not all(options) or not own:
            return Rows(None, 1)
        axes, first, whole = dict[str, int](), dict[str, int](), 0
        for here, (n, *_), found in zip(own, options, options, strict=True):
            axes |= zip(here, found[n], strict=True)
            first |= dict.fromkeys(here, whole)
            whole += n
        places, starts = (tuple(of[name] for name in shapes) for of in (axes, first))
        rows = Rows(places, whole, starts, tuple(here[0] for here in own) if len(own) > 1 else ())
        if len(own) == 1 and max(options[0]) > whole and self.structure(program, rows).single:
            others = (replace(rows, axes=options[0][n], whole=n) for n in options[0] if n > whole)
            rows = next((o for o in others if not self.structure(program, o).single), rows)
        rows = replace(rows, kept=self._kept(program, rows))
        latent = self.adopted.integrated(program)
        if not latent or tied_to(program, latent, self.adopted.prior_factors(program)):
            return rows
        return replace(rows, cut=groups(program, latent, partial(self.summed, program, rows)))

    def summed(self, program: UserProgram, rows: Rows, u: Array) -> Array:
        """The log-likelihood of each row at coordinates u, shape (N,); traceable."""
        return rows.summed(self.adopted.likelihood_terms(program, program.at(u)))

    def _kept(self, program: UserProgram, rows: Rows) -> np.ndarray | None:
        """The rows with a term that is not masked; None if all have one, or none has."""
        names, seen = self._names(program), np.zeros(rows.whole, bool)
        masks = {names[site]: mask for site, mask in program.masked.items()}
        shapes = self.shapes[program.language].items()
        for (name, shape), axis, first in zip(shapes, rows.axes or (), rows.first, strict=True):
            n = shape[axis]
            mask = np.moveaxis(masks[name], axis, 0) if name in masks else np.zeros(n, bool)
            seen[first : first + n] |= ~mask.reshape(n, -1).all(axis=1)
        return None if seen.all() or not seen.any() else np.flatnonzero(seen)

    def structure(self, program: UserProgram, rows: Rows) -> Structure:
        """The dependences of a program's likelihood on its variables, by rows."""

        def flat(u: Array) -> Array:
            terms = self.adopted.likelihood_terms(program, program.at(u))
            return jnp.concatenate([jnp.ravel(term) for term in terms])

        return structure(program, flat, rows.of([*self.shapes[program.language].values()]))

    def units(self, rows: Rows) -> int:
        """N: rows, groups of rows, or 1 where all data are one unit."""
        if not self.adopted.latent:
            return rows.count
        return len(rows.cut.coordinates) if rows.cut else 1


def _common(shapes: list[tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """By the length of an axis of the first shape that all have, which axis of each it is."""
    lengths = [n for n in dict.fromkeys(shapes[0]) if n > 1 and all(n in own for own in shapes)]
    return {n: tuple(shape.index(n) for shape in shapes) for n in lengths}
