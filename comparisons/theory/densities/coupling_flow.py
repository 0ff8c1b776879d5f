"""Coupling flow: x_a stays, x_b ↦ x_b exp s(x_a) + t(x_a), and the two change places.

Each layer's Jacobian is triangular, log |∂z/∂x| = s, and its inverse is as cheap as itself.
Reference: Dinh, Sohl-Dickstein & Bengio (2017), ICLR (real NVP).
"""

from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from comparisons.theory.densities import ByLikelihood, Flow, perceptron

_LAYERS = 8  # affine couplings; they take turns in which coordinate moves
_STEEPEST = 3.0  # largest |s| of a layer: e³ ≈ 20 times; without a limit training is unstable


@final
@dataclass(frozen=True)
class CouplingFlow(ByLikelihood):
    """Real NVP in the plane."""

    def start(self, key: Array) -> Flow:
        keys = jax.random.split(key, _LAYERS)
        return Couplings(eqx.filter_vmap(lambda one: perceptron(one, 1, 2, self.width))(keys))


class Couplings(Flow):
    """Affine couplings one after another."""

    networks: eqx.nn.MLP
    """Those of all layers, stacked along a leading axis."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        def layer(state: tuple[Array, Array], free: eqx.nn.MLP) -> tuple[tuple[Array, Array], None]:
            x, log_jacobian = state
            scale, shift = self._affine(free, x[0])
            return (jnp.stack([x[1] * jnp.exp(scale) + shift, x[0]]), log_jacobian + scale), None

        free = eqx.filter(self.networks, eqx.is_array)
        return jax.lax.scan(layer, (x, jnp.zeros(())), free)[0]

    def inverse(self, z: Array) -> Array:
        def layer(z: Array, free: eqx.nn.MLP) -> tuple[Array, None]:
            scale, shift = self._affine(free, z[1])
            return jnp.stack([z[1], (z[0] - shift) * jnp.exp(-scale)]), None

        free = eqx.filter(self.networks, eqx.is_array)
        return jax.lax.scan(layer, z, free, reverse=True)[0]

    def _affine(self, free: eqx.nn.MLP, kept: Array) -> tuple[Array, Array]:
        fixed = eqx.filter(self.networks, eqx.is_array, inverse=True)
        scale, shift = eqx.combine(free, fixed)(kept[None])
        return _STEEPEST * jnp.tanh(scale / _STEEPEST), shift
