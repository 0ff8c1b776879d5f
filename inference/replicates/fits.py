"""Repeated sampling: simulate, fit, standard errors, for many data sets by functions compiled once.

One replicate is EM (where the model has it) and then Newton steps damped until they climb; its
standard errors come from the observed information at the end.  An end on a boundary, such as a
variance of 0, has none and counts as not converged.  A further start is given up as soon as EM has
led it to the maximum that is known already.  Replicates that have converged leave the batch, so
that few slow ones do not hold up the rest.  Streams depend on the seed, n and the replicate's index
alone, so batches of any size give the same numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.information.derivatives import Objective
from inference.optimisation.newton import Point
from inference.replicates.everywhere import everywhere
from inference.replicates.simulated import Batch
from inference.replicates.stages import EM_AT_ONCE, NEWTON_AT_ONCE, STATIONARY, Stages, compiled
from models.capabilities import HasClosedFormMaximum, HasDegeneracy, HasEM, HasOwnPrograms
from models.errors import FitError
from models.spec import Model, Values

_EM_STEPS = 60
"""Most EM steps of a start: a Newton step costs about 30, and by then it is the faster one."""
_EM_STEP = 0.1
"""Unconstrained EM step, in units of 1/√N, below which Newton's method goes on."""
_EM_ALONE = 3_000
"""Most steps of EM where nothing takes over from it."""
_EM_END = 1e-4
"""Unconstrained EM step, in units of 1/√N, at which EM alone ends."""
_KNOWN = 1.0
"""Distance from a known maximum, in standard errors, at which a start is taken to lead to it."""
_STARTS = 4
"""Starts per replicate where the likelihood has several maxima; the highest end is kept."""
_NEWTON_STEPS = 30
"""Most Newton steps of a replicate."""
_FORMULAS = 125
"""Most replicates per call of a closed form: none waits for others that take more steps."""


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
    """The maximum in the unconstrained space, shape (R, k)."""
    information: np.ndarray
    """J there, shape (R, k, k)."""


def replicate(model: Model, batch: Batch) -> Replicates:
    """Fits every data set of a batch by maximum likelihood.

    Raises:
        FitError: the model's programs cannot be traced over data, or its likelihood must not be
            maximised.
    """
    if isinstance(model, HasOwnPrograms) and (problem := model.likelihood_problem):
        raise FitError(problem)
    if isinstance(model, HasClosedFormMaximum):
        return _confirmed(model, batch)
    best = _attempt(model, batch, starts(model, batch), None)
    for _ in range(_STARTS - 1 if isinstance(model, HasDegeneracy) else 0):
        other = _attempt(model, batch, starts(model, batch), best)
        # −∞ where the replicate has only met degenerate ends so far
        known = np.where(np.isfinite(best.value), best.value, 0.0)
        higher = other.value > best.value + 1e-9 * np.abs(known)
        _put(best, higher, Point(*(new[higher] for new in other)))
    return _finished(model, batch, best)


def maximised(model: Model, batch: Batch, u: np.ndarray) -> Replicates:
    """Where one start in every data set, u of shape (R, k), leads by EM and Newton's method.

    Raises:
        FitError: the model's programs cannot be traced over data.
    """
    return _finished(model, batch, _attempt(model, batch, np.array(u), None))


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
    _climb(stages.climb[objective], batch.arrays, points)
    found = _converged(stages, points)
    information = np.where(found[:, None, None], points.information, np.eye(points.u.shape[1]))
    return points.u, information, found


def starts(model: Model, batch: Batch) -> np.ndarray:
    """A data-driven start of each replicate in the unconstrained space, shape (R, k).

    For a user's own programs, of whose data nothing is known, it is where the data were drawn:
    theory speaks of the maximum near there.
    """
    pairs = zip(batch.streams, batch.sets, strict=True)
    if isinstance(model, HasOwnPrograms):
        values = batch.points
    else:
        values = [model.start(rng, data) for rng, data in pairs]
    stacked = {name: np.stack([one[name] for one in values]) for name in values[0]}
    return everywhere(compiled(model, batch).unconstrain, (stacked,))


def flat_quantities(model: Model, batch: Batch, u: np.ndarray) -> np.ndarray:
    """The quantities at a point of each replicate, shape (R, m), from u of shape (R, k)."""
    return everywhere(compiled(model, batch).flat, (u[:, None],))[:, 0]


