"""The laws that a sampler draws from, and what it gives.

The target is a mixture of normals that share one spherical covariance,

    p(x) = Σ_k w_k N(x | μ_k, σ²I),    ∇ log p(x) = (Σ_k r_k(x) μ_k − x)/σ²,    r_k = P(k | x),

the simplest law that has two modes, closed-form moments, a closed-form score, a tractable inverse
of its distribution function, and stays one of its kind when noise is added to it.
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


class NormalMixture(NamedTuple):
    """A mixture of K normals in ℝᵈ; a JAX tree, so that compiled functions take it as argument."""

    weights: Array
    """Shape (K,); they sum to 1."""
    means: Array
    """Shape (K, d)."""
    scale: Array
    """σ, shared."""

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
    gradient: Callable[[Array], Array] = eqx.field(static=True)
    """x ↦ ∇ log p(x), shape (M, d)."""

    def score(self, x: Array) -> Array:
        return self.gradient(x)

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
