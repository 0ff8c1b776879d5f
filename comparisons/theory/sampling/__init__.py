"""Samplers of one law, by how they reach it: every `x.py` here defines one, `draw`.

`draw(target, rng, shape)` makes shape[0] independent runs of shape[1] draws.  The target is a
mixture of normals that share one spherical covariance,

    p(x) = Σ_k w_k N(x | μ_k, σ²I),    ∇ log p(x) = (Σ_k r_k(x) μ_k − x)/σ²,    r_k = P(k | x),

the simplest law that has two modes, closed-form moments, a closed-form score, a tractable inverse
of its distribution function, and stays one of its kind when noise is added to it.  Three Markov
chains share one loop, which proposes by a Gaussian step and accepts or not:

    x′ ~ N(m(x), 2hI),    m(x) = x  or  x + h ∇log p(x),
    accepted with probability  min{1, p(x′) N(x | m(x′), 2hI) / [p(x) N(x′ | m(x), 2hI)]}.

Metropolis has no drift, Metropolis-adjusted Langevin has both, and unadjusted Langevin accepts all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, final

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

    def widened(self, ratio: float) -> "NormalMixture":
        """The normal law around its mean whose scale is `ratio` times its components'."""
        return NormalMixture(jnp.ones(1), self.mean[None], ratio * self.scale)

    def _joint(self, x: Array) -> Array:
        """log w_k N(x | μ_k, σ²I), shape (…, K)."""
        squares = jnp.sum((x[..., None, :] - self.means) ** 2, axis=-1)
        constant = 0.5 * self.means.shape[1] * jnp.log(2 * jnp.pi * self.scale**2)
        return jnp.log(self.weights) - squares / (2 * self.scale**2) - constant


@final
@dataclass(frozen=True)
class Drawn:
    """Independent runs of one sampler."""

    draws: np.ndarray  # shape (R, n, d)
    weights: np.ndarray | float = 1.0  # of importance, shape (R, n), or 1 of all draws
    evaluations: float = 1.0
    """How often the density, its gradient or a distribution function was evaluated for one draw, on
    average; drawing from a known law directly counts as one."""
    warm_up: float = 0.0  # evaluations of a run before its first draw
    exact: bool = True  # whether the law of the draws tends to the target with no step to shrink

    def means(self, values: np.ndarray, size: int) -> np.ndarray:
        """Self-normalised means, shape (R, n / size, k), over blocks of so many draws."""
        runs, n, k = values.shape
        weights = np.broadcast_to(self.weights, (runs, n)).reshape(runs, -1, size, 1)
        return (weights * values.reshape(runs, -1, size, k)).sum(axis=2) / weights.sum(axis=2)


# --- Markov chains by Gaussian steps ------------------------------------------------------------


class _Place(NamedTuple):
    x: Array
    log_density: Array
    middle: Array  # m(x), about which the next proposal is


def chains(
    target: NormalMixture,
    rng: np.random.Generator,
    shape: tuple[int, int],
    step: float,
    *,
    drift: bool,
    adjusted: bool,
    score: Callable[[Array], Array] | None = None,
) -> Drawn:
    """Chains side by side from dispersed starts, each of which keeps every `THIN`-th state.

    Args:
        target: the law.
        rng: of all that is random.
        shape: chains, and draws of each.
        step: h, half the variance of a proposal in each coordinate, units of x squared.
        drift: whether proposals move along the score.
        adjusted: whether they are accepted by Hastings' rule, or always.
        score: a learnt ∇ log p, shape (M, d), to be used for the target's.
    """
    draws = _walk(target, key_of(rng), step, shape, drift, adjusted, score)
    return Drawn(np.asarray(draws), evaluations=THIN, warm_up=WARM_UP, exact=adjusted)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _walk(
    target: NormalMixture,
    key: Array,
    step: Array | float,
    shape: tuple[int, int],
    drift: bool,
    adjusted: bool,
    score: Callable[[Array], Array] | None,
) -> Array:
    def at(x: Array) -> _Place:
        density = target.log_density(x) if adjusted else jnp.zeros(len(x))
        return _Place(x, density, x + step * (score or target.score)(x) if drift else x)

    def move(place: _Place, key: Array) -> tuple[_Place, None]:
        how, whether = jax.random.split(key)
        new = at(place.middle + jnp.sqrt(2 * step) * jax.random.normal(how, place.x.shape))
        if not adjusted:
            return new, None
        back, forth = _log_proposal(place, new, step), _log_proposal(new, place, step)
        ratio = new.log_density - place.log_density + back - forth
        accept = -jax.random.exponential(whether, ratio.shape) < ratio
        kept = jax.tree.map(
            lambda a, b: jnp.where(accept if a.ndim == 1 else accept[:, None], a, b), new, place
        )
        return kept, None

    def draw(place: _Place, key: Array) -> tuple[_Place, Array]:
        place, _ = jax.lax.scan(move, place, jax.random.split(key, THIN))
        return place, place.x

    begin, run = jax.random.split(key)
    # wider than the target in every direction
    sd = 2 * jnp.sqrt(jnp.trace(target.covariance))
    start = at(target.mean + sd * jax.random.normal(begin, (shape[0], target.mean.size)))
    dropped = WARM_UP // THIN
    _, draws = jax.lax.scan(draw, start, jax.random.split(run, dropped + shape[1]))
    return jnp.swapaxes(draws[dropped:], 0, 1)


def _log_proposal(new: _Place, old: _Place, step: Array | float) -> Array:
    """log N(new | m(old), 2hI) up to a constant."""
    return -jnp.sum((new.x - old.middle) ** 2, axis=-1) / (4 * step)
