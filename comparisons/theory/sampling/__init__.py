"""Samplers of one law, by how they reach it: every `x.py` here defines one.

The target is a mixture of normals that share one spherical covariance,

    p(x) = Σ_k w_k N(x | μ_k, σ²I),    ∇ log p(x) = (Σ_k r_k(x) μ_k − x)/σ²,    r_k = P(k | x),

the simplest law that has two modes, closed-form moments, a closed-form score, a tractable inverse
of its distribution function, and stays one of its kind when noise is added to it.  Three Markov
chains share one loop, which proposes by a Gaussian step and accepts or not:

    x′ ~ N(m(x), 2hI),    m(x) = x  or  x + h ∇log p(x),
    accepted with probability  min{1, p(x′) N(x | m(x′), 2hI) / [p(x) N(x′ | m(x), 2hI)]}.

Metropolis has no drift, Metropolis-adjusted Langevin has both, and unadjusted Langevin accepts all.
All runs advance side by side, each a chain of its own, which keeps every `THIN`-th state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.keys import key_of

WARM_UP = 256  # steps of a chain that are dropped before the first draw
THIN = 16  # steps from one draw to the next, so that draws are nearly independent


class NormalMixture(NamedTuple):
    """A mixture of K normals in ℝᵈ; a JAX tree, so that compiled functions take it as argument."""

    weights: Array  # shape (K,); they sum to 1
    means: Array  # shape (K, d)
    scale: Array  # σ, shared

    @jax.jit
    def log_density(self, x: Array) -> Array:
        """log p, nats, of points of shape (…, d)."""
        return jax.nn.logsumexp(self._joint(x), axis=-1)

    @jax.jit
    def score(self, x: Array) -> Array:
        """∇ log p, shape (…, d)."""
        return (jax.nn.softmax(self._joint(x)) @ self.means - x) / self.scale**2

    @partial(jax.jit, static_argnums=2)
    def draws(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Independent draws, shape (*shape, d): first the component, then the point."""
        which, where = jax.random.split(key)
        component = jax.random.categorical(which, jnp.log(self.weights), shape=shape)
        noise = jax.random.normal(where, (*shape, self.means.shape[1]))
        return self.means[component] + self.scale * noise

    @property
    def mean(self) -> Array:
        """E x, shape (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Array:
        """Cov x, shape (d, d)."""
        away = self.means - self.mean
        return (away.T * self.weights) @ away + self.scale**2 * jnp.eye(self.means.shape[1])

    def _joint(self, x: Array) -> Array:
        """log w_k N(x | μ_k, σ²I), shape (…, K)."""
        squares = jnp.sum((x[..., None, :] - self.means) ** 2, axis=-1)
        constant = 0.5 * self.means.shape[1] * jnp.log(2 * jnp.pi * self.scale**2)
        return jnp.log(self.weights) - squares / (2 * self.scale**2) - constant


class Learnt(eqx.Module):
    """A law of which draws are known, and through them a score; its density is not."""

    mean: Array
    covariance: Array
    score: Callable[[Array], Array] = eqx.field(static=True)
    """x ↦ ∇ log p(x), shape (M, d)."""

    def log_density(self, x: Array) -> Array:
        return jnp.full(x.shape[:-1], jnp.nan)


type Law = NormalMixture | Learnt
"""All that a Markov chain asks of its target; a JAX tree."""


@final
@dataclass(frozen=True)
class Drawn:
    """Independent runs of one sampler.

    Attributes:
        draws: shape (R, n, d).
        weights: of importance, shape (R, n), each row with sum 1; None: all the same.
        evaluations: how often the density, its gradient or a distribution function was evaluated
            for one draw, on average; drawing from a known law directly counts as one.
        warm_up: evaluations of a run before its first draw.
        acceptance: accepted share of the proposals; NaN where nothing is proposed.
        problems: why the draws must not be relied on, one sentence each.
    """

    draws: np.ndarray
    weights: np.ndarray | None = None
    evaluations: float = 1.0
    warm_up: float = 0.0
    acceptance: float = float("nan")
    problems: tuple[str, ...] = ()

    def means(self, values: np.ndarray, size: int) -> np.ndarray:
        """Self-normalised means, shape (R, n / size, …), over blocks of so many draws."""
        blocks = values.reshape(len(values), -1, size, *values.shape[2:])
        if self.weights is None:
            return blocks.mean(axis=2)
        weights = self.weights.reshape(len(values), -1, size)
        return np.einsum("rbs,rbs...->rb...", weights, blocks) / weights.sum(axis=2).reshape(
            *weights.shape[:2], *(1 for _ in values.shape[2:])
        )


class Sampler(ABC):
    """A way to draw from a law; final subclasses are frozen dataclasses of settings."""

    name: ClassVar[str]
    """That of its file."""
    exact: ClassVar[bool] = True
    """Whether the law of the draws tends to the target with no step left to shrink."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    @abstractmethod
    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        """Draws points of a law, and tells what they cost.

        Args:
            target: the law.
            rng: of all that is random.
            runs: independent ones, R.
            n: points in each.
        """