def standard_errors(model: Model, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
    """Standard errors at the maxima by each information estimator, each of shape (R, m).

    That of the expected one is there where the model declares its closed form.
    """
    information = np.where(fits.converged[:, None, None], fits.information, np.eye(fits.u.shape[1]))
    found = everywhere(compiled(model, batch).errors, (batch.arrays, fits.u, information))
    names = ("observed", "opg", "sandwich", "expected")
    return {name: found[:, i] for name, i in zip(names, range(found.shape[1]), strict=False)}


def scores(model: Model, batch: Batch, values: Values) -> np.ndarray:
    """∇ℓ(u) at given values of the parameters, by replicate, shape (R, k)."""
    stages = compiled(model, batch)
    u = np.asarray(stages.unconstrain({name: jnp.asarray(x)[None] for name, x in values.items()}))
    return everywhere(stages.score, (batch.arrays, np.tile(u, (batch.count, 1))))


def expectation_maximised(model: Model, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The highest end of EM alone, as flat quantities, and where it converged."""
    stages = compiled(model, batch)
    best, top = np.empty(0), np.full(batch.count, -np.inf)
    settled = np.zeros(batch.count, bool)
    everyone = np.arange(batch.count)
    for _ in range(_STARTS if isinstance(model, HasDegeneracy) else 1):
        u, going = starts(model, batch), everyone
        for _ in range(0, _EM_ALONE, EM_AT_ONCE):
            u[going], step = everywhere(stages.em, (batch.arrays, u), going)
            going = going[~(step < _EM_END)]
            if not going.size:
                break
        value = everywhere(stages.log_likelihood, (batch.arrays, u))
        value[_degenerate(model, stages, batch, u)] = -np.inf
        higher = value > top
        best = np.where(higher[:, None], u, best) if best.size else u
        top = np.where(higher, value, top)
        settled[higher] = ~np.isin(everyone, going)[higher]
    return flat_quantities(model, batch, best), settled


def _confirmed(model: Model, batch: Batch) -> Replicates:
    """The formula's maximum of each replicate, confirmed by Newton's method.

    Where there is none it is not finite, and no climb from there converges.
    """
    stages = compiled(model, batch)
    with _traced(model):
        points, ends = everywhere(stages.formula, (batch.arrays,), most=_FORMULAS)
        left = np.flatnonzero(~(points.decrement < STATIONARY))
        if left.size:
            _climb(stages.climb["likelihood"], batch.arrays, points)
            _put(ends, left, everywhere(stages.finish, (points,), left))
    return _fits(stages, points, *ends)


def _finished(model: Model, batch: Batch, points: Point) -> Replicates:
    stages = compiled(model, batch)
    return _fits(stages, points, *everywhere(stages.finish, (points,)))


def _fits(stages: Stages, points: Point, estimate: np.ndarray, error: np.ndarray) -> Replicates:
    converged = _converged(stages, points)
    return Replicates(estimate, error, converged, points.value, points.u, points.information)


def _converged(stages: Stages, points: Point) -> np.ndarray:
    """Stationary, and not by having run to a boundary, where an optimum follows other laws."""
    return (points.decrement < STATIONARY) & ~stages.boundary(points.information)


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


def _attempt(model: Model, batch: Batch, u: np.ndarray, best: Point | None) -> Point:
    """Where one start per replicate leads; degenerate ends and known ones have the value −∞."""
    stages = compiled(model, batch)
    new = np.ones(batch.count, bool)
    with _traced(model):
        if isinstance(model, HasEM):
            new = _expectation_maximisation(stages, batch.arrays, u, best)
        points = _points_at(u)
        points.decrement[~new] = 0.0
        _climb(stages.climb["likelihood"], batch.arrays, points)
    bad = new & _degenerate(model, stages, batch, points.u)
    points.value[bad], points.decrement[bad] = -np.inf, np.inf
    return points


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
    stages: Stages, arrays: tuple[np.ndarray, ...], u: np.ndarray, best: Point | None
) -> np.ndarray:
    """EM, in place, until Newton's method is faster; says which starts lead to no known maximum."""
    new = np.ones(u.shape[0], bool)
    going = np.arange(u.shape[0])
    for _ in range(0, _EM_STEPS, EM_AT_ONCE):
        u[going], step = everywhere(stages.em, (arrays, u), going)
        if best is not None:
            away = u[going] - best.u[going]
            square = np.einsum("ri,rij,rj->r", away, best.information[going], away)
            known = (best.decrement[going] < STATIONARY) & (square < _KNOWN**2)
            new[going[known]] = False
            going = going[~known]
        else:
            going = going[~(step < _EM_STEP)]
        if not going.size:
            break
    return new


def _climb(climb: Callable[..., Any], arrays: tuple[np.ndarray, ...], points: Point) -> None:
    """Newton steps, in place, of those replicates that have not converged."""
    going = np.arange(points.decrement.size)
    for _ in range(0, _NEWTON_STEPS, NEWTON_AT_ONCE):
        going = going[~(points.decrement[going] < STATIONARY)]
        if not going.size:
            return
        _put(points, going, everywhere(climb, (arrays, points), going))


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
