"""From many starts to one optimum.

A mixture's likelihood has many maxima, of which few starts miss the best one: there the starts are
where hundreds of short EM climbs lead, which are cheap and run at once.  Each start runs BFGS in
the unconstrained space; the best end is polished by Newton steps in a trust region.  Success is
judged by the Newton decrement √(gᵀH⁻¹g), the distance to the optimum in standard errors, never by
the optimiser's own word.
References: Nocedal & Wright (2006), Numerical Optimization, ch. 4, 6; Biernacki, Celeux & Govaert
(2003), Computational Statistics & Data Analysis 41.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from inference.estimate import Estimate
from inference.information.derivatives import Objective, derivatives
from inference.information.edges import edges
from inference.information.inversion import invert
from inference.method import Kind, Method, derived
from inference.optimisation.newton import bfgs, negative, polish
from inference.optimisation.standard_errors import estimate_at
from inference.posterior.labels import canonical
from models.capabilities import HasDegeneracy, HasEM
from models.data.undefined import undefined
from models.errors import FitError
from models.programs.density import Density, density
from models.settings import Count
from models.spec import Model, Values

_SAME = 1e-6
"""Log-likelihood difference, relative to 1 + |ℓ|, within which two ends are one optimum."""
_PATIENCE = 4
"""At most this many times the restarts asked for, while fewer than two have reached the best."""
_COARSE = 400
"""Width of a density, in rounding errors of the largest row, below which it is a spike on it."""
_STATIONARY = 1e-4  # Newton decrement, in standard errors, below which a point is stationary
_CLIMBS, _EM_STEPS = 200, 200  # climbs of EM, at most, and steps of each
_WORK, _AT_ONCE = 100_000_000, 10_000
"""Rows that all climbs together look at, at most, and that are looked at at once, at least."""
_ALIKE, _COPIES = 0.05, 3
"""Nats within which two climbs may lead to one maximum; so many of them go first: two must reach
it."""


@dataclass(frozen=True)
class Search(Method):
    """Maximises an objective of one program from many starts.

    Attributes:
        engine: whose program, unconstrained space and gradients the optimiser uses.
        restarts: number of data-driven starts.
    """

    engine: Literal["numpyro", "pymc"] = "numpyro"
    restarts: Count = 20

    objective: ClassVar[Objective]
    kind: ClassVar[Kind] = "optimum"
    language = derived(lambda self: self.engine)
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"restarts": 10},
        "thorough": {"restarts": 100},
    }

    def optimum(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator
    ) -> tuple[Values, tuple[str, ...], xr.Dataset]:
        """The optimum, why it must not be relied on, and how the search went.

        Raises:
            FitError: every start ended in a degenerate optimum or failed.
        """
        started = time.perf_counter()
        target = density(model, data, self.engine)
        compiled = derivatives(target, self.objective)
        first = target.unconstrain(model.start(np.random.default_rng(0), data))
        jax.block_until_ready((compiled.value_and_gradient(first), compiled.hessian(first)))
        ready = time.perf_counter()
        u, decrement, ends, lost = _optimise(model, target, rng, self)
        restarts, count = ends.size + sum(lost.values()), reached(ends)
        record = xr.Dataset(
            {"restart_log_likelihood": ("restart", ends)},
            attrs={
                "compile": ready - started,
                "run": time.perf_counter() - ready,
                "restarts": restarts,
                "reached": count,
                **lost,
                "runner_up": runner_up(ends),
                "newton_decrement": decrement,
            },
        )
        values = canonical(model, target.constrain(jnp.asarray(u)))
        return values, _problems(decrement, count, restarts), record


class Optimiser(Search):
    """A search whose optimum is the estimate, its standard errors by the objective's curvature.

    The Hessian is that of the NumPyro program, which the gate proves equal, so that standard
    errors do not depend on which unconstrained space the optimiser used.
    """

    def fit(self, model: Model, data: xr.Dataset, rng: np.random.Generator) -> Estimate:
        if self.target == "likelihood":
            refuse_undefined(model, data)
        values, problems, record = self.optimum(model, data, rng)
        return estimate_at(
            model,
            data,
            values,
            objective=self.objective,
            problems=problems,
            sd_kind="observed" if self.objective == "likelihood" else "curvature",
            record=record,
        )


def _problems(decrement: float, count: int, restarts: int) -> tuple[str, ...]:
    """Why an optimum that `count` restarts reached must not be relied on."""
    found = []
    if not np.isfinite(decrement):
        found.append(
            "no maximum inside was found: the search ended on an edge of parameter space, or "
            "along a direction of which the data say nothing"
        )
    elif not decrement < _STATIONARY:
        found.append(
            f"the gradient is not zero: the optimum is {decrement:.1e} standard errors away"
        )
    if count < 2:
        found.append(f"only {count} of {restarts} restarts reached the reported optimum")
    return tuple(found)


def reached(ends: Sequence[float] | np.ndarray) -> int:
    """How many of the ends of restarts are the best of their optima."""
    best = max(ends, default=0.0)
    return int(np.sum(np.asarray(ends) >= best - _SAME * (1 + abs(best))))


def runner_up(ends: np.ndarray) -> float:
    """The best objective at another optimum, of ends best first; NaN where there is only one."""
    count = reached(ends)
    return float(ends[count]) if count < ends.size else float("nan")


def degenerate(model: Model, data: xr.Dataset, values: Values) -> bool:
    """Whether the likelihood has no bound near a point."""
    return isinstance(model, HasDegeneracy) and bool(model.degeneracy(values, data))


def promising(
    model: Model, target: Density, rng: np.random.Generator, count: int, *, ends: bool = True
) -> Iterator[np.ndarray]:
    """Points in the unconstrained space from which to search, the most promising first.

    Args:
        model: the model.
        target: its density, in whose unconstrained space the points are.
        rng: draws the starts.
        count: how many points.
        ends: where the climbs ended; else where they began, as EM itself needs it.
    """
    streams = rng.spawn(max(_CLIMBS, count))
    ahead = _screened(model, target, streams)[:count]
    yield from (end if ends else start for start, end in ahead)
    for stream in streams[len(ahead) : count]:
        yield np.asarray(target.unconstrain(model.start(stream, target.data)))


def _screened(
    model: Model, target: Density, streams: Sequence[np.random.Generator]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Starts and ends of EM climbs that end well, a few to each maximum before others; or none."""
    data = target.data
    rows = next(iter(data.sizes.values()), 1)
    count = min(_CLIMBS, _WORK // (_EM_STEPS * max(rows, 1)))
    if not isinstance(model, HasEM) or not isinstance(model, HasDegeneracy) or count < 2:
        return []
    starts = [target.unconstrain(model.start(stream, data)) for stream in streams[:count]]
    climb = _em(model, target, max(1, _AT_ONCE // rows))
    ends, heights = map(np.asarray, climb(jnp.stack(starts)))
    fine = np.isfinite(heights) & np.isfinite(ends).all(axis=1)
    first, later, top, copies = [], [], np.inf, 0
    for i in sorted(np.flatnonzero(fine), key=lambda one: -heights[one]):
        if model.degeneracy(target.constrain(jnp.asarray(ends[i])), data):
            continue
        copies = copies + 1 if top - heights[i] < _ALIKE else 1
        top = top if copies > 1 else heights[i]
        (first if copies <= _COPIES else later).append((np.asarray(starts[i]), ends[i]))
    return first + later


def em_step(model: Any, target: Density, u: Array) -> Array:
    """The point after one step of EM; traceable."""
    statistics = model.e_step(target.constrain(u), target.data)
    return target.unconstrain(model.m_step(statistics, target.data))


@lru_cache(maxsize=16)
def _em(model: Any, target: Density, at_once: int) -> Callable[[Array], tuple[Array, Array]]:
    """Starts, shape (starts, k) ↦ where EM leads from them, and the log-likelihood there."""

    def climb(u: Array) -> tuple[Array, Array]:
        end = jax.lax.fori_loop(0, _EM_STEPS, lambda _, v: em_step(model, target, v), u)
        return end, jnp.sum(target.log_likelihood(end))

    return jax.jit(lambda starts: jax.lax.map(climb, starts, batch_size=at_once))


def _optimise(
    model: Model, target: Density, rng: np.random.Generator, search: Search
) -> tuple[np.ndarray, float, np.ndarray, dict[str, int]]:
    """The best end of the starts; more are made while only one has reached the best optimum.

    With its Newton decrement, the objective at all ends, best first, and how many were lost.
    """
    data, compiled = target.data, derivatives(target, search.objective)
    minus = negative(compiled.value_and_gradient)

    def hessian(u: np.ndarray) -> np.ndarray:
        return -np.asarray(compiled.hessian(jnp.asarray(u)))

    unbounded = partial(_unbounded, model, target, _finest(data))
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    lost = {"degenerate": 0, "failed": 0}
    begins = promising(model, target, rng, _PATIENCE * search.restarts)
    for restart, u in enumerate(begins):
        if restart >= search.restarts and reached([one[0] for one in kept]) >= 2:
            break
        unit = measures(model, target, hessian(u))
        end = bfgs(minus, u, 1e-7, unit=unit)
        if end is None:
            lost["failed"] += 1
        elif unbounded(end.x):
            lost["degenerate"] += 1
        else:
            kept.append((-float(end.fun), end.x, unit))
    if not kept:
        known = undefined(data, model)
        raise FitError(
            f"undefined: of {sum(lost.values())} restarts {lost['degenerate']} ended in a "
            f"degenerate optimum and {lost['failed']} failed; no interior maximum was found"
            f"{f': {known}' if known else ''}"
        )
    kept.sort(key=lambda end: -end[0])
    best, start, unit = kept[0]
    u = polish(minus, hessian, start, unit)
    u = start if unbounded(u) else u
    ends = np.array([max(best, -minus(u)[0]), *(end[0] for end in kept[1:])])
    edge = edges(model, target, u, hessian(u), search.objective).coordinates
    decrement = _newton_decrement(model, target, u, minus(u)[1], hessian(u), edge)
    return u, decrement, ends, lost


def _unbounded(model: Model, target: Density, finest: float, u: np.ndarray) -> bool:
    """Whether the likelihood has no bound near a point, by the model's word or by its height."""
    at, likelihood = jnp.asarray(u), derivatives(target, "likelihood").value_and_gradient
    if np.isfinite(finest) and float(likelihood(at)[0]) > finest:
        return True
    return degenerate(model, target.data, target.constrain(at))


def _finest(data: xr.Dataset) -> float:
    """The log-likelihood at which one without bound, as of an exact regression, is rounded off."""
    rows = next(iter(data.data_vars.values())).data
    if rows.dtype.kind != "f" or not rows.any():
        return np.inf
    return -rows.size * float(np.log(_COARSE * np.finfo(float).eps * np.abs(rows).max()))


def measures(model: Model, target: Density, hessian: np.ndarray) -> np.ndarray:
    """In which units to search, so that data in metres and in nanometres are the same, shape (k,).

    About a standard error by the second derivatives at the start, (k, k); at most 1 under a curved
    transform.
    """
    real = {parameter.name for parameter in model.parameters if parameter.support == "real"}
    size = np.sqrt(np.abs(np.diag(hessian)))
    unit = 1 / np.where(np.isfinite(size) & (size > 0), size, 1.0)
    return np.where([name in real for name in target.coordinates], unit, np.minimum(unit, 1.0))


def _newton_decrement(
    model: Model,
    target: Density,
    u: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    edge: np.ndarray,
) -> float:
    """√(gᵀH⁻¹g) over coordinates on no boundary; infinite if H is not definite and g not 0."""
    inverse = invert(model, target, jnp.asarray(u), hessian, edge)
    if inverse.problem:
        return float(np.linalg.norm(gradient)) if np.allclose(gradient, 0, atol=1e-6) else np.inf
    covariance = inverse.covariance[np.ix_(~edge, ~edge)]
    return float(np.sqrt(gradient[~edge] @ covariance @ gradient[~edge]))


def refuse_undefined(model: Model, data: xr.Dataset) -> None:
    """Stops before a fit whose maximum does not exist.

    Raises:
        FitError: the data alone show that the maximum is undefined.
    """
    reason = undefined(data, model)
    if reason:
        raise FitError(reason if reason.startswith("undefined") else f"undefined: {reason}")
