"""Autoregressive likelihood: q(x) = q(x₁) q(x₂ | x₁), each a mixture of normals by a network.

No map has to be inverted and nothing is summed out: each factor is normalised by itself, and
minus its logarithm is the cross-entropy of the next coordinate given those before it.  The mask is
that the parameters of x₁'s law see nothing and those of x₂'s see x₁.  Draws are ancestral.
References: Bishop (1994), mixture density networks; Uria, Murray & Larochelle (2013), NeurIPS
(RNADE); Germain, Gregor, Murray & Larochelle (2015), ICML (masks).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import log_softmax
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from comparisons.theory.densities import ByLikelihood, Conditional, perceptron

_COMPONENTS = 4  # normals in each conditional law


@final
@dataclass(frozen=True)
class Autoregressive(ByLikelihood):
    """One coordinate after the other."""

    access: ClassVar[str] = "exact, product of conditionals"

    def start(self, key: Array) -> Conditional:
        means = np.linspace(-1.5, 1.5, _COMPONENTS)
        first = jnp.stack([0 * means, means, np.full(_COMPONENTS, -0.5)])
        return Conditionals(first, perceptron(key, 1, 3 * _COMPONENTS, self.width))


class Conditionals(Conditional):
    """The laws of x₁ and of x₂ given x₁: logits, means and log standard deviations."""

    def log_density(self, x: Array) -> Array:
        """log q at one point."""
        return _log_mixture(self.first, x[0]) + _log_mixture(self.after(x[0]), x[1])

    def draw(self, key: Array) -> Array:
        """One point."""
        one, two = jax.random.split(key)
        x = _draw(one, self.first)
        return jnp.stack([x, _draw(two, self.after(x))])

    def draws(self, key: Array, n: int) -> Array:
        """Independent draws, shape (n, 2)."""
        return jax.vmap(lambda key: self.draw(key))(jax.random.split(key, n))


def _log_mixture(law: Array, x: Array) -> Array:
    return logsumexp(log_softmax(law[0]) + norm.logpdf(x, law[1], jnp.exp(law[2])))


def _draw(key: Array, law: Array) -> Array:
    choose, draw = jax.random.split(key)
    component = jax.random.categorical(choose, law[0])
    return law[1, component] + jnp.exp(law[2, component]) * jax.random.normal(draw)
