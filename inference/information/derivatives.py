"""Derivatives of a density: its objectives, the scores of its units, the quantities it reports.

likelihood  ℓ(u)
joint       ℓ(u) + log π(θ(u))
posterior   ℓ(u) + log π(θ(u)) + log |∂θ/∂u|
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.compilation import once
from models.programs.density import Density, flatten, quantities
from models.programs.differentiation import hessian, jacobian
from models.spec import Model

type Objective = Literal["likelihood", "joint", "posterior"]


class Derivatives(NamedTuple):
    """Compiled derivatives of one objective of a density, all functions of u."""

    value_and_gradient: Callable[[Array], tuple[Array, Array]]
    hessian: Callable[[Array], Array]


def value(target: Density, objective: Objective, u: Array) -> Array:
    """An objective, a scalar in nats; traceable."""
    total = jnp.sum(target.log_likelihood(u))
    if objective != "likelihood":
        total += target.log_prior(u)
    return total + target.log_jacobian(u) if objective == "posterior" else total


@lru_cache(maxsize=64)
def derivatives(target: Density, objective: Objective) -> Derivatives:
    """Value, gradient and Hessian of an objective; all objectives share one compiled program."""
    weights = _WEIGHTS[objective]
    return Derivatives(*(partial(compiled, weights) for compiled in _weighted(target)))


_WEIGHTS = {
    "likelihood": np.array([0.0, 0.0]),
    "joint": np.array([1.0, 0.0]),
    "posterior": np.array([1.0, 1.0]),
}


@lru_cache(maxsize=64)
def _weighted(target: Density) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The derivatives of ℓ, and of log π and log-Jacobian where w ≠ 0: one program for all."""

    def weighted(weights: Array, u: Array) -> Array:
        total = jnp.sum(target.log_likelihood(u))
        for weight, term in zip(weights, (target.log_prior, target.log_jacobian), strict=True):
            # not 0 times the term, which is NaN outside the support of a prior
            total += jax.lax.cond(weight != 0, term, lambda _: jnp.zeros(()), u)
        return total

    slope, curvature = jax.value_and_grad(weighted, argnums=1), hessian(weighted, argnums=1)
    return jax.jit(slope), jax.jit(curvature)


@lru_cache(maxsize=64)
def scores(target: Density) -> Callable[[Array], Array]:
    """u ↦ the score of every unit, shape (N, k); not for use within another `jax.jit`."""
    return once(jacobian(target.log_likelihood))


@lru_cache(maxsize=64)
def quantity_jacobian(model: Model, target: Density) -> Callable[[Array], Array]:
    """u ↦ ∂(reported quantities)/∂u, shape (m, k)."""
    return jax.jit(jax.jacfwd(lambda u: flatten(quantities(model, target.constrain(u)))))
