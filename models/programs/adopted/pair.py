"""Two programs of one model, matched by the names of what they sample and derive.

The parameters φ of one program are latent or deterministic values of the other, whose unconstrained
coordinates are u.  With v(φ) the coordinates of the first,

    log p_one(u) = log p_other(v(φ(u))) + log |∂v/∂u|

holds at every u if and only if both are one model, whatever their parametrisations, transforms and
supports are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.errors import ConfigError
from models.programs.adopted.program import Site, Terms, UserProgram
from models.programs.differentiation import jacobian
from models.programs.form import log_volume, total
from models.spec import Values

JOINT, REST = "log joint density", "log prior, factors and Jacobian"
GRADIENT = "gradient of the log joint density"
"""Names of the terms that every pair has."""


class Sides(NamedTuple):
    """One term by both programs, at one or at many points."""

    one: Array
    other: Array


@final
@dataclass(frozen=True, eq=False)
class Pair:
    """Two programs and how the parameters of the other are found in the one.

    Attributes:
        one: the program in whose coordinates both are compared.
        other: the program all of whose parameters are values of the one.
        names: by name of the other's parameter, the name of that value in the one.
        guessed: the parameters matched by their shape alone.
    """

    one: UserProgram
    other: UserProgram
    names: Mapping[str, str]
    guessed: tuple[str, ...] = ()

    @property
    def same_sites(self) -> bool:
        """Whether both sample the same variables, so that their priors correspond one by one."""
        return len(self.one.sites) == len(self.other.sites) and all(
            name in self.one.names for name in self.names.values()
        )

    def parameters(self, terms: Terms) -> Values:
        """φ, the other's parameters, at a point of the one."""
        pool = {**terms.deterministics, **terms.values}
        return {s.name: _as_site(pool[self.names[s.name]], s) for s in self.other.sites}

    def across(self, u: Array) -> Array:
        """v, the other's coordinates of a point of the one."""
        return self.other.unconstrain(self.parameters(self.one.at(u)))

    def log_volume(self, u: Array) -> Array:
        """log |∂v/∂u|; NaN where v has not as many coordinates as u."""
        return log_volume(jacobian(self.across)(u))

    def terms(self, u: Array) -> dict[str, Sides]:
        """Every term that corresponds, densities first; the last is the joint density."""
        one = self.one.at(u)
        other = self.other.at(self.other.unconstrain(self.parameters(one)))
        carried = jacobian(self.across)(u)
        found: dict[str, Sides] = {}
        if self.same_sites:
            for name, own in self.names.items():
                sums = jnp.sum(one.prior[own]), jnp.sum(other.prior[name])
                found[f"log prior {name}"] = Sides(*sums)
        pairs = self._likelihoods()
        if not all(own in one.likelihood and name in other.likelihood for name, own in pairs):
            # labels are summed out over several outcomes together
            found["log likelihood"] = Sides(total(one.likelihood), total(other.likelihood))
            pairs = []
        for name, own in pairs:
            a, b = one.likelihood[own], other.likelihood[name]
            view = jnp.ravel if jnp.size(a) == jnp.size(b) else jnp.sum
            found[f"log likelihood {name}"] = Sides(view(a), view(b))
        if self.same_sites:
            ours, theirs = np.array(self.one.coordinates), np.array(self.other.coordinates)
            for name, own in self.names.items():
                block = carried[np.ix_(theirs == name, ours == own)]
                there = other.jacobians[name] + log_volume(block)
                found[f"log Jacobian {name}"] = Sides(one.jacobians[own], there)
        rest = [total(t.prior) + total(t.factors) + total(t.jacobians) for t in (one, other)]
        rest[1] += log_volume(carried)
        likelihood = [total(t.likelihood) for t in (one, other)]
        found[REST] = Sides(*rest)
        found[JOINT] = Sides(*map(jnp.add, rest, likelihood))
        return found

    def with_gradients(self, u: Array) -> dict[str, Sides]:
        """The terms, and the gradients of both joint densities in the coordinates of the one."""

        def joint(at: Array) -> tuple[Sides, dict[str, Sides]]:
            found = self.terms(at)
            return found[JOINT], found

        _, pull, found = jax.vjp(joint, u, has_aux=True)
        one = jnp.ones(())
        gradients = Sides(pull(Sides(one, 0 * one))[0], pull(Sides(0 * one, one))[0])
        return {**found, GRADIENT: gradients}

    def _likelihoods(self) -> list[tuple[str, str]]:
        """Observed sites of the other with those of the one, by name or by what they observe."""
        found = [(name, name) for name in self.other.observed if name in self.one.observed]
        left = [n for n in self.one.observed if n not in dict(found)]
        for name, array in self.other.observed.items():
            same = [n for n in left if _equal(self.one.observed[n], array)]
            if name not in dict(found) and len(same) == 1:
                found.append((name, same[0]))
                left.remove(same[0])
        return found

    def different_data(self) -> str:
        """How the observations of the two programs differ, as a sentence; "" if they do not."""
        for name, own_name in self._likelihoods():
            own, array = self.one.observed[own_name], self.other.observed[name]
            if own.shape != array.shape:
                return (
                    f"{name} is observed with shape {own.shape} by the {self.one.language} program "
                    f"and {array.shape} by the {self.other.language} program"
                )
            if not _equal(own, array):
                bad = ~np.isclose(own, array, rtol=0, atol=0, equal_nan=True)
                first = [int(i) for i in np.argwhere(bad)[0]]
                return (
                    f"{name} differs in {int(bad.sum())} of {array.size} values, first at "
                    f"{first}: {self.one.language} observes {own[tuple(first)]!r}, "
                    f"{self.other.language} {array[tuple(first)]!r}"
                )
        return ""


