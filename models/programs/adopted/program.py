"""A program that was not written for this suite: its sites, and its terms at a point.

    log p(x, θ) + log |∂θ/∂u| = Σ prior + Σ likelihood + Σ factors + Σ log-Jacobians,

for the natural values θ(u) of the unconstrained coordinates u ∈ ℝᵏ.  Supports may depend on other
parameters, so θ(u) is found anew at every point; nothing is frozen.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, cast, final, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.errors import ModelError
from models.programs.form import split, total
from models.spec import Arrays, Support, Values

_STARTS = 64
"""Points of which those with a finite density are starts."""
_RADII = (2.0, 0.5, 0.1)
"""They are drawn from U(−r, r)ᵏ; a smaller r is tried where a larger one gives none."""
_SUPPORTS: Mapping[str, Support] = {
    "choleskycovpacked": "cholesky_packed",
    "corrcholesky": "correlation_cholesky",
    "greaterthan": "positive",
    "greaterthaneq": "positive",
    "log": "positive",
    "logodds": "unit_interval",
    "nonetype": "real",
    "openinterval": "interval",
    "orderedvector": "ordered",
    "positivedefinite": "covariance",
    "softpluspositive": "positive",
    "unitinterval": "unit_interval",
    "zerosum": "zero_sum",
}
"""Our words for supports, by the libraries' where they are others."""


@final
class Site(NamedTuple):
    """A latent variable of a program.

    Attributes:
        name: as the program calls it.
        shape: of its natural value.
        unconstrained: shape of its unconstrained coordinates.
        support: the kind of its support.
        dims: names of its dims, where the program names them.
    """

    name: str
    shape: tuple[int, ...]
    unconstrained: tuple[int, ...]
    support: Support = "real"
    dims: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """A name for each axis: that of its dim, or one of its own."""
        if len(self.dims) == len(self.shape) == len(set(self.dims)):
            return self.dims
        return tuple(f"{self.name}_dim_{i}" for i in range(len(self.shape)))


@final
class Terms(NamedTuple):
    """A program at one point; log densities in nats, without Jacobian, elementwise by site.

    Attributes:
        values: natural values of the latent variables.
        deterministics: values of the program's deterministic sites.
        prior: log density of each latent variable.
        likelihood: log density of each observed site.
        factors: each factor or potential.
        jacobians: log |∂θ/∂u| of each latent variable, a scalar.
    """

    values: Values
    deterministics: Values
    prior: Values
    likelihood: Values
    factors: Values
    jacobians: Values


