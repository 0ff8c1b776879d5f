"""Repeated sampling: simulate, fit, standard errors, for many data sets by functions compiled once.

One replicate is EM (where the model has it) and then Newton steps damped until they climb,

    u ← u + V (|Λ| + λ)⁻¹ Vᵀ ∇ℓ,   −∇²ℓ = V Λ Vᵀ,

and its standard errors come from the observed information at the end.  Replicates that have
converged leave the batch, so that few slow ones do not hold up the rest.  Streams depend on the
replicate's index alone, so batches of any size give the same numbers.
Reference: Nocedal & Wright (2006), Numerical Optimization, §3.4.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference._labels import canonical
from models._density import flatten, quantities, replicable
from models._errors import FitError
from models._spec import HasDegeneracy, HasEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from models._density import Density
    from models._spec import Model, Values

_EM_STEPS = 30
"""A Newton step costs about as much as 15 EM steps, and EM is no longer the faster one here."""
_STARTS = 4
"""Starts per replicate where the likelihood has several maxima; the highest end is kept."""
_NEWTON_STEPS = 30
"""Most Newton steps of a replicate."""
_AT_ONCE = 2
"""Newton steps between two looks at which replicates have converged."""
_BATCH = 50
"""Replicates per call: their intermediate arrays fit into the cache of one core."""
_STATIONARY = 1e-5
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
    # converted once, not once per replicate
    at = {name: np.asarray(array) for name, array in values.items()}
    template = model.simulate(streams[0], at, n)  # pyright: ignore[reportArgumentType]
    varying = tuple(str(name) for name, array in template.items() if array.dtype.kind == "f")
    stages = _compiled(model, n, _Template(template, varying))
    # the first stream was spent on the template, so each replicate draws from a child
    children = [stream.spawn(1)[0] for stream in streams]
    sets = [model.simulate(child, at, n) for child in children]  # pyright: ignore[reportArgumentType]
    best = _attempt(model, stages, varying, sets, children)
    for _ in range(_STARTS - 1 if isinstance(model, HasDegeneracy) else 0):
        other = _attempt(model, stages, varying, sets, children)
        # −∞ where the replicate has only met degenerate ends so far
        known = np.where(np.isfinite(best.height), best.height, 0.0)
        higher = other.height > best.height + 1e-9 * np.abs(known)
        for old, new in zip(best, other, strict=True):
            old[higher] = new[higher]
    chunks = np.split(np.arange(replicates), range(_BATCH, replicates, _BATCH))
    ends = [_padded(stages.finish, (_rows(best, chunk),)) for chunk in chunks]
    estimate, deviation = (np.concatenate(column) for column in zip(*ends, strict=True))
    return Replicates(estimate, deviation, best.decrement < _STATIONARY)


def _attempt(
    model: Model,
    stages: _Stages,
    varying: tuple[str, ...],
    sets: list[xr.Dataset],
    children: list[np.random.Generator],
) -> _State:
    """Where one start per replicate leads; degenerate ends have height −∞.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """

    def drawn(batch: range) -> tuple[tuple[np.ndarray, ...], Values]:
        starts = [model.start(children[index], sets[index]) for index in batch]
        columns = [[np.asarray(sets[index][name].data) for index in batch] for name in varying]
        arrays = tuple(np.stack(column) for column in columns)
        stacked = {name: np.stack([one[name] for one in starts]) for name in starts[0]}
        return arrays, jax.tree.map(jnp.asarray, stacked)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Python draws the next batch while the compiled function works on the last one
        waiting, inputs = [], []
        for b in range(0, len(sets), _BATCH):
            arrays, start = drawn(range(b, min(b + _BATCH, len(sets))))
            inputs.append(arrays)
            waiting.append(pool.submit(_padded, stages.begin, (arrays, start)))
        try:
            begun = [future.result() for future in waiting]
            arrays, state = jax.tree.map(
                lambda *parts: np.concatenate(parts), *zip(inputs, begun, strict=True)
            )
            # without EM the program is traced here for the first time
            _climb(stages, arrays, state, pool)
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
            raise FitError(
                f"{model.name} cannot be fitted to many data sets at once: its program must read "
                'the data as data["…"].data and compute with jax.numpy'
            ) from error
    if isinstance(model, HasDegeneracy):
        ends = jax.device_get(stages.constrain(state.u))
        for index, data in enumerate(sets):
            if model.degeneracy({name: array[index] for name, array in ends.items()}, data):
                state.height[index], state.decrement[index] = -np.inf, np.inf
    return state


def _climb(
    stages: _Stages, arrays: tuple[np.ndarray, ...], state: _State, pool: ThreadPoolExecutor
) -> None:
    """Newton steps, in place, of those replicates that have not converged."""
    going = np.arange(state.decrement.size)
    for _ in range(0, _NEWTON_STEPS, _AT_ONCE):
        going = going[~(state.decrement[going] < _STATIONARY)]
        if not going.size:
            return
        chunks = np.split(going, range(_BATCH, going.size, _BATCH))
        ends = pool.map(lambda chunk: _padded(stages.climb, _rows((arrays, state), chunk)), chunks)
        for chunk, end in zip(chunks, ends, strict=True):
            for old, new in zip(state, end, strict=True):
                old[chunk] = new


def _rows[T](tree: T, chunk: np.ndarray) -> T:
    return jax.tree.map(lambda array: array[chunk], tree)


def _padded(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Calls with a full batch, the last replicate repeated, so that nothing compiles twice."""
    size = jax.tree.leaves(arguments)[0].shape[0]
    full = jax.tree.map(
        lambda array: np.concatenate([array, np.repeat(array[-1:], _BATCH - size, axis=0)]),
        arguments,
    )
    return jax.tree.map(lambda array: array[:size], jax.device_get(function(*full)))


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


