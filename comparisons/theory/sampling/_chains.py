"""One loop for three Markov chains: propose by a Gaussian step, accept or not.

    x′ ~ N(m(x), 2hI),    m(x) = x  or  x + h ∇log p(x),
    accepted with probability  min{1, p(x′) N(x | m(x′), 2hI) / [p(x) N(x′ | m(x), 2hI)]}.

Metropolis has no drift, Metropolis-adjusted Langevin has both, and unadjusted Langevin accepts all.
All runs advance side by side, each a chain of its own, which keeps every `thin`-th state.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.sampling._drawn import Drawn, Law, Sampler, dispersed
from models.programs.keys import key_of

WARM_UP = 256
"""Steps that are dropped before the first draw."""
THIN = 16
"""Steps from one draw to the next, so that draws are nearly independent."""


class _Place(NamedTuple):
    x: Array
    log_density: Array
    score: Array


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
        return _Place(x, target.log_density(x), target.score(x))

    def move(place: _Place, key: Array) -> tuple[_Place, Array]:
        how, whether = jax.random.split(key)
        noise = jax.random.normal(how, place.x.shape)
        new = at(_proposed(place, step, drift) + jnp.sqrt(2 * step) * noise)
        if not adjusted:
            return new, jnp.ones(())
        back, forth = _log_proposal(place, new, step, drift), _log_proposal(new, place, step, drift)
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


def _proposed(place: _Place, step: Array | float, drift: bool) -> Array:
    return place.x + step * place.score if drift else place.x


def _log_proposal(new: _Place, old: _Place, step: Array | float, drift: bool) -> Array:
    """log N(new | m(old), 2hI) up to a constant."""
    return -jnp.sum((new.x - _proposed(old, step, drift)) ** 2, axis=-1) / (4 * step)
