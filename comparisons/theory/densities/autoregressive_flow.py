"""Neural autoregressive flow: z_d = τ(x_d; c(x_<d)), τ increasing, with a network's parameters c.

τ(x) = logit Σ_j w_j σ(a_j x + b_j) with a_j > 0 and Σ w_j = 1 can bend as often as it has units, so
two such layers, the second with the coordinates' order reversed, reach any law in the plane.  The
Jacobian is triangular, Π_d ∂τ/∂x_d; the inverse is found by bisection, one coordinate at a time.
Reference: Huang, Krueger, Lacoste & Courville (2018), ICML (deep sigmoidal flow).
"""

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid, log_softmax, softplus
from jax.scipy.special import logsumexp

from comparisons.theory.densities import ByLikelihood, Conditional, Flow, perceptron

_SIGMOIDS = 8  # J, units of each transformation
_REACH = 60.0  # half the width of the interval that bisection starts from, standardised units
_HALVINGS = 60  # enough to exhaust float64


@final
@dataclass(frozen=True)
class AutoregressiveFlow(ByLikelihood):
    """Deep sigmoidal flow in the plane."""

    def start(self, key: Array) -> Flow:
        keys = jax.random.split(key)
        return Sigmoidal(tuple(_layer(one, _SIGMOIDS, self.width) for one in keys))


class Sigmoidal(Flow):
    """Layers one after another, each with the coordinates in the other order."""

    layers: tuple[Conditional, ...]

    def forward(self, x: Array) -> tuple[Array, Array]:
        log_jacobian = jnp.zeros(())
        for layer in self.layers:
            one, slope = _increasing(layer.first, x[0])
            two, steepness = _increasing(layer.after(x[0]), x[1])
            x, log_jacobian = jnp.stack([two, one]), log_jacobian + slope + steepness
        return x, log_jacobian

    def inverse(self, z: Array) -> Array:
        for layer in reversed(self.layers):
            one = _bisect(layer.first, z[1])
            z = jnp.stack([one, _bisect(layer.after(one), z[0])])
        return z


def _layer(key: Array, sigmoids: int, width: int) -> Conditional:
    """Raw parameters (w, a, b) of both coordinates' transformations."""
    shifts = jnp.linspace(-2.0, 2.0, sigmoids)
    raw = jnp.stack([jnp.zeros(sigmoids), jnp.full(sigmoids, 0.5), shifts])
    return Conditional(raw, perceptron(key, 1, 3 * sigmoids, width))


def _increasing(raw: Array, x: Array) -> tuple[Array, Array]:
    """τ(x) and log τ′(x), both by logarithms of σ so that no tail underflows."""
    log_weight, slope = log_softmax(raw[0]), softplus(raw[1])
    inside = slope * x + raw[2]
    below = logsumexp(log_weight + log_sigmoid(inside))
    above = logsumexp(log_weight + log_sigmoid(-inside))
    log_slopes = log_weight + log_sigmoid(inside) + log_sigmoid(-inside) + jnp.log(slope)
    return below - above, logsumexp(log_slopes) - below - above


def _bisect(raw: Array, z: Array) -> Array:
    """The x with τ(x) = z."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        low = _increasing(raw, middle)[0] < z
        return jnp.where(low, middle, ends[0]), jnp.where(low, ends[1], middle)

    start = (jnp.full_like(z, -_REACH), jnp.full_like(z, _REACH))
    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, start)
    return (low + high) / 2