def widened(target: NormalMixture, ratio: float) -> NormalMixture:
    """The normal law around the target's mean whose scale is `ratio` times its components'."""
    return NormalMixture(jnp.ones(1), target.mean[None], ratio * target.scale)


@partial(jax.jit, static_argnums=2)
def dispersed(target: Law, key: Array, runs: int) -> Array:
    """Where chains start, shape (R, d): wider than the target in every direction."""
    sd = 2 * jnp.sqrt(jnp.trace(target.covariance))
    return target.mean + sd * jax.random.normal(key, (runs, target.mean.size))


# --- Markov chains by Gaussian steps ------------------------------------------------------------


class _Place(NamedTuple):
    x: Array
    log_density: Array
    middle: Array  # m(x), about which the next proposal is


@dataclass(frozen=True)
class Chain(Sampler):
    """Chains from dispersed starts; each step costs one evaluation of density and score."""

    step: float = 0.5
    """h, half the variance of a proposal in each coordinate, units of x squared."""
    drift: ClassVar[bool] = True
    """Whether proposals move along the score."""
    adjusted: ClassVar[bool] = True
    """Whether they are accepted by Hastings' rule, or always."""

    def draw(self, target: Law, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        how = self.drift, self.adjusted
        draws, acceptance = _walk(target, key_of(rng), self.step, runs, n, *how)
        return Drawn(
            np.asarray(draws),
            evaluations=THIN,
            warm_up=WARM_UP,
            acceptance=float(acceptance) if self.adjusted else float("nan"),
        )


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _walk(
    target: Law, key: Array, step: Array | float, runs: int, n: int, drift: bool, adjusted: bool
) -> tuple[Array, Array]:
    def at(x: Array) -> _Place:
        middle = x + step * target.score(x) if drift else x
        return _Place(x, target.log_density(x), middle)

    def move(place: _Place, key: Array) -> tuple[_Place, Array]:
        how, whether = jax.random.split(key)
        new = at(place.middle + jnp.sqrt(2 * step) * jax.random.normal(how, place.x.shape))
        if not adjusted:
            return new, jnp.ones(())
        back, forth = _log_proposal(place, new, step), _log_proposal(new, place, step)
        ratio = new.log_density - place.log_density + back - forth
        accept = -jax.random.exponential(whether, ratio.shape) < ratio
        kept = jax.tree.map(
            lambda a, b: jnp.where(accept if a.ndim == 1 else accept[:, None], a, b), new, place
        )
        return kept, jnp.mean(accept)

    def draw(place: _Place, key: Array) -> tuple[_Place, tuple[Array, Array]]:
        place, accepted = jax.lax.scan(move, place, jax.random.split(key, THIN))
        return place, (place.x, jnp.mean(accepted))

    begin, run = jax.random.split(key)
    start = at(dispersed(target, begin, runs))
    dropped = WARM_UP // THIN
    _, (draws, accepted) = jax.lax.scan(draw, start, jax.random.split(run, dropped + n))
    return jnp.swapaxes(draws[dropped:], 0, 1), jnp.mean(accepted[dropped:])


def _log_proposal(new: _Place, old: _Place, step: Array | float) -> Array:
    """log N(new | m(old), 2hI) up to a constant."""
    return -jnp.sum((new.x - old.middle) ** 2, axis=-1) / (4 * step)
