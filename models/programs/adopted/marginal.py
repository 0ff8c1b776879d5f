"""The likelihood with latent variables z integrated out by Laplace's method.

    log p(x | θ) ≈ log p(x, ẑ | θ) + (m/2) log 2π − ½ log |H|,    H = −∂² log p(x, z | θ)/∂z² at ẑ,

with ẑ(θ) the mode in the unconstrained coordinates of z.  Exact where the latent variables are
Gaussian given data and θ, H then being constant.  The mode is found by Newton steps without
derivatives; two further steps that are differentiated carry the first and second derivatives of
ẑ(θ), by the implicit function theorem.
Reference: Tierney & Kadane (1986), JASA 81; Kristensen et al. (2016), J. Stat. Software 70(5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.programs.adopted.program import UserProgram, total

_STEPS = 100
_TOLERANCE = 1e-10
_HALVINGS = 12


@final
class LaplaceMarginal:
    """log p(x | θ) of a program, with some of its variables integrated out.

    Attributes:
        names: the parameters that are left.
        coordinates: which coordinates of the program are theirs, shape (k,).
    """

    def __init__(
        self,
        program: UserProgram,
        latent: tuple[str, ...],
        likelihood: Callable[[Array], Array],
    ) -> None:
        """Splits the coordinates.

        Args:
            program: the program.
            latent: the variables to integrate over.
            likelihood: u ↦ log p(x | z, θ), a scalar.
        """
        self._program, self._latent, self._likelihood = program, latent, likelihood
        of = np.array(program.coordinates)
        self.names = tuple(name for name in program.names if name not in latent)
        self.coordinates = np.flatnonzero(~np.isin(of, latent))
        self._inner = np.flatnonzero(np.isin(of, latent))

    def whole(self, theta: Array, z: Array) -> Array:
        """All coordinates of the program, of those of parameters and of latent variables."""
        u = jnp.zeros(self._program.size).at[self.coordinates].set(theta)
        return u.at[self._inner].set(z)

    def _joint(self, z: Array, theta: Array) -> Array:
        """log p(x, z | θ) in the coordinates of z, a scalar."""
        u = self.whole(theta, z)
        terms = self._program.at(u)
        own = (terms.prior, terms.jacobians)
        priors = sum(jnp.sum(group[name]) for group in own for name in self._latent)
        return self._likelihood(u) + priors

    def mode(self, theta: Array) -> Array:
        """ẑ(θ), differentiable twice."""
        slope, curvature = jax.grad(self._joint), jax.hessian(self._joint)
        halvings = 0.5 ** jnp.arange(_HALVINGS)

        def climb(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            z, value, count, _ = state
            values, vectors = jnp.linalg.eigh(-curvature(z, theta))
            step = vectors @ ((vectors.T @ slope(z, theta)) / jnp.maximum(jnp.abs(values), 1e-8))
            tried = jax.vmap(lambda a: self._joint(z + a * step, theta))(halvings)
            tried = jnp.where(jnp.isfinite(tried), tried, -jnp.inf)
            best = jnp.argmax(tried)
            rises = tried[best] > value
            moved = jnp.where(rises, jnp.max(jnp.abs(halvings[best] * step)), 0.0)
            z = jnp.where(rises, z + halvings[best] * step, z)
            return z, jnp.where(rises, tried[best], value), count + 1, moved

        first = jnp.zeros(self._inner.size)
        state = first, self._joint(first, theta), jnp.asarray(0), jnp.asarray(jnp.inf)
        end = jax.lax.while_loop(lambda s: (s[3] > _TOLERANCE) & (s[2] < _STEPS), climb, state)
        z = jax.lax.stop_gradient(end[0])
        for _ in range(2):
            z = z - jnp.linalg.solve(curvature(z, theta), slope(z, theta))
        return z

    def log_likelihood(self, theta: Array) -> Array:
        """log p(x | θ), a scalar in nats; NaN where ẑ is no maximum."""
        z = self.mode(theta)
        sign, log_determinant = jnp.linalg.slogdet(-jax.hessian(self._joint)(z, theta))
        value = self._joint(z, theta) + (z.size * jnp.log(2 * jnp.pi) - log_determinant) / 2
        return jnp.where(sign > 0, value, jnp.nan)

    def log_prior(self, theta: Array) -> Array:
        """log π(θ) on the natural scale, a scalar."""
        terms = self._program.at(self.whole(theta, jnp.zeros(self._inner.size)))
        return total({name: terms.prior[name] for name in self.names})