def pair(a: UserProgram, b: UserProgram, names: Mapping[str, str] | None = None) -> Pair:
    """Matches two programs, in the direction in which every parameter has a counterpart.

    Args:
        a: a program.
        b: the other program.
        names: which name of one program is which of the other, in either order.

    Raises:
        ConfigError: a parameter has no counterpart, or one of another size; lists the candidates of
            both programs.
    """
    given = dict(names or {})
    unknown = [n for n in (*given, *given.values()) if n not in {*_pool(a), *_pool(b)}]
    if unknown:
        raise ConfigError(f"names: neither program has {', '.join(unknown)}. {_candidates(a, b)}")
    found = [_matched(one, other, given) for one, other in ((a, b), (b, a))]
    complete = [matched for matched, missing in found if not missing]
    if complete:
        return _of_one_size(min(complete, key=lambda matched: len(matched.guessed)))
    matched, missing = min(found, key=lambda each: len(each[1]))
    packed = [s.name for s in matched.other.sites if s.support == "cholesky_packed"]
    matrix = ", the triangular matrix" if missing[0] in packed else ""
    raise ConfigError(
        f"{', '.join(missing)} of the {matched.other.language} program has no counterpart in the "
        f"{matched.one.language} program. {_candidates(a, b)} Say which is which with "
        f'names={{"{missing[0]}": …}}, or add a deterministic of that name{matrix}'
    )


def _of_one_size(matched: Pair) -> Pair:
    one, other = matched.one, matched.other
    more = [name for name in one.names if name not in matched.names.values()]
    if more and one.size > other.size:
        missing = any(name.endswith("_unobserved") for name in more)
        remedy = "leave rows with missing outcomes out of both, or sample them in both"
        raise ConfigError(
            f"{', '.join(more)} of the {one.language} program has no counterpart in the "
            f"{other.language} program. {remedy if missing else _candidates(one, other)}"
        )
    shapes = {**one.deterministics, **{site.name: site.shape for site in one.sites}}
    for site in other.sites:
        there = shapes[matched.names[site.name]]
        if np.prod(there) != np.prod(site.shape) and site.support != "cholesky_packed":
            raise ConfigError(
                f"{matched.names[site.name]} of the {one.language} program has shape {there}, "
                f"{site.name} of the {other.language} program {site.shape}: write both alike"
            )
    return matched


def _pool(program: UserProgram) -> tuple[str, ...]:
    return (*program.names, *program.deterministics)


def _candidates(a: UserProgram, b: UserProgram) -> str:
    listed = (f"{p.language} has {', '.join(_pool(p)) or 'no parameters'}" for p in (a, b))
    return f"{'; '.join(listed)}."


def _matched(
    one: UserProgram, other: UserProgram, given: Mapping[str, str]
) -> tuple[Pair, list[str]]:
    """The other's parameters found in the one, and those that are not."""
    pool, names = _pool(one), {}
    both = {**{v: k for k, v in given.items()}, **given}
    for name in other.names:
        if both.get(name) in pool:
            names[name] = both[name]
        elif name in pool:
            names[name] = name
    guessed = _by_shape(one, other, names)
    names |= guessed
    missing = [name for name in other.names if name not in names]
    ordered = {name: names[name] for name in other.names if name in names}
    return Pair(one, other, ordered, tuple(guessed)), missing


def _by_shape(one: UserProgram, other: UserProgram, names: Mapping[str, str]) -> dict[str, str]:
    """The rest, where the shape leaves one choice on both sides."""
    left = [site for site in other.sites if site.name not in names]
    free = [site for site in one.sites if site.name not in {*names.values(), *_pool(other)}]
    found = {}
    for site in left:
        candidates = [own.name for own in free if _alike(own, site)]
        rivals = [rival for rival in left if _alike(rival, site)]
        if len(candidates) == len(rivals) == 1:
            found[site.name] = candidates[0]
    return found


def _alike(a: Site, b: Site) -> bool:
    return a.shape == b.shape and a.unconstrained == b.unconstrained


def _as_site(value: Array, site: Site) -> Array:
    """A value in the shape in which a site has it: packed, where that packs a triangular matrix."""
    shape = jnp.shape(value)
    if site.support == "cholesky_packed" and len(shape) == len(site.shape) + 1:
        rows, columns = np.tril_indices(shape[-1])
        value = value[..., rows, columns]
    return jnp.reshape(value, site.shape)


def _equal(a: Any, b: Any) -> bool:
    floats = a.dtype.kind == b.dtype.kind == "f"
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=floats))
