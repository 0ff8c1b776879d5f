"""Repeated sampling: simulate, fit, standard errors, for many data sets by functions compiled once.

One replicate is EM (where the model has it) and then Newton steps damped until they climb,

    u ← u + V (|Λ| + λ)⁻¹ Vᵀ ∇ℓ,   −∇²ℓ = V Λ Vᵀ,

and its standard errors come from the observed information at the end.  A further start is given up
as soon as EM has led it to the maximum that is known already.  Replicates that have converged
leave the batch, so that few slow ones do not hold up the rest.  Streams depend on the replicate's
index alone, so batches of any size give the same numbers.
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

_EM_STEPS = 60
"""Most EM steps of a start: a Newton step costs about 30, and by then it is the faster one."""
_EM_AT_ONCE = 6
"""EM steps between two looks at where they have led."""
_EM_STEP = 0.1
"""EM step in the chart, in units of 1/√N, below which Newton's method goes on."""
_KNOWN = 1.0
"""Distance from a known maximum, in standard errors, at which a start is taken to lead to it."""
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
    best = _attempt(model, stages, varying, sets, children, None)
    for _ in range(_STARTS - 1 if isinstance(model, HasDegeneracy) else 0):
        other = _attempt(model, stages, varying, sets, children, best)
        # −∞ where the replicate has only met degenerate ends so far
        known = np.where(np.isfinite(best.height), best.height, 0.0)
        higher = other.height > best.height + 1e-9 * np.abs(known)
        for old, new in zip(best, other, strict=True):
            old[higher] = new[higher]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        estimate, deviation = _everywhere(stages.finish, (best,), np.arange(replicates), pool)
    return Replicates(estimate, deviation, best.decrement < _STATIONARY)


def _attempt(
    model: Model,
    stages: _Stages,
    varying: tuple[str, ...],
    sets: list[xr.Dataset],
    children: list[np.random.Generator],
    best: _State | None,
) -> _State:
    """Where one start per replicate leads; degenerate ends and known ones have height −∞.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    starts = [model.start(child, data) for child, data in zip(children, sets, strict=True)]
    stacked = {name: np.stack([one[name] for one in starts]) for name in starts[0]}
    arrays = tuple(np.stack([np.asarray(data[name].data) for data in sets]) for name in varying)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            u = _everywhere(stages.unconstrain, (stacked,), np.arange(len(sets)), pool)
            new = np.ones(len(sets), bool)
            if isinstance(model, HasEM):
                new = _expectation_maximisation(stages, arrays, u, best, pool)
            state = _state_at(u)
            state.decrement[~new] = 0.0
            # without EM the program is traced here for the first time
            _climb(stages, arrays, state, pool)
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
            raise FitError(
                f"{model.name} cannot be fitted to many data sets at once: its program must read "
                'the data as data["…"].data and compute with jax.numpy'
            ) from error
    if isinstance(model, HasDegeneracy):
        ends = jax.device_get(stages.constrain(state.u))
        for index in np.flatnonzero(new):
            values = {name: array[index] for name, array in ends.items()}
            if model.degeneracy(values, sets[index]):
                state.height[index], state.decrement[index] = -np.inf, np.inf
    return state


def _expectation_maximisation(
    stages: _Stages,
    arrays: tuple[np.ndarray, ...],
    u: np.ndarray,
    best: _State | None,
    pool: ThreadPoolExecutor,
) -> np.ndarray:
    """EM, in place, until Newton's method is faster; says which starts lead to no known maximum."""
    new = np.ones(u.shape[0], bool)
    going = np.arange(u.shape[0])
    for _ in range(0, _EM_STEPS, _EM_AT_ONCE):
        u[going], step = _everywhere(stages.em, (arrays, u), going, pool)
        if best is not None:
            away = u[going] - best.u[going]
            square = np.einsum("ri,rij,rj->r", away, best.information[going], away)
            known = (best.decrement[going] < _STATIONARY) & (square < _KNOWN**2)
            new[going[known]] = False
            going = going[~known]
        else:
            going = going[~(step < _EM_STEP)]
        if not going.size:
            break
    return new


def _climb(
    stages: _Stages, arrays: tuple[np.ndarray, ...], state: _State, pool: ThreadPoolExecutor
) -> None:
    """Newton steps, in place, of those replicates that have not converged."""
    going = np.arange(state.decrement.size)
    for _ in range(0, _NEWTON_STEPS, _AT_ONCE):
        going = going[~(state.decrement[going] < _STATIONARY)]
        if not going.size:
            return
        end = _everywhere(stages.climb, (arrays, state), going, pool)
        for old, new in zip(state, end, strict=True):
            old[going] = new


def _everywhere(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rows: np.ndarray,
    pool: ThreadPoolExecutor,
) -> Any:
    """A batched function of some replicates, a batch at a time, all cores at work."""

    def one(chunk: np.ndarray) -> Any:
        return _padded(function, jax.tree.map(lambda array: array[chunk], arguments))

    chunks = np.split(rows, range(_BATCH, rows.size, _BATCH))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pool.map(one, chunks))


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

    unconstrain: Callable[..., Any]
    """Start values ↦ u."""
    em: Callable[..., Any]
    """(arrays, u) ↦ u after some EM steps, and the size of the last one in units of 1/√N."""
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

    def em(arrays: tuple[Array, ...], u: Array) -> tuple[Array, Array]:
        data = template.filled(arrays)

        def step(_: int, path: tuple[Array, Array]) -> tuple[Array, Array]:
            v = path[0]
            values = model.m_step(model.e_step(of.constrain(v), data), data)  # pyright: ignore[reportAttributeAccessIssue]
            return of.unconstrain(canonical(model, values)), v

        last, before = jax.lax.fori_loop(0, _EM_AT_ONCE, step, (u, u))
        return last, jnp.sqrt(float(n)) * jnp.max(jnp.abs(last - before))

    def climb(arrays: tuple[Array, ...], state: _State) -> _State:
        return jax.lax.fori_loop(
            0, _AT_ONCE, lambda _, s: _newton(s, lambda u: derivatives(arrays, u)), state
        )

    finish = jax.jit(jax.vmap(lambda state: _finish(model, of, state)))
    return _Stages(
        jax.jit(jax.vmap(of.unconstrain)),
        jax.jit(jax.vmap(em)),
        jax.jit(jax.vmap(climb)),
        finish,
        jax.jit(jax.vmap(of.constrain)),
    )


def _state_at(u: np.ndarray) -> _State:
    """States whose first step stays in place and only takes the derivatives."""
    count, k = u.shape
    information = np.tile(np.eye(k), (count, 1, 1))
    unknown = np.full(count, np.inf)
    return _State(u, -unknown, np.zeros((count, k)), information, np.zeros(count), unknown)


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
