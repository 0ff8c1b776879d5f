"""An adopted program's density in the form that every method reads.

The parameters are those of the pair's other program, or of the only one.  On their natural scale

    log π(φ) = log prior(u) + log |∂θ/∂u| − log |∂φ/∂u|,

which is the program's own log prior where the parameters are its own variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.adopted.marginal import Groups, LaplaceMarginal, tied_to
from models.programs.adopted.pair import Pair
from models.programs.adopted.program import Site, Terms, UserProgram
from models.programs.form import Program, joined, split, total
from models.spec import Values

_STEPS = 100
"""Newton steps at most from values to coordinates."""


@final
@dataclass(frozen=True, eq=False)
class Adopted:
    """A user's programs, matched, and what is likelihood in them.

    Attributes:
        programs: by language, one or two.
        pair: how two programs are matched; None of one.
        latent: parameters that are integrated out.
        likelihood: by language, the factors that belong to the likelihood.
        allow_constant: whether the log densities of two programs may differ by a constant.
    """

    programs: Mapping[str, UserProgram]
    pair: Pair | None
    latent: tuple[str, ...] = ()
    likelihood: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allow_constant: bool = False

    @property
    def named(self) -> UserProgram:
        """The program whose variables are the parameters."""
        return self.pair.other if self.pair else next(iter(self.programs.values()))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The parameters that are left."""
        return tuple(site for site in self.named.sites if site.name not in self.latent)

    def likelihood_terms(self, program: UserProgram, terms: Terms) -> list[Array]:
        """The terms of the likelihood: observed sites, and factors that depend on the data."""
        factors = self.likelihood.get(program.language, ())
        return [*terms.likelihood.values(), *(terms.factors[name] for name in factors)]

    def prior_factors(self, program: UserProgram) -> tuple[str, ...]:
        """The factors that do not belong to the likelihood."""
        likelihood = self.likelihood.get(program.language, ())
        return tuple(name for name in program.factors if name not in likelihood)

    def own_names(self, program: UserProgram) -> dict[str, str]:
        """By parameter, its name in a program."""
        if self.pair is not None and program is self.pair.one:
            return dict(self.pair.names)
        return {name: name for name in program.names}

    def indirect(self, program: UserProgram) -> Pair | None:
        """The pair, for a program whose variables are not the parameters."""
        pair = self.pair
        return None if pair is None or pair.same_sites or program is pair.other else pair

    def integrated(self, program: UserProgram) -> tuple[str, ...]:
        """The variables of a program that are integrated out."""
        if not self.latent:
            return ()
        kept = [self.own_names(program)[site.name] for site in self.sites]
        return tuple(name for name in program.names if name not in kept)

    def drawing(self) -> tuple[UserProgram, dict[str, Site]]:
        """The program that draws data, and by parameter its own variable: NumPyro's if it can."""
        program, pair = self.named, self.pair
        if pair is not None and pair.same_sites:
            program = self.programs["numpyro"]
        own, sites = self.own_names(program), {site.name: site for site in program.sites}
        return program, {site.name: sites[own[site.name]] for site in self.sites}

    def parameters(self, program: UserProgram, terms: Terms) -> Values:
        """The values of the parameters that are left, at a point of a program."""
        if self.pair is not None and program is self.pair.one:
            values = self.pair.parameters(terms)
        else:
            values = terms.values
        return {site.name: values[site.name] for site in self.sites}


def functions(
    adopted: Adopted,
    program: UserProgram,
    rows: Rows | None = None,
    observed: Mapping[str, Array] | None = None,
    order: Sequence[str] = (),
) -> Program:
    """A program's functions of its unconstrained coordinates.

    Args:
        adopted: the programs.
        program: one of them.
        rows: how its terms are summed to rows, and these to units; left as they are if None.
        observed: other data than its own, by site.
        order: of the sites, whose coordinates these are; the program's own if empty.
    """
    if adopted.latent and rows is not None:
        return _marginal(adopted, program, rows, observed)
    pair = adopted.indirect(program)
    called = {theirs: name for name, theirs in adopted.own_names(program).items()}
    own = {site.name: site.unconstrained for site in program.sites}
    shapes = {name: own[name] for name in order or own}

    def at(u: Array) -> Terms:
        return program.at(split(u, shapes), observed)

    def log_likelihood(u: Array) -> list[Array]:
        found = adopted.likelihood_terms(program, at(u))
        return found if rows is None else [rows.summed(found)]

    def log_prior(u: Array) -> Values:
        terms = at(u)
        found = {**terms.prior, **{n: terms.factors[n] for n in adopted.prior_factors(program)}}
        if pair is not None:
            found["log |∂θ/∂φ|"] = total(terms.jacobians) - total(log_jacobian(u))
        return found

    def log_jacobian(u: Array) -> Values:
        if pair is None:
            return at(u).jacobians
        return {**pair.other.at(pair.across(u)).jacobians, "log |∂v/∂u|": pair.log_volume(u)}

    return Program(
        {called.get(name, name): shape for name, shape in shapes.items()},
        constrain=lambda u: adopted.parameters(program, at(u)),
        unconstrain=lambda x: joined(program.split(_coordinates(adopted, program, x)), shapes),
        log_likelihood=log_likelihood,
        log_prior=log_prior,
        log_jacobian=log_jacobian,
    )


