"""Repeated sampling: simulate, fit, standard errors, for many data sets by functions compiled once.

One replicate is EM (where the model has it) and then Newton steps damped until they climb,

    u ← u + V (|Λ| + λ)⁻¹ Vᵀ ∇ℓ,   −∇²ℓ = V Λ Vᵀ,

and its standard errors come from the observed information at the end.  An end on a boundary, such
as a variance of 0, has none and counts as not converged.  A further start is given up
as soon as EM has led it to the maximum that is known already.  Replicates that have converged
leave the batch, so that few slow ones do not hold up the rest.  Streams depend on the seed, n and
the replicate's index alone, so batches of any size give the same numbers.  Posteriors of replicates
are Laplace's, and exact ones by importance sampling about the mode.
References: Nocedal & Wright (2006), Numerical Optimization, §3.4; Geweke (1989), Econometrica 57.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from inference.information.inversion import on_boundary
from inference.information.matrices import declared
from inference.posterior.labels import canonical
from inference.replicates.everywhere import everywhere
from inference.threads import pool as threads
from models.capabilities import HasClosedFormMaximum, HasDegeneracy, HasEM, HasExpectedInformation
from models.errors import FitError
from models.programs.density import flatten, quantities, replicable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from jax import Array

    from inference.information.derivatives import Objective
    from inference.replicates.simulated import Batch, Template
    from models.spec import Model, Values

OBJECTIVES: tuple[Objective, ...] = ("likelihood", "joint", "posterior")

_EM_STEPS = 60
"""Most EM steps of a start: a Newton step costs about 30, and by then it is the faster one."""
_EM_AT_ONCE = 6
"""EM steps between two looks at where they have led."""
_EM_STEP = 0.1
"""EM step in the chart, in units of 1/√N, below which Newton's method goes on."""
_EM_ALONE = 3_000
"""Most steps of EM where nothing takes over from it."""
_EM_END = 1e-4
"""EM step in the chart, in units of 1/√N, at which EM alone ends."""
_KNOWN = 1.0
"""Distance from a known maximum, in standard errors, at which a start is taken to lead to it."""
_STARTS = 4
"""Starts per replicate where the likelihood has several maxima; the highest end is kept."""
_FEW = 3
"""Coordinates up to which gradients are taken forwards, which keeps no array of the data's size."""
_NEWTON_STEPS = 30
"""Most Newton steps of a replicate."""
_AT_ONCE = 2
"""Newton steps between two looks at which replicates have converged."""
_FORMULAS = 125
"""Most replicates per call of a closed form: none waits for others that take more steps."""
_STATIONARY = 1e-5
"""Newton decrement, in standard errors, below which a replicate has converged."""


_FREEDOM = 5.0
"""Degrees of freedom of the law that proposes posterior draws."""
_WORTH = 0.1
"""Least effective share of weighted draws."""


class Replicates(NamedTuple):
    """Maximum-likelihood fits of simulated data sets; R replicates, m flat quantities."""

    estimate: np.ndarray
    """Shape (R, m)."""
    standard_error: np.ndarray
    """From the observed information, shape (R, m)."""
    converged: np.ndarray
    """Boolean, shape (R,): stationary, with a positive definite information, on no boundary."""
    log_likelihood: np.ndarray
    """At the maximum, nats, shape (R,)."""
    u: np.ndarray
    """The maximum in the unconstrained chart, shape (R, k)."""
    information: np.ndarray
    """J there, shape (R, k, k)."""


def replicate(model: Model, batch: Batch) -> Replicates:
    """Fits every data set of a batch by maximum likelihood.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    if isinstance(model, HasClosedFormMaximum):
        return _confirmed(model, batch)
    best = _attempt(model, batch, starts(model, batch), None)
    for _ in range(_STARTS - 1 if isinstance(model, HasDegeneracy) else 0):
        other = _attempt(model, batch, starts(model, batch), best)
        # −∞ where the replicate has only met degenerate ends so far
        known = np.where(np.isfinite(best.height), best.height, 0.0)
        higher = other.height > best.height + 1e-9 * np.abs(known)
        for old, new in zip(best, other, strict=True):
            old[higher] = new[higher]
    return _finished(model, batch, best)


def maximised(model: Model, batch: Batch, u: np.ndarray) -> Replicates:
    """Where one start leads in every data set of a batch, by EM and Newton's method.

    Args:
        model: the model.
        batch: the data sets.
        u: where to begin, shape (R, k), in the chart.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    return _finished(model, batch, _attempt(model, batch, np.array(u), None))


