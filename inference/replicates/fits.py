"""Repeated sampling: simulate, fit, standard errors, for many data sets by functions compiled once.

One replicate is EM (where the model has it) and then Newton steps damped until they climb; its
standard errors come from the observed information at the end.  An end on a boundary, such as a
variance of 0, has none and counts as not converged.  A further start is given up as soon as EM has
led it to the maximum that is known already.  Replicates that have converged leave the batch, so
that few slow ones do not hold up the rest.  Streams depend on the seed, n and the replicate's index
alone, so batches of any size give the same numbers.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from inference.information.derivatives import Objective, value
from inference.information.edges import ran_to_zero
from inference.information.matrices import declared
from inference.optimisation.newton import Point, damped_step, look
from inference.posterior.labels import canonical
from inference.posterior.points import each, to_unconstrained
from inference.replicates.everywhere import everywhere
from inference.replicates.simulated import Batch
from inference.replicates.stages import Stages, compiled
from models.capabilities import HasClosedFormMaximum, HasDegeneracy, HasEM, HasExpectedInformation
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.differentiation import jacobian
from models.spec import Model, Values

STATIONARY = 1e-5  # Newton decrement, in standard errors, below which a replicate has converged
_EM_AT_ONCE, _NEWTON_AT_ONCE = 6, 2  # steps between two looks at where they have led
_EM_STEPS, _NEWTON_STEPS = 60, 30
"""Most steps of a start: one of Newton's costs about 30 of EM, and after 60 it is the faster."""
_EM_STEP = 0.1  # unconstrained EM step, in units of 1/√N, below which Newton's method goes on
_EM_ALONE, _EM_END = 3_000, 1e-4
"""Most steps of EM where nothing takes over from it, and the step at which it ends."""
_KNOWN = 1.0
"""Distance from a known maximum, in standard errors, at which a start is taken to lead to it."""
_STARTS = 4  # starts per replicate where the likelihood has several maxima; the highest end is kept
_FORMULAS = 125
"""Most replicates per call of a closed form: none waits for others that take more steps."""


class Replicates(NamedTuple):
    """Maximum-likelihood fits of simulated data sets; R replicates, m flat quantities."""

    estimate: np.ndarray  # shape (R, m)
    standard_error: np.ndarray  # from the observed information, shape (R, m)
    converged: np.ndarray
    """Boolean, shape (R,): stationary, with a positive definite information, on no boundary."""
    log_likelihood: np.ndarray  # at the maximum, nats, shape (R,)
    u: np.ndarray  # the maximum in the unconstrained space, shape (R, k)
    information: np.ndarray  # J there, shape (R, k, k)


def replicate(model: Model, batch: Batch, u: np.ndarray | None = None) -> Replicates:
    """Fits every data set of a batch by maximum likelihood; from one start u, (R, k), if given.

    Raises:
        FitError: the model's programs cannot be traced over data, or its likelihood must not be
            maximised.
    """
    if isinstance(model, AdoptedModel) and (problem := model.likelihood_problem):
        raise FitError(problem)
    try:
        if u is not None:
            return _fits(compiled(model, batch), _attempt(model, batch, np.array(u), None))
        if isinstance(model, HasClosedFormMaximum):
            return _confirmed(model, batch)
        return _searched(model, batch)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise FitError(
            f"{model.name} cannot be fitted to many data sets at once: its program must read "
            'the data as data["…"].data and compute with jax.numpy'
        ) from error


