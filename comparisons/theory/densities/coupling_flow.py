"""Coupling flow: x_a stays, x_b ↦ x_b exp s(x_a) + t(x_a), and the two change places.

Each layer's Jacobian is triangular, log |∂z/∂x| = s, and its inverse is as cheap as itself.
Reference: Dinh, Sohl-Dickstein & Bengio (2017), ICLR (real NVP).
"""

from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities._fitted import Fitted, Network, by_likelihood
from comparisons.theory.densities._flow import ACCESS, Flow
from comparisons.theory.densities._networks import perceptron
from models.programs.keys import key_of

_LAYERS = 8
"""Affine couplings; they take turns in which coordinate moves."""
_STEEPEST = 3.0
"""Largest |s| of a layer: e³ ≈ 20 times; without a limit training is unstable."""


@final
@dataclass(frozen=True)
class CouplingFlow(Network):
    """Real NVP in the plane."""

    updates: int = 2_000

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        keys = jax.random.split(key_of(rng), _LAYERS)
        flow = Couplings(eqx.filter_vmap(lambda key: perceptron(key, 1, 2, self.width))(keys))
        return by_likelihood(ACCESS, flow, train, rng, self.updates * effort)


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