class _State(NamedTuple):
    """Where one replicate is: the derivatives of ℓ at u, and how far from stationary it is."""

    u: Any
    height: Any
    gradient: Any
    information: Any
    damping: Any
    decrement: Any
    """√(∇ℓᵀ J⁻¹ ∇ℓ), in standard errors; infinite where J is not positive definite."""


class _Stages(NamedTuple):
    """Batched and compiled."""

    begin: Callable[..., Any]
    """(arrays, start values) ↦ state after EM."""
    climb: Callable[..., Any]
    """(arrays, state) ↦ state after some Newton steps."""
    finish: Callable[..., Any]
    """state ↦ flat quantities and their standard errors."""
    constrain: Callable[..., Any]
    """u ↦ values of the parameters."""


@lru_cache(maxsize=16)
def _compiled(model: Model, n: int, template: _Template) -> _Stages:
    """The stages of one replicate, compiled for all of them."""
    of, log_likelihood = replicable(model, template.dataset)

    def derivatives(arrays: tuple[Array, ...], u: Array) -> tuple[Array, Array, Array]:
        data = template.filled(arrays)

        def slope(v: Array) -> tuple[Array, tuple[Array, Array]]:
            value, gradient = jax.value_and_grad(lambda w: jnp.sum(log_likelihood(data, w)))(v)
            return gradient, (value, gradient)

        hessian, (value, gradient) = jax.jacfwd(slope, has_aux=True)(u)
        return value, gradient, -hessian

    def start(arrays: tuple[Array, ...], values: Values) -> Array:
        u = of.unconstrain(values)
        return _em(model, of, template.filled(arrays), u) if isinstance(model, HasEM) else u

    def climb(arrays: tuple[Array, ...], state: _State) -> _State:
        return jax.lax.fori_loop(
            0, _AT_ONCE, lambda _, s: _newton(s, lambda u: derivatives(arrays, u)), state
        )

    begin = jax.jit(jax.vmap(lambda arrays, values: _state_at(start(arrays, values))))
    finish = jax.jit(jax.vmap(lambda state: _finish(model, of, state)))
    return _Stages(begin, jax.jit(jax.vmap(climb)), finish, jax.jit(jax.vmap(of.constrain)))


def _em(model: Any, of: Density, data: xr.Dataset, u: Array) -> Array:
    def step(_: int, v: Array) -> Array:
        return of.unconstrain(model.m_step(model.e_step(of.constrain(v), data), data))

    return jax.lax.fori_loop(0, _EM_STEPS, step, u)


def _state_at(u: Array) -> _State:
    """A state whose first step stays in place and only takes the derivatives."""
    k = u.size
    return _State(u, -jnp.inf, jnp.zeros(k), jnp.eye(k), jnp.zeros(()), jnp.inf)


def _newton(state: _State, derivatives: Callable[[Array], tuple[Array, Array, Array]]) -> _State:
    """One damped Newton step, kept unless it descends; a stationary point stays where it is."""
    eigenvalue, vector = jnp.linalg.eigh(state.information)
    size = jnp.abs(eigenvalue)
    curvature = size + state.damping * jnp.max(size) + 1e-12
    move = vector @ ((vector.T @ state.gradient) / curvature)
    move *= jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-12))
    u = state.u + move
    height, gradient, information = derivatives(u)
    better = height >= state.height - 1e-12 * jnp.abs(state.height)
    better |= jnp.isneginf(state.height)
    definite = jnp.linalg.eigvalsh(information)[0] > 0
    solved = jnp.linalg.solve(jnp.where(definite, information, jnp.eye(u.size)), gradient)
    decrement = jnp.where(definite, jnp.sqrt(jnp.abs(gradient @ solved)), jnp.inf)
    damping = jnp.where(better, state.damping * 0.1, jnp.maximum(state.damping * 10, 1e-3))
    new = _State(u, height, gradient, information, damping, decrement)
    old = state._replace(damping=damping)
    stays = state.decrement < _STATIONARY
    return jax.tree.map(
        lambda a, b, c: jnp.where(stays, c, jnp.where(better, a, b)), new, old, state
    )


def _finish(model: Model, of: Density, state: _State) -> tuple[Array, Array]:
    """Quantities and standard errors at the end of a climb."""

    def flat(v: Array) -> Array:
        return flatten(quantities(model, canonical(model, of.constrain(v))))

    definite = jnp.isfinite(state.decrement)
    covariance = jnp.linalg.inv(jnp.where(definite, state.information, jnp.eye(state.u.size)))
    jacobian = jax.jacfwd(flat)(state.u)
    deviation = jnp.sqrt(jnp.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))
    return flat(state.u), deviation