class UserProgram(ABC):
    """A program with its data in it; every array function is traceable by JAX.

    Attributes:
        sites: continuous latent variables, in the order of the program.
        observed: the observed arrays by site.
        dims: the plates or dims of each observed site, by name.
        masked: which of these values the density does not look at, by site; none where not given.
        deterministics: shapes of the deterministic sites.
        factors: names of factors or potentials.
        improper: latent variables whose prior integrates to infinity.
        unordered: those whose draws lack the order that their density has.
        lawless: why draws of what it observes are no data like its own; "" if they are.
        weighted: the observed sites whose log density is multiplied by a weight.
        narrow: whether it holds constants in float32 that could not be widened.
    """

    language: ClassVar[str]
    narrow: bool = False
    sites: tuple[Site, ...]
    observed: Arrays
    deterministics: dict[str, tuple[int, ...]]
    factors: tuple[str, ...]
    improper: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()
    lawless: str = ""
    weighted: tuple[str, ...] = ()
    dims: Mapping[str, tuple[str, ...]]
    masked: Mapping[str, np.ndarray] = MappingProxyType({})

    @abstractmethod
    def again(self) -> UserProgram:
        """The program built once more, with what its library's functions are now."""

    @abstractmethod
    def at(self, u: Array | Values, observed: Mapping[str, Array] | None = None) -> Terms:
        """The terms at coordinates u, shape (k,) or by site, of its own data or others by site."""

    @abstractmethod
    def unconstrain(self, values: Mapping[str, Array]) -> Array:
        """Coordinates of the natural values of every site, at their current supports."""

    @abstractmethod
    def drawn(self, seeds: np.ndarray, values: Arrays) -> Arrays:
        """`draws` of a program that observes something."""

    @final
    def draws(self, seeds: np.ndarray, values: Mapping[str, Any]) -> Arrays:
        """A joint draw of all sites for each seed, which depends on that and its values alone.

        Seeds are non-negative integers, shape (draws,), and values those of latent variables that
        are held, on the natural scale, shape (draws, …); so are the draws of all other sites.

        Raises:
            ModelError: the program cannot draw; says why.
        """
        if not self.observed:
            names = ", ".join(self.factors)
            raise ModelError(f"the data are seen by {names} alone, which cannot be drawn from")
        return self.drawn(seeds, {name: np.asarray(array) for name, array in values.items()})

    @final
    def prior_draws(self, seeds: np.ndarray) -> Arrays | str:
        """Draws of latent and observed sites, shape (draws, …), or why there are none."""
        if self.improper:
            return f"the prior of {', '.join(self.improper)} is improper: it cannot be drawn from"
        if self.factors:
            return f"draws do not see {', '.join(self.factors)}"
        if self.unordered:
            return f"PyMC draws {', '.join(self.unordered)} without the order that its density has"
        try:
            return self.draws(seeds, {})
        except ModelError as error:
            return str(error)

    @final
    def factors_with_arrays(self) -> tuple[str, ...]:
        """Factors with an array of constants in them, which may be data."""

        def holds(name: str) -> bool:
            traced = jax.make_jaxpr(lambda u: self.at(u).factors[name])(jnp.zeros(self.size))
            return any(np.size(constant) > 1 for constant in traced.consts)

        return tuple(filter(holds, self.factors))

    @final
    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latent variables."""
        return tuple(site.name for site in self.sites)

    @final
    @property
    def coordinates(self) -> tuple[str, ...]:
        """The site that each coordinate of u belongs to, length k."""
        return tuple(s.name for s in self.sites for _ in range(int(np.prod(s.unconstrained))))

    @final
    @property
    def size(self) -> int:
        """k, the number of unconstrained coordinates."""
        return len(self.coordinates)

    @final
    def split(self, u: Array | Values) -> Values:
        """The coordinates of each site."""
        shapes = {site.name: site.unconstrained for site in self.sites}
        return {name: u[name] for name in shapes} if isinstance(u, dict) else split(u, shapes)

    @final
    def log_joint(self, u: Array) -> Array:
        """Log density of data and coordinates, a scalar in nats, log-Jacobian included."""
        terms = self.at(u)
        groups = (terms.prior, terms.likelihood, terms.factors, terms.jacobians)
        return sum((total(group) for group in groups), jnp.zeros(()))

    @final
    @cached_property
    def _values_and_gradients(self) -> Callable[[Array], tuple[Array, Array]]:
        return jax.jit(jax.vmap(jax.value_and_grad(self.log_joint)))

    @final
    def starts(self, rng: np.random.Generator) -> np.ndarray:
        """Points with a finite density and gradient, shape (at most 64, k).

        Raises:
            ModelError: there is none; names the sites whose terms are not finite.
        """
        tried = 0
        for points in self._candidates(rng):
            tried += len(points)
            value, gradient = self._values_and_gradients(jnp.asarray(points))
            fine = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
            if fine.any():
                again = jax.jit(lambda u: self.log_joint(u))(jnp.asarray(points[fine][0]))
                if not np.isclose(again, value[fine][0], rtol=1e-4, atol=1e-3):
                    told = "changes from call to call; leave out counters and random numbers"
                    raise ModelError(f"the density of the {self.language} program {told}")
                return points[fine]
        raise ModelError(
            f"the {self.language} program has no finite density at any of "
            f"{tried} starting points: {self._culprits(rng)}"
        )

    def _candidates(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Points, shape (64, k): near 0, farther away, and drawn from the prior, if it can be."""
        for radius in _RADII:
            yield rng.uniform(-radius, radius, (_STARTS, self.size))
        drawn: Arrays = {}
        with suppress(Exception):  # of a law that cannot be drawn from: then there are no more
            drawn = {} if self.improper else self.drawn(rng.integers(2**63, size=_STARTS), {})
        if drawn:
            held = {name: jnp.asarray(drawn[name]) for name in self.names}
            yield np.asarray(jax.vmap(self.unconstrain)(held))

    def _culprits(self, rng: np.random.Generator) -> str:
        """The sites whose terms are not finite at a point, in words."""
        with warnings.catch_warnings(action="ignore"):  # of values that are told here
            terms = self.at(jnp.asarray(rng.uniform(-1, 1, self.size)))
        found = []
        for group in (terms.prior, terms.likelihood, terms.factors):
            for name, term in group.items():
                flat = np.ravel(term)
                bad = np.flatnonzero(~np.isfinite(flat))
                if bad.size:
                    where = f" (first at element {bad[0]})" if flat.size > 1 else ""
                    rows = f"{bad.size} of {flat.size} terms{where}"
                    found.append(f"{name} is {flat[bad[0]]} in {rows}")
        listed = "; ".join(found) or "its gradient is not finite"
        return f"{listed}. Look for values outside of a support, or missing ones, in the data"


def support_of(kind: Any) -> Support:
    """Our word for a support, from NumPyro's constraint or PyMC's transform."""
    while hasattr(kind, "base_constraint"):  # of each element
        kind = kind.base_constraint
    name = type(kind).__name__.strip("_").removesuffix("Transform").lower()
    ours = get_args(Support.__value__)
    return cast("Support", name) if name in ours else _SUPPORTS.get(name, "other")


def program_of(language: str, bound: Callable[[], Any], *, built: bool = False) -> UserProgram:
    """A function whose data are bound as a program; `built` if it returns a model built before.

    Raises:
        ModelError: it has no density that could be evaluated; says which site is to blame.
    """
    if language == "numpyro":
        from models.programs.adopted.numpyro import NumpyroProgram

        return NumpyroProgram(bound)
    from models.programs.adopted.pymc import PymcProgram

    return PymcProgram(bound, built=built)
