"""The computations of one replicate, batched over many and compiled for data sets of one shape.

A replicate is its measured variables, `arrays`, and a point u of the unconstrained space of the
NumPyro program.  Each stage is compiled when it is first asked for.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from inference.information.derivatives import Objective
from inference.information.inversion import on_boundary
from inference.information.matrices import declared
from inference.optimisation.newton import Point, damped_step, look
from inference.posterior.labels import canonical
from inference.replicates.simulated import Batch, Template
from models.capabilities import HasExpectedInformation
from models.programs.density import flatten, quantities, replicable
from models.spec import Model

STATIONARY = 1e-5
"""Newton decrement, in standard errors, below which a replicate has converged."""
EM_AT_ONCE = 6
"""EM steps between two looks at where they have led."""
NEWTON_AT_ONCE = 2
"""Newton steps between two looks at which replicates have converged."""
_OBJECTIVES: tuple[Objective, ...] = ("likelihood", "joint", "posterior")
_FEW = 3
"""Coordinates up to which gradients are taken forwards, which keeps no array of the data's size."""


def batched(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one replicate, compiled for many."""
    return jax.jit(jax.vmap(function))


@final
class Stages:
    """The stages of replicates of n units each; unless it says so, for arrays of many of them.

    Attributes:
        model: the model.
        target: its density on the template.
    """

    def __init__(self, model: Model, n: int, template: Template) -> None:
        self.model, self._n, self._template = model, n, template
        self.target, self._log_likelihood = replicable(model, template.dataset)

    def units(self, arrays: tuple[Array, ...], u: Array) -> Array:
        """log p(x_i | θ(u)) of one replicate, shape (n,); traceable."""
        return self._log_likelihood(self._template.filled(arrays), u)

    def value(self, objective: Objective, arrays: tuple[Array, ...], u: Array) -> Array:
        """An objective of one replicate; traceable."""
        total = jnp.sum(self.units(arrays, u))
        if objective != "likelihood":
            total += self.target.log_prior(u)
        return total + self.target.log_jacobian(u) if objective == "posterior" else total

    def reported(self, u: Array) -> Array:
        """The flat quantities of one point, shape (m,); traceable."""
        return flatten(quantities(self.model, canonical(self.model, self.target.constrain(u))))

    def _slopes(
        self, objective: Objective, arrays: tuple[Array, ...], u: Array
    ) -> tuple[Array, Array, Array]:
        """An objective, its gradient and minus its Hessian."""
        at = partial(self.value, objective, arrays)

        def slope(v: Array) -> tuple[Array, tuple[Array, Array]]:
            if v.size <= _FEW:
                gradient, value = jax.jacfwd(lambda w: (at(w),) * 2, has_aux=True)(v)
            else:
                value, gradient = jax.value_and_grad(at)(v)
            return gradient, (value, gradient)

        hessian, (value, gradient) = jax.jacfwd(slope, has_aux=True)(u)
        return value, gradient, -hessian

    @cached_property
    def unconstrain(self) -> Callable[..., Any]:
        """Values of the parameters ↦ u."""
        return batched(self.target.unconstrain)

    @cached_property
    def constrain(self) -> Callable[..., Any]:
        """Points u ↦ values of the parameters."""
        return batched(self.target.constrain)

    @cached_property
    def flat(self) -> Callable[..., Any]:
        """Several points of each replicate, (R, S, k) ↦ flat quantities of each, (R, S, m)."""
        return batched(jax.vmap(self.reported))

    @cached_property
    def log_likelihood(self) -> Callable[..., Any]:
        """(arrays, u) ↦ ℓ(u)."""
        return batched(partial(self.value, "likelihood"))

    @cached_property
    def score(self) -> Callable[..., Any]:
        """(arrays, u) ↦ ∇ℓ(u)."""
        return batched(jax.grad(partial(self.value, "likelihood"), argnums=1))

    @cached_property
    def log_posteriors(self) -> Callable[..., Any]:
        """(arrays, points) ↦ log posterior at several points of each, unnormalised."""

        def one(arrays: tuple[Array, ...], points: Array) -> Array:
            return jax.lax.map(partial(self.value, "posterior", arrays), points, batch_size=20)

        return batched(one)

    @cached_property
    def em(self) -> Callable[..., Any]:
        """(arrays, u) ↦ u after some EM steps, and the size of the last one in units of 1/√N."""
        model: Any = self.model

        def one(arrays: tuple[Array, ...], u: Array) -> tuple[Array, Array]:
            data = self._template.filled(arrays)

            def step(_: int, path: tuple[Array, Array]) -> tuple[Array, Array]:
                values = model.m_step(model.e_step(self.target.constrain(path[0]), data), data)
                return self.target.unconstrain(canonical(model, values)), path[0]

            last, before = jax.lax.fori_loop(0, EM_AT_ONCE, step, (u, u))
            return last, jnp.sqrt(float(self._n)) * jnp.max(jnp.abs(last - before))

        return batched(one)

    @cached_property
    def climb(self) -> dict[Objective, Callable[..., Any]]:
        """By objective, (arrays, point) ↦ point after some Newton steps."""

        def one(objective: Objective, arrays: tuple[Array, ...], point: Point) -> Point:
            slopes = partial(self._slopes, objective, arrays)

            def going(path: tuple[Array, Point]) -> Array:
                return (path[0] < NEWTON_AT_ONCE) & ~(path[1].decrement < STATIONARY)

            def step(path: tuple[Array, Point]) -> tuple[Array, Point]:
                return path[0] + 1, damped_step(path[1], slopes)

            return jax.lax.while_loop(going, step, (jnp.asarray(0), point))[1]

        return {name: batched(partial(one, name)) for name in _OBJECTIVES}

    @cached_property
    def formula(self) -> Callable[..., Any]:
        """Arrays ↦ the point of the closed-form maximum, and its `finish`."""
        model: Any = self.model

        def one(arrays: tuple[Array, ...]) -> tuple[Point, tuple[Array, Array]]:
            values = model.maximum_likelihood(self._template.filled(arrays))
            u = self.target.unconstrain(canonical(model, values))
            end = look(u, partial(self._slopes, "likelihood", arrays))
            return end, self._finish(end)

        return batched(one)

    @cached_property
    def finish(self) -> Callable[..., Any]:
        """A point ↦ flat quantities and their standard errors."""
        return batched(self._finish)

    def _finish(self, point: Point) -> tuple[Array, Array]:
        definite = jnp.isfinite(point.decrement)
        factor = jnp.linalg.cholesky(jnp.where(definite, point.information, jnp.eye(point.u.size)))
        jacobian = jax.jacfwd(self.reported)(point.u)
        squares = solve_triangular(factor, jacobian.T, lower=True) ** 2
        errors = jnp.where(definite, jnp.sqrt(jnp.sum(squares, axis=0)), jnp.nan)
        return self.reported(point.u), errors

    @cached_property
    def errors(self) -> Callable[..., Any]:
        """(arrays, u, J) ↦ standard errors by J⁻¹, outer product, sandwich, and N·I, (c, m)."""

        def one(arrays: tuple[Array, ...], u: Array, information: Array) -> Array:
            score = jax.jacfwd(lambda v: self.units(arrays, v))(u)
            outer = score.T @ score
            inverse = jnp.linalg.inv(information)
            jacobian = jax.jacfwd(self.reported)(u)
            covariances = [inverse, jnp.linalg.inv(outer), inverse @ outer @ inverse]
            if isinstance(self.model, HasExpectedInformation):
                data = self._template.filled(arrays)
                covariances.append(jnp.linalg.inv(declared(self.model, data, self.target, u)))
            stacked = jnp.stack(covariances)
            return jnp.sqrt(jnp.einsum("mi,cij,mj->cm", jacobian, stacked, jacobian))

        return batched(one)

    @cached_property
    def leave_one_out(self) -> Callable[..., Any]:
        """(arrays, points, weights) ↦ Σ_i log p(x_i | x_{−i})."""

        def one(arrays: tuple[Array, ...], points: Array, weights: Array) -> Array:
            zero = jnp.full(self._n, -jnp.inf)

            def sums(log_cut: Array | float) -> tuple[Array, Array]:
                """Logarithms of Σ w_i and Σ p(x_i | θ) w_i."""

                def add(logs: tuple[Array, Array], draw: tuple[Array, Array]) -> tuple[Any, None]:
                    u, weight = draw
                    log_p = self.units(arrays, u)
                    own = jnp.minimum(jnp.log(weight) - log_p, log_cut)
                    return (jnp.logaddexp(logs[0], own), jnp.logaddexp(logs[1], own + log_p)), None

                return jax.lax.scan(add, (zero, zero), (points, weights))[0]

            # twice over the draws, since S × n likelihoods of every replicate are not kept
            weight, predictive = sums(sums(jnp.inf)[0] - 0.5 * jnp.log(len(points)))
            # a draw under which a unit is impossible has an infinite weight
            return jnp.sum(jnp.where(jnp.isfinite(weight), predictive - weight, -jnp.inf))

        return batched(one)

    def boundary(self, information: np.ndarray) -> np.ndarray:
        """Which replicates have coordinates that ran to a boundary, shape (R,)."""
        return on_boundary(self.model, self.target, information).any(axis=1)


_stages = lru_cache(maxsize=16)(Stages)


def compiled(model: Model, batch: Batch) -> Stages:
    """The stages for data sets shaped like those of a batch."""
    return _stages(model, batch.n, batch.shape)