def climbed(
    model: Model, batch: Batch, u: np.ndarray, objective: Objective
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where Newton steps lead from given points, all replicates at once.

    Args:
        model: the model.
        batch: the data sets.
        u: where to begin, shape (R, k), in the chart.
        objective: what to climb.

    Returns:
        The optima, shape (R, k), minus the Hessians there, and which of them converged.
    """
    state = _state_at(np.array(u))
    with threads() as pool:
        _climb(compiled(model, batch).climb[objective], batch.arrays, state, pool)
    return state.u, state.information, _converged(compiled(model, batch), state)


def starts(model: Model, batch: Batch) -> np.ndarray:
    """A data-driven start of each replicate in the chart, shape (R, k)."""
    pairs = zip(batch.streams, batch.sets, strict=True)
    values = [model.start(rng, data) for rng, data in pairs]
    stacked = {name: np.stack([one[name] for one in values]) for name in values[0]}
    with threads() as pool:
        unconstrain = compiled(model, batch).unconstrain
        return everywhere(unconstrain, (stacked,), np.arange(len(values)), pool)


def _confirmed(model: Model, batch: Batch) -> Replicates:
    """The formula's maximum of each replicate, confirmed by Newton's method.

    Where there is none it is not finite, and no climb from there converges.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    stages = compiled(model, batch)
    with threads() as pool, _traced(model):
        state, ends = everywhere(
            stages.formula, (batch.arrays,), np.arange(batch.count), pool, _FORMULAS
        )
        left = np.flatnonzero(~(state.decrement < _STATIONARY))
        if left.size:
            _climb(stages.climb["likelihood"], batch.arrays, state, pool)
            for old, new in zip(ends, everywhere(stages.finish, (state,), left, pool), strict=True):
                old[left] = new
    return _fits(stages, state, *ends)


def flat_quantities(model: Model, batch: Batch, u: np.ndarray) -> np.ndarray:
    """The quantities at a point of each replicate, shape (R, m), from the chart, (R, k)."""
    with threads() as pool:
        points = u[:, None]
        flat = compiled(model, batch).flat
        return everywhere(flat, (points,), np.arange(len(u)), pool)[:, 0]


def standard_errors(model: Model, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
    """Standard errors at the maxima by corners of the information, each of shape (R, m).

    That of the expected one is there where the model declares its closed form.
    """
    information = np.where(fits.converged[:, None, None], fits.information, np.eye(fits.u.shape[1]))
    with threads() as pool:
        arguments = batch.arrays, fits.u, information
        found = everywhere(compiled(model, batch).corners, arguments, np.arange(batch.count), pool)
    names = ("observed", "opg", "sandwich", "expected")
    return {name: found[:, i] for name, i in zip(names, range(found.shape[1]), strict=False)}


def scores(model: Model, batch: Batch, values: Values) -> np.ndarray:
    """∇ℓ in the chart at given values of the parameters, by replicate, shape (R, k)."""
    stages = compiled(model, batch)
    one = np.asarray(
        stages.unconstrain(jax.tree.map(lambda array: jnp.asarray(array)[None], values))
    )
    points = np.tile(one, (batch.count, 1))
    with threads() as pool:
        arguments = batch.arrays, points
        return everywhere(stages.score, arguments, np.arange(batch.count), pool)


def expectation_maximised(model: Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The highest end of EM alone, as flat quantities, and where it converged."""
    stages = compiled(model, batch)
    best, top = np.empty(0), np.full(batch.count, -np.inf)
    settled = np.zeros(batch.count, bool)
    everyone = np.arange(batch.count)
    with threads() as pool:
        for _ in range(_STARTS if isinstance(model, HasDegeneracy) else 1):
            u, going = starts(model, batch), everyone
            for _ in range(0, _EM_ALONE, _EM_AT_ONCE):
                u[going], step = everywhere(stages.em, (batch.arrays, u), going, pool)
                going = going[~(step < _EM_END)]
                if not going.size:
                    break
            height = everywhere(stages.log_likelihood, (batch.arrays, u), everyone, pool)
            height[_degenerate(model, stages, batch, u)] = -np.inf
            higher = height > top
            best = np.where(higher[:, None], u, best) if best.size else u
            top = np.where(higher, height, top)
            settled[higher] = ~np.isin(everyone, going)[higher]
    return flat_quantities(model, batch, best), settled


class Weighted(NamedTuple):
    """Draws of each replicate's posterior with weights that sum to one; S draws."""

    points: np.ndarray
    """In the chart, shape (R, S, k)."""
    quantities: np.ndarray
    """Shape (R, S, m)."""
    weights: np.ndarray
    """Shape (R, S)."""
    usable: np.ndarray
    """Boolean, shape (R,): there is a mode, and the weights are worth enough draws."""
    log_evidence: np.ndarray
    """log p(x) of each replicate by these draws, nats, shape (R,)."""


def posteriors(
    model: Model, batch: Batch, u: np.ndarray, *, draws: int = 400
) -> dict[str, Weighted]:
    """Two posteriors of each replicate: Laplace's, and the exact one by importance sampling.

    Laplace draws from N(û, H⁻¹) in the chart; the exact posterior weights draws of a Student t law
    with five degrees of freedom there by the density over that law's.

    Args:
        model: the model.
        batch: the data sets.
        u: where to look for the mode from, shape (R, k), such as the maximum-likelihood estimate.
        draws: S.
    """
    stages = compiled(model, batch)
    mode, precision, found = climbed(model, batch, u, "posterior")
    k = mode.shape[1]
    factor = np.linalg.cholesky(np.where(found[:, None, None], precision, np.eye(k)))
    normal = np.stack([rng.standard_normal((draws, k)) for rng in batch.streams])
    mixing = np.stack([np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, draws)) for rng in batch.streams])
    standard = np.linalg.solve(np.swapaxes(factor, 1, 2)[:, None], normal[..., None])[..., 0]
    normal_points = mode[:, None] + standard
    heavy = mode[:, None] + mixing[..., None] * standard
    everyone = np.arange(batch.count)
    with threads() as pool:
        heights = everywhere(stages.heights, (batch.arrays, heavy), everyone, pool)
        ours = everywhere(stages.flat, (heavy,), everyone, pool)
        laplace = everywhere(stages.flat, (normal_points,), everyone, pool)
    square = ((mixing[..., None] * normal) ** 2).sum(axis=2)
    log = heights + 0.5 * (_FREEDOM + k) * np.log1p(square / _FREEDOM)
    log = np.where(np.isfinite(log), log, -np.inf)
    with np.errstate(invalid="ignore"):  # where there is no mode
        weights = np.exp(log - log.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    enough = 1 / (weights**2).sum(axis=1) > _WORTH * draws
    even = np.full_like(weights, 1 / draws)
    half = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    heavy_constant = gammaln((_FREEDOM + k) / 2) - gammaln(_FREEDOM / 2)
    heavy_constant -= 0.5 * k * np.log(np.pi * _FREEDOM)
    exact = logsumexp(log, axis=1) - np.log(draws) - heavy_constant - half
    with threads() as pool:
        top = everywhere(stages.heights, (batch.arrays, mode[:, None]), everyone, pool)[:, 0]
    about = top + 0.5 * k * np.log(2 * np.pi) - half
    return {
        "laplace[numpyro]": Weighted(normal_points, laplace, even, found, about),
        "posterior": Weighted(heavy, ours, weights, found & enough, exact),
    }


def leave_one_out(model: Model, batch: Batch, draws: Weighted) -> np.ndarray:
    """Expected log predictive density of each unit by the others, summed, nats, shape (R,).

    p(x_i | x_{−i}) = Σ_s w_is p(x_i | θ_s) / Σ_s w_is with w_is = ω_s/p(x_i | θ_s): the S draws θ_s
    of the posterior, of weights ω_s, are weighted once more.  Each w_is is cut at √S times the mean
    of them over s, so that the variance is finite.

    Args:
        model: the model.
        batch: the data sets.
        draws: of their posteriors.
    References: Gelfand, Dey & Chang (1992), Bayesian Statistics 4; Ionides (2008), J. Comput.
    Graph. Statist. 17.
    """
    arguments = batch.arrays, draws.points, draws.weights
    with threads() as pool:
        stage = compiled(model, batch).leave_one_out
        return everywhere(stage, arguments, np.arange(batch.count), pool)


def _finished(model: Model, batch: Batch, state: _State) -> Replicates:
    with threads() as pool:
        stages, everyone = compiled(model, batch), np.arange(batch.count)
        return _fits(stages, state, *everywhere(stages.finish, (state,), everyone, pool))


def _fits(stages: Stages, state: _State, estimate: np.ndarray, error: np.ndarray) -> Replicates:
    converged = _converged(stages, state)
    return Replicates(estimate, error, converged, state.height, state.u, state.information)


def _converged(stages: Stages, state: _State) -> np.ndarray:
    """Stationary, and not by having run to a boundary, where an optimum follows other laws."""
    return (state.decrement < _STATIONARY) & ~stages.boundary(state.information).any(axis=1)


@contextmanager
def _traced(model: Model) -> Iterator[None]:
    """Where the programs are traced over data for the first time."""
    try:
        yield
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise FitError(
            f"{model.name} cannot be fitted to many data sets at once: its program must read "
            'the data as data["…"].data and compute with jax.numpy'
        ) from error


def _attempt(model: Model, batch: Batch, u: np.ndarray, best: _State | None) -> _State:
    """Where one start per replicate leads; degenerate ends and known ones have height −∞.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    stages, sets, arrays = compiled(model, batch), batch.sets, batch.arrays
    with threads() as pool, _traced(model):
        new = np.ones(len(sets), bool)
        if isinstance(model, HasEM):
            new = _expectation_maximisation(stages, arrays, u, best, pool)
        state = _state_at(u)
        state.decrement[~new] = 0.0
        _climb(stages.climb["likelihood"], arrays, state, pool)
    bad = new & _degenerate(model, stages, batch, state.u)
    state.height[bad], state.decrement[bad] = -np.inf, np.inf
    return state


def _degenerate(model: Model, stages: Stages, batch: Batch, u: np.ndarray) -> np.ndarray:
    """Which replicates ended in a degenerate optimum."""
    found = np.zeros(len(u), bool)
    if isinstance(model, HasDegeneracy):
        ends = jax.device_get(stages.constrain(u))
        for index, data in enumerate(batch.sets):
            values = {name: array[index] for name, array in ends.items()}
            found[index] = bool(model.degeneracy(values, data))
    return found


def _expectation_maximisation(
    stages: Stages,
    arrays: tuple[np.ndarray, ...],
    u: np.ndarray,
    best: _State | None,
    pool: ThreadPoolExecutor,
) -> np.ndarray:
    """EM, in place, until Newton's method is faster; says which starts lead to no known maximum."""
    new = np.ones(u.shape[0], bool)
    going = np.arange(u.shape[0])
    for _ in range(0, _EM_STEPS, _EM_AT_ONCE):
        u[going], step = everywhere(stages.em, (arrays, u), going, pool)
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
    climb: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    state: _State,
    pool: ThreadPoolExecutor,
) -> None:
    """Newton steps, in place, of those replicates that have not converged."""
    going = np.arange(state.decrement.size)
    for _ in range(0, _NEWTON_STEPS, _AT_ONCE):
        going = going[~(state.decrement[going] < _STATIONARY)]
        if not going.size:
            return
        end = everywhere(climb, (arrays, state), going, pool)
        for old, new in zip(state, end, strict=True):
            old[going] = new


class _State(NamedTuple):
    """Where one replicate is: the derivatives of ℓ at u, and how far from stationary it is."""

    u: Any
    height: Any
    gradient: Any
    information: Any
    damping: Any
    decrement: Any
    """√(∇ℓᵀ J⁻¹ ∇ℓ), in standard errors; infinite where J is not positive definite."""


class Stages(NamedTuple):
    """Batched and compiled."""

    unconstrain: Callable[..., Any]
    """Start values ↦ u."""
    formula: Callable[..., Any]
    """arrays ↦ state at the closed-form maximum, and its `finish`."""
    em: Callable[..., Any]
    """(arrays, u) ↦ u after some EM steps, and the size of the last one in units of 1/√N."""
    climb: dict[Objective, Callable[..., Any]]
    """(arrays, state) ↦ state after some Newton steps, by objective."""
    finish: Callable[..., Any]
    """state ↦ flat quantities and their standard errors."""
    constrain: Callable[..., Any]
    """u ↦ values of the parameters."""
    corners: Callable[..., Any]
    """(arrays, u, J) ↦ standard errors by J⁻¹, the outer product, the sandwich, and N·I, (c, m)."""
    heights: Callable[..., Any]
    """(arrays, points) ↦ log posterior in the chart at each point, unnormalised."""
    leave_one_out: Callable[..., Any]
    """(arrays, points, weights) ↦ Σ_i log p(x_i | x_{−i})."""
    log_likelihood: Callable[..., Any]
    """(arrays, u) ↦ ℓ(u)."""
    score: Callable[..., Any]
    """(arrays, u) ↦ ∇ℓ(u)."""
    flat: Callable[..., Any]
    """points ↦ flat quantities of each."""
    boundary: Callable[..., Any]
    """J ↦ which coordinates have run to a boundary."""


def compiled(model: Model, batch: Batch) -> Stages:
    """The stages for data sets shaped like those of a batch."""
    return _compiled(model, batch.n, batch.shape)


@lru_cache(maxsize=16)
def _compiled(model: Model, n: int, template: Template) -> Stages:
    """The stages of one replicate, compiled for all of them."""
    target, log_likelihood = replicable(model, template.dataset)

    def height(objective: Objective, arrays: tuple[Array, ...], u: Array) -> Array:
        total = jnp.sum(log_likelihood(template.filled(arrays), u))
        if objective != "likelihood":
            total += target.log_prior(u)
        return total + target.log_jacobian(u) if objective == "posterior" else total

    def derivatives(
        objective: Objective, arrays: tuple[Array, ...], u: Array
    ) -> tuple[Array, Array, Array]:
        at = partial(height, objective, arrays)

        def slope(v: Array) -> tuple[Array, tuple[Array, Array]]:
            if v.size <= _FEW:
                gradient, value = jax.jacfwd(lambda w: (at(w),) * 2, has_aux=True)(v)
            else:
                value, gradient = jax.value_and_grad(at)(v)
            return gradient, (value, gradient)

        hessian, (value, gradient) = jax.jacfwd(slope, has_aux=True)(u)
        return value, gradient, -hessian

    def em(arrays: tuple[Array, ...], u: Array) -> tuple[Array, Array]:
        data = template.filled(arrays)

        def step(_: int, path: tuple[Array, Array]) -> tuple[Array, Array]:
            v = path[0]
            values = model.m_step(model.e_step(target.constrain(v), data), data)  # pyright: ignore[reportAttributeAccessIssue]
            return target.unconstrain(canonical(model, values)), v

        last, before = jax.lax.fori_loop(0, _EM_AT_ONCE, step, (u, u))
        return last, jnp.sqrt(float(n)) * jnp.max(jnp.abs(last - before))

    def climb(objective: Objective, arrays: tuple[Array, ...], state: _State) -> _State:
        slopes = partial(derivatives, objective, arrays)

        def going(path: tuple[Array, _State]) -> Array:
            return (path[0] < _AT_ONCE) & ~(path[1].decrement < _STATIONARY)

        def step(path: tuple[Array, _State]) -> tuple[Array, _State]:
            return path[0] + 1, _newton(path[1], slopes)

        return jax.lax.while_loop(going, step, (jnp.asarray(0), state))[1]

    def formula(arrays: tuple[Array, ...]) -> tuple[_State, tuple[Array, Array]]:
        values = model.maximum_likelihood(template.filled(arrays))  # pyright: ignore[reportAttributeAccessIssue]
        u = target.unconstrain(canonical(model, values))
        end = _looked_at(u, partial(derivatives, "likelihood", arrays))
        return end, _finish(flat, end)

    def corners(arrays: tuple[Array, ...], u: Array, information: Array) -> Array:
        score = jax.jacfwd(lambda v: log_likelihood(template.filled(arrays), v))(u)
        outer = score.T @ score
        inverse = jnp.linalg.inv(information)
        jacobian = jax.jacfwd(flat)(u)
        covariances = [inverse, jnp.linalg.inv(outer), inverse @ outer @ inverse]
        if isinstance(model, HasExpectedInformation):
            covariances.append(jnp.linalg.inv(declared(model, template.filled(arrays), target, u)))
        return jnp.sqrt(jnp.einsum("mi,cij,mj->cm", jacobian, jnp.stack(covariances), jacobian))

    def flat(u: Array) -> Array:
        return flatten(quantities(model, canonical(model, target.constrain(u))))

    def heights(arrays: tuple[Array, ...], points: Array) -> Array:
        return jax.lax.map(partial(height, "posterior", arrays), points, batch_size=20)

    def leave_one_out(arrays: tuple[Array, ...], points: Array, weights: Array) -> Array:
        data = template.filled(arrays)
        zero = jnp.full(n, -jnp.inf)

        def sums(log_cut: Array | float) -> tuple[Array, Array]:
            """log Σ w_i and log Σ p(x_i | θ) w_i."""

            def add(logs: tuple[Array, Array], draw: tuple[Array, Array]) -> tuple[Any, None]:
                u, weight = draw
                height = log_likelihood(data, u)
                own = jnp.minimum(jnp.log(weight) - height, log_cut)
                return (jnp.logaddexp(logs[0], own), jnp.logaddexp(logs[1], own + height)), None

            return jax.lax.scan(add, (zero, zero), (points, weights))[0]

        # twice over the draws, since S × n likelihoods of every replicate are not kept
        weight, predictive = sums(sums(jnp.inf)[0] - 0.5 * jnp.log(len(points)))
        # a draw under which a unit is impossible has an infinite weight
        return jnp.sum(jnp.where(jnp.isfinite(weight), predictive - weight, -jnp.inf))

    return Stages(
        jax.jit(jax.vmap(target.unconstrain)),
        jax.jit(jax.vmap(formula)),
        jax.jit(jax.vmap(em)),
        {name: jax.jit(jax.vmap(partial(climb, name))) for name in OBJECTIVES},
        jax.jit(jax.vmap(partial(_finish, flat))),
        jax.jit(jax.vmap(target.constrain)),
        jax.jit(jax.vmap(corners)),
        jax.jit(jax.vmap(heights)),
        jax.jit(jax.vmap(leave_one_out)),
        jax.jit(jax.vmap(partial(height, "likelihood"))),
        jax.jit(jax.vmap(jax.grad(partial(height, "likelihood"), argnums=1))),
        jax.jit(jax.vmap(jax.vmap(flat))),
        partial(on_boundary, model, target),
    )


def _state_at(u: np.ndarray) -> _State:
    """States whose first step stays in place and only takes the derivatives."""
    count, k = u.shape
    information = np.tile(np.eye(k), (count, 1, 1))
    unknown, zeros = np.full(count, np.inf), np.zeros((count, k))
    return _State(u, -unknown, zeros, information, np.zeros(count), unknown)


def _newton(state: _State, derivatives: Callable[[Array], tuple[Array, Array, Array]]) -> _State:
    """One damped Newton step, kept unless it descends."""
    eigenvalue, vector = jnp.linalg.eigh(state.information)
    size = jnp.abs(eigenvalue)
    curvature = size + state.damping * jnp.max(size) + 1e-12
    move = vector @ ((vector.T @ state.gradient) / curvature)
    move *= jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-12))
    u = state.u + move
    new = _looked_at(u, derivatives)
    better = new.height >= state.height - 1e-12 * jnp.abs(state.height)
    better |= jnp.isneginf(state.height)
    damping = jnp.where(better, state.damping * 0.1, jnp.maximum(state.damping * 10, 1e-3))
    new, old = new._replace(damping=damping), state._replace(damping=damping)
    return jax.tree.map(partial(jnp.where, better), new, old)


def _looked_at(u: Array, derivatives: Callable[[Array], tuple[Array, Array, Array]]) -> _State:
    """The state at a point."""
    height, gradient, information = derivatives(u)
    factor = jnp.linalg.cholesky(information)  # not finite unless it is positive definite
    squares = solve_triangular(factor, gradient, lower=True) ** 2
    decrement = jnp.sqrt(jnp.sum(squares))
    decrement = jnp.where(jnp.isfinite(decrement), decrement, jnp.inf)
    return _State(u, height, gradient, information, jnp.zeros(()), decrement)


def _finish(flat: Callable[[Array], Array], state: _State) -> tuple[Array, Array]:
    """Quantities and standard errors at the end of a climb."""
    definite = jnp.isfinite(state.decrement)
    factor = jnp.linalg.cholesky(jnp.where(definite, state.information, jnp.eye(state.u.size)))
    jacobian = jax.jacfwd(flat)(state.u)
    squares = solve_triangular(factor, jacobian.T, lower=True) ** 2
    return flat(state.u), jnp.where(definite, jnp.sqrt(jnp.sum(squares, axis=0)), jnp.nan)
