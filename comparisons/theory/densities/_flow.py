"""Change of variables: with z = f(x) one to one, log q(x) = log q₀(z) + log |∂z/∂x|.

A flow is trained by maximum likelihood, which its Jacobian makes exact; draws go through f⁻¹.
References: Rezende & Mohamed (2015), ICML; Papamakarios et al. (2021), JMLR 22.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

ACCESS = "exact, change of variables"


class Flow(eqx.Module):
    """A map of one point onto one with independent standard normal coordinates."""

    @abstractmethod
    def forward(self, x: Array) -> tuple[Array, Array]:
        """The image, shape (2,), and log |∂z/∂x|."""

    @abstractmethod
    def inverse(self, z: Array) -> Array:
        """The point whose image is z."""

    def log_density(self, x: Array) -> Array:
        """log q at one point."""
        z, log_jacobian = self.forward(x)
        return -0.5 * jnp.sum(z**2) - jnp.log(2 * jnp.pi) + log_jacobian

    def draws(self, key: Array, n: int) -> Array:
        """Independent draws, shape (n, 2)."""
        return jax.vmap(lambda z: self.inverse(z))(jax.random.normal(key, (n, 2)))
