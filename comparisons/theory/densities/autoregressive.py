"""Autoregressive likelihood: q(x) = q(x₁) q(x₂ | x₁), each a mixture of normals by a network.

No map has to be inverted and nothing is summed out: each factor is normalised by itself, and
minus its logarithm is the cross-entropy of the next coordinate given those before it.  The mask is
that the parameters of x₁'s law see nothing and those of x₂'s see x₁.  Draws are ancestral.
References: Bishop (1994), mixture density networks; Uria, Murray & Larochelle (2013), NeurIPS
(RNADE); Germain, Gregor, Murray & Larochelle (2015), ICML (masks).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import log_softmax
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from comparisons.theory.densities._fitted import DensityEstimator, Fitted, from_training
from comparisons.theory.densities._networks import minimise, perceptron, standard
from comparisons.theory.densities._quadrature import gradient
from models.programs.keys import key_of


@final
@dataclass(frozen=True)
class Autoregressive(DensityEstimator):
    """One coordinate after the other.

    Attributes:
        components: normals in each conditional law.
        width: units of each of the two hidden layers.
        updates: steps of Adam at effort 1.
    """

    components: int = 4
    width: int = 32
    updates: int = 2_000

    name: ClassVar[str] = "autoregressive"

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        units, key = standard(train), key_of(rng)
        means = np.linspace(-1.5, 1.5, self.components)
        first = jnp.stack([0 * means, means, np.full(self.components, -0.5)])
        start = Conditionals(first, perceptron(key, 1, 3 * self.components, self.width))

        def loss(network: Conditionals, key: Array, x: Array) -> Array:
            return -jnp.mean(jax.vmap(network.log_density)(x))

        updates = self.updates * effort
        trained = minimise(loss, start, units.to(train), rng, updates=updates, rate=5e-3)

        def log_density(x: Array) -> Array:
            return jax.vmap(trained.network.log_density)(units.to(x)) - units.log_volume

        draw = jax.jit(lambda keys: jax.vmap(trained.network.draw)(keys))

        def sample(rng: np.random.Generator, n: int) -> np.ndarray:
            keys = jax.random.split(key_of(rng), n)
            return np.asarray(units.back(draw(keys)))

        return from_training(
            "exact, product of conditionals",
            trained,
            log_density=log_density,
            score=gradient(log_density),
            sample=sample,
        )


class Conditionals(eqx.Module):
    """The laws of x₁ and of x₂ given x₁: logits, means and log standard deviations, (3, K)."""

    first: Array
    second: eqx.nn.MLP

    def after(self, x: Array) -> Array:
        """The parameters of x₂'s law."""
        return self.first + self.second(x[None]).reshape(self.first.shape)

    def log_density(self, x: Array) -> Array:
        """log q at one point."""
        return _log_mixture(self.first, x[0]) + _log_mixture(self.after(x[0]), x[1])

    def draw(self, key: Array) -> Array:
        """One point."""
        one, two = jax.random.split(key)
        x = _draw(one, self.first)
        return jnp.stack([x, _draw(two, self.after(x))])


def _log_mixture(law: Array, x: Array) -> Array:
    return logsumexp(log_softmax(law[0]) + norm.logpdf(x, law[1], jnp.exp(law[2])))


def _draw(key: Array, law: Array) -> Array:
    choose, draw = jax.random.split(key)
    component = jax.random.categorical(choose, law[0])
    return law[1, component] + jnp.exp(law[2, component]) * jax.random.normal(draw)
