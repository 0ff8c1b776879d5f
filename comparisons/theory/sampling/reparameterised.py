"""Reparameterised: x = T_θ(u) with u uniform, so that draws can be differentiated in θ.

T is Rosenblatt's map, coordinate by coordinate x_j = F_j⁻¹(u_j | x_1, …, x_{j−1}).  Given the first
coordinates a spherical mixture is one with other weights, so every F_j is a sum of normal ones; it
is inverted by bisection.  One Newton step from the root, which is itself held fixed,

    x = x* − [F_θ(x*) − u]/p_θ(x*),    gives    ∂x/∂θ = −(∂F_θ/∂θ)/p_θ,

the derivative of an implicit function, and polishes the root.
References: Rosenblatt (1952), Ann. Math. Statist. 23; Figurnov, Mohamed & Mnih (2018), NeurIPS.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import stop_gradient
from jax.scipy.stats import norm

from comparisons.theory.sampling import Drawn, NormalMixture
from models.programs.keys import key_of

BISECTIONS = 25  # halvings of the bracket; the Newton step squares what is left, below rounding
_REACH = 9.0  # standard deviations outside the outermost means at which the bracket ends


def draw(target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int]) -> Drawn:
    """Uniform numbers through Rosenblatt's map."""
    uniform = jax.random.uniform(key_of(rng), (*shape, target.means.shape[1]))
    return Drawn(np.asarray(transport(target, uniform)), evaluations=BISECTIONS + 1)


@jax.jit
def transport(target: NormalMixture, u: Array) -> Array:
    """T(u), shape (…, d), of u in the unit cube; differentiable in the target."""
    logits = jnp.broadcast_to(jnp.log(target.weights), (*u.shape[:-1], len(target.weights)))
    coordinates = []
    for j in range(u.shape[-1]):
        means = target.means[:, j]
        x = _inverse(jax.nn.softmax(logits), means, target.scale, u[..., j])
        logits += norm.logpdf(x[..., None], means, target.scale)
        coordinates.append(x)
    return jnp.stack(coordinates, axis=-1)


def _inverse(weights: Array, means: Array, scale: Array, u: Array) -> Array:
    def below(x: Array) -> Array:
        return jnp.sum(weights * norm.cdf(x[..., None], means, scale), axis=-1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        less = stop_gradient(below(middle)) < u
        return jnp.where(less, middle, ends[0]), jnp.where(less, ends[1], middle)

    low = jnp.full_like(u, stop_gradient(jnp.min(means) - _REACH * scale))
    high = jnp.full_like(u, stop_gradient(jnp.max(means) + _REACH * scale))
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))
    root = stop_gradient((low + high) / 2)
    slope = jnp.sum(weights * norm.pdf(root[..., None], means, scale), axis=-1)
    return root - (below(root) - u) / stop_gradient(slope)