def _marginal(
    adopted: Adopted, program: UserProgram, rows: Rows, observed: Mapping[str, Array] | None
) -> Program:
    """The functions of the program with latent variables integrated out."""

    def each(terms: Terms) -> Array:
        return rows.summed(adopted.likelihood_terms(program, terms))

    integrated, factors = adopted.integrated(program), adopted.prior_factors(program)
    tied = tied_to(program, integrated, factors)
    marginal = LaplaceMarginal(program, integrated, tied, each, rows.cut, observed)
    called = {theirs: name for name, theirs in adopted.own_names(program).items()}
    left = [site for site in program.sites if site.name in marginal.names]
    origin = jnp.zeros(program.size - marginal.coordinates.size)

    def at(theta: Array) -> Terms:
        return program.at(marginal.whole(theta, origin))

    def unconstrain(values: Values) -> Array:
        rest = program.at(jnp.zeros(program.size)).values
        own = {s.name: values[called[s.name]] if s in left else rest[s.name] for s in program.sites}
        return program.unconstrain(own)[marginal.coordinates]

    def of_those(terms: Values) -> Values:
        return {name: terms[name] for name in marginal.names}

    def log_prior(theta: Array) -> Values:
        terms = at(theta)
        return of_those(terms.prior) | {n: terms.factors[n] for n in factors if n not in tied}

    return Program(
        {called[site.name]: site.unconstrained for site in left},
        constrain=lambda theta: adopted.parameters(program, at(theta)),
        unconstrain=unconstrain,
        log_likelihood=lambda theta: [marginal.log_likelihood(theta)],
        log_prior=log_prior,
        log_jacobian=lambda theta: of_those(at(theta).jacobians),
        shortfall=marginal.shortfall,
    )


def _coordinates(adopted: Adopted, program: UserProgram, values: Values) -> Array:
    """A program's coordinates of the values of the parameters."""
    if pair := adopted.indirect(program):
        return _solved(pair, pair.other.unconstrain(values))
    shapes = {site.name: site.shape for site in program.sites}
    own = {name: values[parameter] for parameter, name in adopted.own_names(program).items()}
    return program.unconstrain({n: jnp.reshape(x, shapes[n]) for n, x in own.items()})


def _solved(pair: Pair, v: Array) -> Array:
    """u with v(u) as given, by Newton's method with halved steps; NaN where it finds none."""
    halvings = 0.5 ** jnp.arange(12)

    def off(u: Array) -> Array:
        size = jnp.linalg.norm(pair.across(u) - v)
        return jnp.where(jnp.isfinite(size), size, jnp.inf)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        u, _, count = state
        move = jnp.linalg.solve(jax.jacfwd(pair.across)(u), v - pair.across(u))
        tried = jax.vmap(lambda a: off(u + a * move))(halvings)
        best = jnp.argmin(tried)
        return u + halvings[best] * move, tried[best], count + 1

    first = jnp.zeros(pair.one.size)
    near = 1e-13 * (1 + jnp.linalg.norm(v))
    state = first, off(first), jnp.asarray(0)
    u, size, _ = jax.lax.while_loop(lambda s: (s[1] > near) & (s[2] < _STEPS), step, state)
    return jnp.where(size < 1e-8 * (1 + jnp.linalg.norm(v)), u, jnp.nan)


@final
@dataclass(frozen=True)
class Rows:
    """How the terms of a log-likelihood are summed to exchangeable units.

    Attributes:
        axes: of each term the axis of the rows; None where they have none in common, so that all
            data are one unit.
        whole: the number of rows, with those that do not count.
        first: the first row of each term.
        samples: of rows that follow one another, by name; none of one.
        kept: the rows that count, those that are not masked; None for all.
        cut: the groups of rows that are the units instead, where latent variables are integrated
            out; None if all rows are then one.
    """

    axes: tuple[int, ...] | None
    whole: int
    first: tuple[int, ...] = ()
    samples: tuple[str, ...] = ()
    kept: np.ndarray | None = None
    cut: Groups | None = None

    @property
    def count(self) -> int:
        """N."""
        return self.whole if self.kept is None else len(self.kept)

    def summed(self, terms: list[Array]) -> Array:
        """One number for each row that counts, shape (N,)."""
        if self.axes is None:
            return jnp.reshape(sum((jnp.sum(term) for term in terms), jnp.zeros(())), (1,))
        found = jnp.zeros(self.whole)
        for term, axis, first in zip(terms, self.axes, self.first, strict=True):
            n = term.shape[axis]
            each = jnp.sum(jnp.reshape(jnp.moveaxis(term, axis, 0), (n, -1)), axis=1)
            found = found.at[first : first + n].add(each) if self.samples else found + each
        return found if self.kept is None else found[self.kept]

    def of(self, shapes: list[tuple[int, ...]]) -> np.ndarray | None:
        """The row of every entry of raveled terms of these shapes; None where all are one unit."""
        if self.axes is None:
            return None
        places = zip(shapes, self.axes, self.first, strict=True)
        return np.concatenate([np.indices(s)[axis].ravel() + first for s, axis, first in places])
