"""Coupling flow: x_a stays, x_b ↦ x_b exp s(x_a) + t(x_a), and the two change places.

A change of variables z = f(x) from N(0, I): log q(x) = log N(z | 0, I) + log |∂z/∂x|, so that
maximum likelihood is exact; draws go through f⁻¹.  Each layer's Jacobian is triangular,
log |∂z/∂x| = s, and its inverse is as cheap as itself.
References: Rezende & Mohamed (2015), ICML; Dinh, Sohl-Dickstein & Bengio (2017), ICLR (real NVP).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities import Fitted, gradient, minimise, perceptron, standard
from models.programs.keys import key_of

UPDATES = 2_000
_LAYERS = 8  # affine couplings; they take turns in which coordinate moves
_STEEPEST = 3.0  # largest |s| of a layer: e³ ≈ 20 times; without a limit training is unstable


class Couplings(eqx.Module):
    """Affine couplings one after another."""

    networks: eqx.nn.MLP
    """Those of all layers, stacked along a leading axis."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """The image of one point, shape (2,), and log |∂z/∂x|."""

        def layer(state: tuple[Array, Array], free: eqx.nn.MLP) -> tuple[tuple[Array, Array], None]:
            x, log_jacobian = state
            scale, shift = self._affine(free, x[0])
            return (jnp.stack([x[1] * jnp.exp(scale) + shift, x[0]]), log_jacobian + scale), None

        free = eqx.filter(self.networks, eqx.is_array)
        return jax.lax.scan(layer, (x, jnp.zeros(())), free)[0]

    def inverse(self, z: Array) -> Array:
        """The point whose image is z."""

        def layer(z: Array, free: eqx.nn.MLP) -> tuple[Array, None]:
            scale, shift = self._affine(free, z[1])
            return jnp.stack([z[1], (z[0] - shift) * jnp.exp(-scale)]), None

        free = eqx.filter(self.networks, eqx.is_array)
        return jax.lax.scan(layer, z, free, reverse=True)[0]

    def log_density(self, x: Array) -> Array:
        """log q of one point."""
        z, log_jacobian = self.forward(x)
        return -0.5 * jnp.sum(z**2) - jnp.log(2 * jnp.pi) + log_jacobian

    def _affine(self, free: eqx.nn.MLP, kept: Array) -> tuple[Array, Array]:
        fixed = eqx.filter(self.networks, eqx.is_array, inverse=True)
        scale, shift = eqx.combine(free, fixed)(kept[None])
        return _STEEPEST * jnp.tanh(scale / _STEEPEST), shift


def start(key: Array) -> Couplings:
    """Couplings that have not been trained."""
    keys = jax.random.split(key, _LAYERS)
    return Couplings(eqx.filter_vmap(lambda one: perceptron(one, 1, 2))(keys))


def fit(train: np.ndarray, rng: np.random.Generator, effort: float) -> Fitted:
    """Maximum likelihood."""
    units = standard(train)

    def loss(flow: Couplings, key: Array, x: Array) -> Array:
        return -jnp.mean(jax.vmap(flow.log_density)(x))

    how = {"updates": UPDATES * effort, "rate": 5e-3}
    trained = minimise(loss, start(key_of(rng)), units.to(train), rng, **how)
    flow = trained.network

    def draws(key: Array, n: int) -> Array:
        return jax.vmap(flow.inverse)(jax.random.normal(key, (n, 2)))

    log_density = units.density(jax.vmap(flow.log_density))
    return Fitted(
        "exact, change of variables",
        log_density,
        gradient(log_density),
        units.sample(draws),
        trained.problems,
    )
