"""Repeated sampling: simulate, fit, standard errors, for many data sets in one compiled function.

One replicate is EM (where the model has it) and then Newton steps damped until they climb,

    u ← u + V (|Λ| + λ)⁻¹ Vᵀ ∇ℓ,   −∇²ℓ = V Λ Vᵀ,

and its standard errors come from the observed information at the end.  Streams depend on the
replicate's index alone, so batches of any size give the same numbers.
Reference: Nocedal & Wright (2006), Numerical Optimization, §3.4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from models._density import flatten, quantities, replicable
from models._errors import FitError
from models._spec import HasEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from models._density import Density
    from models._spec import Model, Values

_EM_STEPS = 60
_NEWTON_STEPS = 25
_BATCH = 100
_ENOUGH = 1e-3
"""Newton decrement, in standard errors, whose square no one would notice."""
_STATIONARY = 1e-4
"""Newton decrement, in standard errors, below which a replicate has converged."""


class Replicates(NamedTuple):
    """Maximum-likelihood fits of simulated data sets; R replicates, m flat quantities."""

    estimate: np.ndarray
    """Shape (R, m)."""
    standard_error: np.ndarray
    """From the observed information, shape (R, m)."""
    converged: np.ndarray
    """Boolean, shape (R,): stationary and with a positive definite information."""


def replicate(
    model: Model, values: Values, n: int, replicates: int, rng: np.random.Generator
) -> Replicates:
    """Fits `replicates` data sets of `n` units simulated at `values`.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    streams = rng.spawn(replicates)
    template = model.simulate(streams[0], values, n)
    varying = [str(name) for name, array in template.items() if array.dtype.kind == "f"]
    fit = _compiled(model, n, _Template(template, tuple(varying)))
    parts = []
    for begin in range(0, replicates, _BATCH):
        batch = streams[begin : begin + _BATCH]
        parts.append(_fit_batch(model, values, n, batch, varying, fit))
    return Replicates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _fit_batch(
    model: Model,
    values: Values,
    n: int,
    streams: list[np.random.Generator],
    varying: list[str],
    fit: Callable[..., Any],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sets, starts = [], []
    for stream in streams:
        # the first stream was spent on the template, so each replicate draws from a child
        child = stream.spawn(1)[0]
        data = model.simulate(child, values, n)
        sets.append([np.asarray(data[name].data) for name in varying])
        starts.append(model.start(child, data))
    arrays = tuple(np.stack(column) for column in zip(*sets, strict=True))
    start = {name: np.stack([one[name] for one in starts]) for name in starts[0]}
    try:
        return tuple(np.asarray(part) for part in fit(arrays, start))  # pyright: ignore[reportReturnType]
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise FitError(
            f"{model.name} cannot be fitted to many data sets at once: its program must read the "
            'data as data["…"].data and compute with jax.numpy'
        ) from error


class _Template:
    """A data set that stands for all sets of its shape, hashable by model and size."""

    def __init__(self, dataset: xr.Dataset, varying: tuple[str, ...]) -> None:
        self.dataset = dataset
        self.varying = varying

    def __hash__(self) -> int:
        return hash(self.varying)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Template) and self.dataset.sizes == other.dataset.sizes

    def filled(self, arrays: tuple[Array, ...]) -> xr.Dataset:
        """The set with the varying variables replaced."""
        new = {
            name: (self.dataset[name].dims, array)
            for name, array in zip(self.varying, arrays, strict=True)
        }
        fixed = {
            str(name): (array.dims, array.data)
            for name, array in self.dataset.items()
            if name not in self.varying
        }
        return xr.Dataset({**new, **fixed})


@lru_cache(maxsize=16)
def _compiled(model: Model, n: int, template: _Template) -> Callable[..., Any]:
    """(arrays, start values) ↦ estimates, standard errors, converged; batched and compiled."""
    of, log_likelihood = replicable(model, template.dataset)

    def one(arrays: tuple[Array, ...], start: Values) -> tuple[Array, Array, Array]:
        data = template.filled(arrays)
        u = of.unconstrain(start)
        if isinstance(model, HasEM):
            u = _em(model, of, data, u)

        def height(v: Array) -> Array:
            return jnp.sum(log_likelihood(data, v))

        return _finish(model, of, height, _climb(height, u))

    return jax.jit(jax.vmap(one))


def _em(model: Any, of: Density, data: xr.Dataset, u: Array) -> Array:
    def step(_: int, v: Array) -> Array:
        return of.unconstrain(model.m_step(model.e_step(of.constrain(v), data), data))

    return jax.lax.fori_loop(0, _EM_STEPS, step, u)


def _climb(height: Callable[[Array], Array], u: Array) -> Array:
    """Damped Newton steps, none of which descends, until the Newton decrement is negligible."""
    gradient, hessian = jax.grad(height), jax.hessian(height)

    def going(carry: tuple[Array, ...]) -> Array:
        _, _, _, decrement, count = carry
        return (decrement > _ENOUGH) & (count < _NEWTON_STEPS)

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        v, best, damping, _, count = carry
        eigenvalue, vector = jnp.linalg.eigh(-hessian(v))
        curvature = jnp.abs(eigenvalue) + damping * jnp.max(jnp.abs(eigenvalue)) + 1e-12
        along = vector.T @ gradient(v)
        move = vector @ (along / curvature)
        move *= jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-12))
        new = v + move
        value = height(new)
        better = value >= best - 1e-12 * jnp.abs(best)
        # the decrement before this step; the step squares it
        decrement = jnp.sqrt(jnp.sum(along**2 / jnp.abs(eigenvalue)))
        return (
            jnp.where(better, new, v),
            jnp.where(better, value, best),
            jnp.where(better, damping * 0.1, jnp.maximum(damping * 10, 1e-3)),
            jnp.where((eigenvalue[0] > 0) & better, decrement, jnp.inf),
            count + 1,
        )

    start = (u, height(u), jnp.zeros(()), jnp.asarray(jnp.inf), jnp.zeros((), int))
    return jax.lax.while_loop(going, step, start)[0]


def _finish(
    model: Model, of: Density, height: Callable[[Array], Array], u: Array
) -> tuple[Array, Array, Array]:
    """Quantities, standard errors and convergence at the end of a climb."""
    gradient, information = jax.grad(height)(u), -jax.hessian(height)(u)

    def flat(v: Array) -> Array:
        return flatten(quantities(model, of.constrain(v)))

    definite = jnp.linalg.eigvalsh(information)[0] > 0
    covariance = jnp.linalg.inv(jnp.where(definite, information, jnp.eye(u.size)))
    jacobian = jax.jacfwd(flat)(u)
    deviation = jnp.sqrt(jnp.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))
    decrement = jnp.sqrt(gradient @ covariance @ gradient)
    return flat(u), deviation, definite & (decrement < _STATIONARY)