def climbed(
    model: Model, batch: Batch, u: np.ndarray, objective: Objective
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where Newton steps lead, shape (R, k), and minus the Hessians there, I where they do not end.

    The third says where they do.

    Args:
        model: the model.
        batch: the data sets.
        u: where to begin, shape (R, k), in the unconstrained space.
        objective: what to climb.
    """
    stages, points = compiled(model, batch), _points_at(np.array(u))
    _climb(stages, objective, batch.arrays, points)
    found = _converged(stages, points)
    information = np.where(found[:, None, None], points.information, np.eye(points.u.shape[1]))
    return points.u, information, found


def starts(model: Model, batch: Batch) -> np.ndarray:
    """A data-driven start of each replicate in the unconstrained space, shape (R, k).

    For a user's own programs, of whose data nothing is known, it is where the data were drawn:
    theory speaks of the maximum near there.
    """
    pairs = zip(batch.streams, batch.sets, strict=True)
    if isinstance(model, AdoptedModel):
        values = batch.points
    else:
        values = [model.start(rng, data) for rng, data in pairs]
    stacked = {name: np.stack([one[name] for one in values]) for name in values[0]}
    return to_unconstrained(compiled(model, batch).target, stacked)


def flat_quantities(model: Model, batch: Batch, u: np.ndarray) -> np.ndarray:
    """The quantities at a point of each replicate, shape (R, m), from u of shape (R, k)."""
    return everywhere(compiled(model, batch).flat, (u[:, None],))[:, 0]


def standard_errors(model: Model, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
    """Standard errors at the maxima by each information estimator, each of shape (R, m).

    That of the expected one is there where the model declares its closed form.
    """
    information = np.where(fits.converged[:, None, None], fits.information, np.eye(fits.u.shape[1]))
    stage = compiled(model, batch).batched(_errors)
    found = everywhere(stage, (batch.arrays, fits.u, information))
    names = ("observed", "opg", "sandwich", "expected")
    return {name: found[:, i] for name, i in zip(names, range(found.shape[1]), strict=False)}


def scores(model: Model, batch: Batch, values: Values) -> np.ndarray:
    """∇ℓ(u) at given values of the parameters, by replicate, shape (R, k)."""
    stages = compiled(model, batch)
    u = np.asarray(stages.target.unconstrain({n: jnp.asarray(x) for n, x in values.items()}))
    return everywhere(stages.batched(_score), (batch.arrays, np.tile(u, (batch.count, 1))))


def expectation_maximised(model: Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The highest end of EM alone, as flat quantities, and where it converged."""
    stages = compiled(model, batch)
    best, top = np.empty(0), np.full(batch.count, -np.inf)
    settled = np.zeros(batch.count, bool)
    for _ in range(_STARTS if isinstance(model, HasDegeneracy) else 1):
        u = starts(model, batch)
        ended = _expectation_maximise(stages, batch.arrays, u, _EM_ALONE, _EM_END)
        height = everywhere(stages.batched(log_likelihood), (batch.arrays, u))
        height[_degenerate(model, stages, batch, u)] = -np.inf
        higher = height > top
        best = np.where(higher[:, None], u, best) if best.size else u
        top, settled = np.where(higher, height, top), np.where(higher, ended, settled)
    return flat_quantities(model, batch, best), settled


# --- many replicates --------------------------------------------------------------------------


def _searched(model: Model, batch: Batch) -> Replicates:
    """The highest maximum of some starts; −∞ where a replicate has only met degenerate ends."""
    best = _attempt(model, batch, starts(model, batch), None)
    for _ in range(_STARTS - 1 if isinstance(model, HasDegeneracy) else 0):
        other = _attempt(model, batch, starts(model, batch), best)
        known = np.where(np.isfinite(best.value), best.value, 0.0)
        higher = other.value > best.value + 1e-9 * np.abs(known)
        _put(best, higher, Point(*(new[higher] for new in other)))
    return _fits(compiled(model, batch), best)


def _confirmed(model: Model, batch: Batch) -> Replicates:
    """The formula's maximum of each, confirmed by Newton's method; not finite if there is none."""
    stages = compiled(model, batch)
    points, ends = everywhere(stages.batched(_formula), (batch.arrays,), most=_FORMULAS)
    left = np.flatnonzero(~(points.decrement < STATIONARY))
    if left.size:
        _climb(stages, "likelihood", batch.arrays, points)
        _put(ends, left, everywhere(stages.batched(_finish), (points,), left))
    return _fits(stages, points, ends)


def _fits(
    stages: Stages, points: Point, ends: tuple[np.ndarray, np.ndarray] | None = None
) -> Replicates:
    """Fits at points, with the quantities there and their standard errors where these are known."""
    estimate, error = ends or everywhere(stages.batched(_finish), (points,))
    converged = _converged(stages, points)
    return Replicates(estimate, error, converged, points.value, points.u, points.information)


def _converged(stages: Stages, points: Point) -> np.ndarray:
    """Stationary, and not by having run to a boundary, where an optimum follows other laws."""
    at_zero = ran_to_zero(stages.model, stages.target, points.information).any(axis=1)
    return (points.decrement < STATIONARY) & ~at_zero


def _attempt(model: Model, batch: Batch, u: np.ndarray, best: Point | None) -> Point:
    """Where one start per replicate leads; degenerate ends and known ones have the value −∞."""
    stages, known = compiled(model, batch), np.zeros(batch.count, bool)
    if isinstance(model, HasEM):
        ended = _expectation_maximise(stages, batch.arrays, u, _EM_STEPS, _EM_STEP, best)
        known = known if best is None else ended
    points = _points_at(u)
    points.decrement[known] = 0.0
    _climb(stages, "likelihood", batch.arrays, points)
    bad = ~known & _degenerate(model, stages, batch, points.u)
    points.value[bad], points.decrement[bad] = -np.inf, np.inf
    return points


def _degenerate(model: Model, stages: Stages, batch: Batch, u: np.ndarray) -> np.ndarray:
    """Which replicates ended in a degenerate optimum."""
    found = np.zeros(len(u), bool)
    if isinstance(model, HasDegeneracy):
        ends = each(stages.target.constrain)(u)
        for index, data in enumerate(batch.sets):
            values = {name: array[index] for name, array in ends.items()}
            found[index] = bool(model.degeneracy(values, data))
    return found


def _expectation_maximise(
    stages: Stages,
    arrays: tuple[np.ndarray, ...],
    u: np.ndarray,
    most: int,
    end: float,
    best: Point | None = None,
) -> np.ndarray:
    """EM, in place, until its step is small, or until it nears a known maximum: where it does."""
    ended, going = np.zeros(len(u), bool), np.arange(len(u))
    for _ in range(0, most, _EM_AT_ONCE):
        u[going], step = everywhere(stages.batched(em_steps), (arrays, u), going)
        if best is None:
            done = step < end
        else:
            away = u[going] - best.u[going]
            square = np.einsum("ri,rij,rj->r", away, best.information[going], away)
            done = (best.decrement[going] < STATIONARY) & (square < _KNOWN**2)
        ended[going[done]] = True
        going = going[~done]
        if not going.size:
            break
    return ended


def _climb(
    stages: Stages, objective: Objective, arrays: tuple[np.ndarray, ...], points: Point
) -> None:
    """Newton steps, in place, of those replicates that have not converged."""
    stage, going = stages.batched(_newton_steps, objective), np.arange(points.decrement.size)
    for _ in range(0, _NEWTON_STEPS, _NEWTON_AT_ONCE):
        going = going[~(points.decrement[going] < STATIONARY)]
        if not going.size:
            return
        _put(points, going, everywhere(stage, (arrays, points), going))


def _put(many: tuple[np.ndarray, ...], rows: np.ndarray, some: tuple[np.ndarray, ...]) -> None:
    """Writes arrays into some rows of others."""
    for old, new in zip(many, some, strict=True):
        old[rows] = new


def _points_at(u: np.ndarray) -> Point:
    """Points whose first step stays in place and only takes the derivatives."""
    count, k = u.shape
    information = np.tile(np.eye(k), (count, 1, 1))
    unknown, zeros = np.full(count, np.inf), np.zeros((count, k))
    return Point(u, -unknown, zeros, information, np.zeros(count), unknown)


# --- one replicate ----------------------------------------------------------------------------


def log_likelihood(stages: Stages, arrays: tuple[Array, ...], u: Array) -> Array:
    """ℓ(u)."""
    return value(stages.density(arrays), "likelihood", u)


def _score(stages: Stages, arrays: tuple[Array, ...], u: Array) -> Array:
    return jax.grad(partial(log_likelihood, stages, arrays))(u)


def em_steps(stages: Stages, arrays: tuple[Array, ...], u: Array) -> tuple[Array, Array]:
    """The point after some EM steps, and the size of the last one in units of 1/√N."""
    model: Any = stages.model
    data, target = stages.data(arrays), stages.target

    def step(_: int, path: tuple[Array, Array]) -> tuple[Array, Array]:
        values = model.m_step(model.e_step(target.constrain(path[0]), data), data)
        return target.unconstrain(canonical(model, values)), path[0]

    last, before = jax.lax.fori_loop(0, _EM_AT_ONCE, step, (u, u))
    return last, jnp.sqrt(float(stages.n)) * jnp.max(jnp.abs(last - before))


def _newton_steps(
    stages: Stages, objective: Objective, arrays: tuple[Array, ...], point: Point
) -> Point:
    """The point after some Newton steps, or where it converges before."""
    at = partial(value, stages.density(arrays), objective)

    def going(path: tuple[Array, Point]) -> Array:
        return (path[0] < _NEWTON_AT_ONCE) & ~(path[1].decrement < STATIONARY)

    def step(path: tuple[Array, Point]) -> tuple[Array, Point]:
        return path[0] + 1, damped_step(path[1], at)

    return jax.lax.while_loop(going, step, (jnp.asarray(0), point))[1]


def _formula(stages: Stages, arrays: tuple[Array, ...]) -> tuple[Point, tuple[Array, Array]]:
    """The point of the closed-form maximum, and its `_finish`."""
    model: Any = stages.model
    values = model.maximum_likelihood(stages.data(arrays))
    u = stages.target.unconstrain(canonical(model, values))
    end = look(u, partial(log_likelihood, stages, arrays))
    return end, _finish(stages, end)


def _finish(stages: Stages, point: Point) -> tuple[Array, Array]:
    """The flat quantities at a point, and their standard errors."""
    definite = jnp.isfinite(point.decrement)
    factor = jnp.linalg.cholesky(jnp.where(definite, point.information, jnp.eye(point.u.size)))
    jacobian = jax.jacfwd(stages.reported)(point.u)
    squares = solve_triangular(factor, jacobian.T, lower=True) ** 2
    errors = jnp.where(definite, jnp.sqrt(jnp.sum(squares, axis=0)), jnp.nan)
    return stages.reported(point.u), errors


def _errors(stages: Stages, arrays: tuple[Array, ...], u: Array, information: Array) -> Array:
    """Standard errors by J⁻¹, outer product, sandwich, and N·I, shape (c, m)."""
    target = stages.density(arrays)
    score = jacobian(target.log_likelihood)(u)
    outer, inverse = score.T @ score, jnp.linalg.inv(information)
    change = jax.jacfwd(stages.reported)(u)
    covariances = [inverse, jnp.linalg.inv(outer), inverse @ outer @ inverse]
    if isinstance(stages.model, HasExpectedInformation):
        covariances.append(jnp.linalg.inv(declared(stages.model, target, u)))
    return jnp.sqrt(jnp.einsum("mi,cij,mj->cm", change, jnp.stack(covariances), change))
