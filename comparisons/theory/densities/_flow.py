"""Change of variables: with z = f(x) one to one, log q(x) = log q₀(z) + log |∂z/∂x|.

A flow is trained by maximum likelihood, which its Jacobian makes exact; draws go through f⁻¹.
References: Rezende & Mohamed (2015), ICML; Papamakarios et al. (2021), JMLR 22.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities._fitted import Fitted, from_training
from comparisons.theory.densities._networks import minimise, standard
from comparisons.theory.densities._quadrature import gradient
from models.programs.keys import key_of


class Flow(Protocol):
    """A map of one point onto one with independent standard normal coordinates."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        """The image, shape (2,), and log |∂z/∂x|."""
        ...

    def inverse(self, z: Array) -> Array:
        """The point whose image is z."""
        ...


def log_density(flow: Flow, x: Array) -> Array:
    """log q at one point."""
    z, log_jacobian = flow.forward(x)
    return -0.5 * jnp.sum(z**2) - jnp.log(2 * jnp.pi) + log_jacobian


def fit_flow(
    flow: Flow, data: np.ndarray, rng: np.random.Generator, *, updates: int, rate: float
) -> Fitted:
    """Maximum likelihood for a flow of standardised data.

    Args:
        flow: where training starts.
        data: shape (N, 2).
        rng: of the minibatches.
        updates: steps of Adam.
        rate: the first learning rate.

    Returns:
        The fitted law in the units of the data.
    """
    units = standard(data)

    def loss(flow: Flow, key: Array, x: Array) -> Array:
        return -jnp.mean(jax.vmap(lambda x: log_density(flow, x))(x))

    trained = minimise(loss, flow, units.to(data), rng, updates=updates, rate=rate)

    def pointwise(x: Array) -> Array:
        inside = jax.vmap(lambda x: log_density(trained.network, x))(units.to(x))
        return inside - units.log_volume

    invert = jax.jit(lambda z: jax.vmap(trained.network.inverse)(z))

    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        z = jax.random.normal(key_of(rng), (n, 2))
        return np.asarray(units.back(invert(z)))

    return from_training(
        "exact, change of variables",
        trained,
        log_density=pointwise,
        score=gradient(pointwise),
        sample=sample,
    )
