"""The likelihood with latent variables z integrated out by Laplace's method.

    log p(x | θ) ≈ Σ_g [log p(x_g, ẑ_g | θ) + (m/2) log 2π − ½ log |H_g|],

with H_g = −∂² log p(x_g, z_g | θ)/∂z_g² at ẑ_g, and ẑ(θ) the mode in the unconstrained coordinates
of z.  Groups g are what neither the likelihood nor the prior of z ties together: independent units,
found by derivatives; all data are one where the program cannot be cut so.  Exact where the latent
variables are Gaussian given data and θ, H then being constant.  The mode is found by Newton steps
without derivatives; two further steps that are differentiated, with H held where it is, carry the
first and second derivatives of ẑ(θ), by the implicit function theorem.
Reference: Tierney & Kadane (1986), JASA 81; Kristensen et al. (2016), J. Stat. Software 70(5).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import bmat, csr_matrix
from scipy.sparse.csgraph import connected_components

from models.programs.adopted.program import Terms, UserProgram
from models.programs.compilation import once
from models.programs.differentiation import directional, hessian, jacobian
from models.programs.form import total
from models.spec import Arrays, Values

_STEPS = 100
_TOLERANCE = 1e-10
_HALVINGS = 12
_DRAWS = 4_000  # by which it is told how far Laplace's method is off
_POINTS = 3  # at which it is looked what depends on what
_MOST = 20_000_000  # numbers of a matrix of derivatives that are kept at a time


@final
class Groups(NamedTuple):
    """The independent groups of rows and latent variables, numbered by their first rows.

    Attributes:
        row: the group of each row of the likelihood, shape (N,).
        coordinates: of the latent variables of each group, among theirs, shape (G, m).
        prior: by latent variable, the group of each term of its log prior.
    """

    row: np.ndarray
    coordinates: np.ndarray
    prior: Arrays


def tied_to(
    program: UserProgram, latent: tuple[str, ...], factors: tuple[str, ...]
) -> tuple[str, ...]:
    """The factors of a prior that depend on its latent variables, which a part of it thus is."""
    if not factors:
        return ()
    inner = np.isin(program.coordinates, latent)

    def chosen(u: Array) -> Values:
        return {name: jnp.sum(program.at(u).factors[name]) for name in factors}

    points = np.random.default_rng(0).uniform(-1, 1, (_POINTS, program.size))
    slopes = once(jax.vmap(jax.jacrev(chosen)))(jnp.asarray(points))
    return tuple(name for name in factors if np.any(np.asarray(slopes[name])[:, inner] != 0))


def groups(
    program: UserProgram, latent: tuple[str, ...], rows: Callable[[Array], Array]
) -> Groups | None:
    """Cuts a program into independent groups, all with as many latent variables; None if it cannot.

    `rows` gives the log-likelihood of each row, shape (N,), at coordinates u.
    """
    inner = np.flatnonzero(np.isin(program.coordinates, latent))
    m, points = inner.size, jnp.asarray(program.starts(np.random.default_rng(0))[:_POINTS])
    if jax.eval_shape(rows, points[0]).size * m > _MOST:
        return None

    def joint(z: Array, u: Array) -> Array:
        prior = program.at(u.at[inner].set(z)).prior
        return jnp.sum(rows(u.at[inner].set(z))) + total({name: prior[name] for name in latent})

    def ties(u: Array) -> tuple[Array, Array]:
        slopes = jacobian(lambda z: rows(u.at[inner].set(z)))(u[inner])
        return slopes, hessian(joint)(u[inner], u)

    slopes, curvature = (
        np.any(np.nan_to_num(np.asarray(found)) != 0, axis=0)
        for found in once(jax.vmap(ties))(points)
    )
    count, tied = connected_components(
        bmat([[csr_matrix(curvature), csr_matrix(slopes.T)], [csr_matrix(slopes), None]]),
        directed=False,
    )
    first, row = np.unique(tied[m:], return_index=True)[1], tied[m:]
    sizes = np.bincount(tied[:m], minlength=count)
    if count == 1 or first.size < count or np.ptp(sizes):
        return None
    number = np.empty(count, int)
    number[row[np.sort(first)]] = np.arange(count)
    own = number[tied[:m]]
    prior = _terms_of(program, latent, own)
    coordinates = np.argsort(own, kind="stable").reshape(count, -1)
    return None if prior is None else Groups(number[row], coordinates, prior)


def _terms_of(program: UserProgram, latent: tuple[str, ...], own: np.ndarray) -> Arrays | None:
    """The group of each term of the log prior of each variable; None if terms are of several."""
    shapes = jax.eval_shape(program.at, jnp.zeros(program.size)).prior
    sites = [site for site in program.sites if site.name in latent]
    parts = np.split(own, np.cumsum([int(np.prod(site.unconstrained)) for site in sites]))
    found = {}
    for site, part in zip(sites, parts[:-1], strict=True):
        shape = shapes[site.name].shape
        if site.support != "real" or shape != site.unconstrained[: len(shape)]:
            return None
        each = part.reshape((*shape, -1))
        if np.ptp(each, axis=-1).any():
            return None
        found[site.name] = each[..., 0]
    return found


@final
class LaplaceMarginal:
    """log p(x | θ) of a program, with some of its variables integrated out.

    Attributes:
        names: the parameters that are left.
        coordinates: which coordinates of the program are theirs, shape (k,).
    """

    def __init__(
        self,
        program: UserProgram,
        latent: tuple[str, ...],
        tied: tuple[str, ...],
        rows: Callable[[Terms], Array],
        cut: Groups | None,
        observed: Mapping[str, Array] | None = None,
    ) -> None:
        """`rows` gives log p(x_i | z, θ), shape (N,), of terms; a cut of None is one group.

        `tied` are the factors of the prior that depend on z.
        """
        self._program, self._latent, self._tied, self._cut = program, latent, tied, cut
        self._observed = observed

        def at(u: Array, observed: Mapping[str, Array] | None) -> tuple[Terms, Array]:
            terms = program.at(u, observed)
            return terms, rows(terms)

        # traced once, whatever derivatives are taken of it
        self._at, self._weigh = jax.jit(at), jax.jit(self._log_weights)
        inner = np.isin(program.coordinates, latent)
        self.names = tuple(name for name in program.names if name not in latent)
        self.coordinates, self._inner = np.flatnonzero(~inner), np.flatnonzero(inner)
        self._blocks = cut.coordinates if cut else np.arange(self._inner.size)[None]

    def whole(self, theta: Array, z: Array) -> Array:
        """All coordinates of the program, of those of parameters and of latent variables."""
        u = jnp.zeros(self._program.size).at[self.coordinates].set(theta)
        return u.at[self._inner].set(z)

    def _by_group(self, z: Array, theta: Array) -> Array:
        """log p(x_g, z_g | θ) in the coordinates of z, shape (G,)."""
        terms, rows = self._at(self.whole(theta, z), self._observed)
        if self._cut is None:
            own = [part[name] for part in (terms.prior, terms.jacobians) for name in self._latent]
            own += [terms.factors[name] for name in self._tied]
            return jnp.reshape(jnp.sum(rows) + sum(jnp.sum(term) for term in own), (1,))
        found = jnp.zeros(len(self._blocks)).at[self._cut.row].add(rows)
        for name, group in self._cut.prior.items():
            found = found.at[group].add(terms.prior[name])
        return found

    def _joint(self, z: Array, theta: Array) -> Array:
        """log p(x, z | θ) in the coordinates of z, a scalar."""
        return jnp.sum(self._by_group(z, theta))

    def _curvature(self, z: Array, theta: Array) -> Array:
        """H_g, shape (G, m, m): one derivative takes the same column of every group."""
        slope = jax.grad(self._joint)

        def column(place: Array) -> Array:
            direction = jnp.zeros(z.size).at[jnp.asarray(self._blocks)[:, place]].set(1.0)
            return directional(lambda at: slope(at, theta), z, direction)[self._blocks]

        return -jnp.moveaxis(jax.vmap(column)(jnp.arange(self._blocks.shape[1])), 0, -1)

    def mode(self, theta: Array) -> Array:
        """ẑ(θ), whose first and second derivatives are right, and no further ones."""
        slope, blocks = jax.grad(self._joint), self._blocks
        halvings = 0.5 ** jnp.arange(_HALVINGS)

        def climb(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            z, value, count, _ = state
            values, vectors = jnp.linalg.eigh(self._curvature(z, theta))
            turned = jnp.einsum("gij,gi->gj", vectors, slope(z, theta)[blocks])
            turned = turned / jnp.maximum(jnp.abs(values), 1e-8)
            step = jnp.zeros(z.size).at[blocks].set(jnp.einsum("gij,gj->gi", vectors, turned))
            tried = jax.vmap(lambda a: self._joint(z + a * step, theta))(halvings)
            tried = jnp.where(jnp.isfinite(tried), tried, -jnp.inf)
            best = jnp.argmax(tried)
            rises = tried[best] > value
            moved = jnp.where(rises, jnp.max(jnp.abs(halvings[best] * step)), 0.0)
            z = jnp.where(rises, z + halvings[best] * step, z)
            return z, jnp.where(rises, tried[best], value), count + 1, moved

        # not 0, where a library's |logit| has no slope
        first = 1e-3 * jnp.cos(jnp.arange(1.0, 1.0 + self._inner.size))
        state = first, self._joint(first, theta), jnp.asarray(0), jnp.asarray(jnp.inf)
        end = jax.lax.while_loop(lambda s: (s[3] > _TOLERANCE) & (s[2] < _STEPS), climb, state)

        def stepped(z: Array, curvature: Array) -> Array:
            slopes = slope(z, theta)[blocks][..., None]
            return z.at[blocks].add(jnp.linalg.solve(curvature, slopes)[..., 0])

        # the climb ends where the joint density is flat in float64, short of ẑ by its square root
        z = jax.lax.stop_gradient(stepped(end[0], self._curvature(end[0], theta)))
        held = jax.lax.stop_gradient(self._curvature(z, theta))
        return stepped(stepped(z, held), held)

    def log_likelihood(self, theta: Array) -> Array:
        """log p(x_g | θ), shape (G,), in nats; NaN where ẑ is no maximum."""
        z = self.mode(theta)
        sign, log_determinant = jnp.linalg.slogdet(self._curvature(z, theta))
        gain = (self._blocks.shape[1] * jnp.log(2 * jnp.pi) - log_determinant) / 2
        return jnp.where(sign > 0, self._by_group(z, theta) + gain, jnp.nan)

    def _log_weights(self, theta: Array, noise: Array) -> Array:
        z = self.mode(theta)
        factor, top = jnp.linalg.cholesky(self._curvature(z, theta)), self._by_group(z, theta)

        def log_weight(noise: Array) -> Array:
            away = jnp.linalg.solve(jnp.swapaxes(factor, 1, 2), noise[..., None])[..., 0]
            there = self._by_group(z.at[self._blocks].add(away), theta)
            return there - top + jnp.sum(noise**2, axis=1) / 2

        return jax.lax.map(log_weight, noise, batch_size=20)

    def shortfall(self, theta: Array) -> tuple[float, float]:
        """log p(x | θ) by importance sampling about ẑ less Laplace's, and its error, nats."""
        noise = jax.random.normal(jax.random.key(0), (_DRAWS, *self._blocks.shape))
        weight = np.exp(self._weigh(theta, noise))
        mean, error = weight.mean(axis=0), weight.std(axis=0) / np.sqrt(_DRAWS)
        return float(np.log(mean).sum()), float(np.linalg.norm(error / mean))
