"""Reparameterised: x = T_θ(u) with u uniform, so that draws can be differentiated in θ.

T is Rosenblatt's map, coordinate by coordinate x_j = F_j⁻¹(u_j | x_1, …, x_{j−1}).  Given the first
coordinates a spherical mixture is one with other weights, so every F_j is a sum of normal ones; it
is inverted by bisection.  One Newton step from the root, which is itself held fixed,

    x = x* − [F_θ(x*) − u]/p_θ(x*),    gives    ∂x/∂θ = −(∂F_θ/∂θ)/p_θ,

the derivative of an implicit function, and polishes the root.
References: Rosenblatt (1952), Ann. Math. Statist. 23; Figurnov, Mohamed & Mnih (2018), NeurIPS.
"""

from functools import partial
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from comparisons.theory.sampling import Drawn, NormalMixture, Sampler
from models.programs.keys import key_of

BISECTIONS = 25  # halvings of the bracket; the Newton step squares what is left, below rounding
_REACH = 9.0  # standard deviations outside the outermost means at which the bracket ends


@final
class Reparameterised(Sampler):
    """Uniform numbers through Rosenblatt's map."""

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        shape = (runs, n, target.means.shape[1])
        uniform = jax.random.uniform(key_of(rng), shape)
        return Drawn(np.asarray(_mapped(target, uniform)), evaluations=BISECTIONS + 1)


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


_mapped = jax.jit(transport)


def _inverse(weights: Array, means: Array, scale: Array, u: Array) -> Array:
    fixed = partial(_distribution, *jax.lax.stop_gradient((weights, means, scale)))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        below = fixed(middle) < u
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low = jnp.full_like(u, jnp.min(means) - _REACH * scale)
    high = jnp.full_like(u, jnp.max(means) + _REACH * scale)
    ends = jax.lax.stop_gradient((low, high))
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, ends)
    root = (low + high) / 2
    slope = jnp.sum(weights * norm.pdf(root[..., None], means, scale), axis=-1)
    return root - (_distribution(weights, means, scale, root) - u) / jax.lax.stop_gradient(slope)


def _distribution(weights: Array, means: Array, scale: Array, x: Array) -> Array:
    return jnp.sum(weights * norm.cdf(x[..., None], means, scale), axis=-1)
