"""From many starts to one optimum.

A mixture's likelihood has many maxima, of which few starts miss the best one: there the starts are
where hundreds of short EM climbs lead, which are cheap and run at once.  There are more of them
while fewer than three have reached the best end, or the share of ends that were met once, which is
Good and Turing's estimate of what is not met yet, is over 1 %.  Each start runs BFGS in
the unconstrained space; the best end is polished by Newton steps in a trust region.  Success is
judged by the Newton decrement √(gᵀH⁻¹g), the distance to the optimum in standard errors, never by
the optimiser's own word.
References: Nocedal & Wright (2006), Numerical Optimization, ch. 4, 6; Biernacki, Celeux & Govaert
(2003), Computational Statistics & Data Analysis 41; Good (1953), Biometrika 40.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
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
from inference.optimisation.newton import Minimised, bfgs, negative, polish, to_kink
from inference.optimisation.standard_errors import estimate_at
from inference.posterior.labels import canonical
from models.capabilities import HasDegeneracy, HasEM
from models.data.undefined import undefined
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
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
_CLIMBS, _BATCH, _EM_STEPS = 2_000, 200, 200  # climbs of EM, at most and at once; steps of each
_WORK, _AT_ONCE = 100_000_000, 10_000
"""Rows that all climbs together look at, at most, and that are looked at at once, at least."""
_ALIKE, _COPIES = 0.05, 3
"""Nats within which two climbs may lead to one maximum; so many of them go first: two must reach
it."""
_UNSEEN, _NARROWEST = 0.01, 0.05  # share of ends met once that stops climbs; least factor on scales


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
        u, decrement, ends, lost = _optimise(target, rng, self)
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
        away = f"the optimum is {decrement:.1e} standard errors away"
        found.append(f"the gradient is not zero: {away}")
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
    target: Density, rng: np.random.Generator, count: int, *, ends: bool = True
) -> Iterator[np.ndarray]:
    """Points in the unconstrained space from which to search, the most promising first.

    Args:
        target: the density of a model, in whose unconstrained space the points are.
        rng: draws the starts.
        count: how many points.
        ends: where the climbs ended; else where they began, as EM itself needs it.
    """
    ahead = _screened(target)[:count]
    yield from (end if ends else start for start, end in ahead)
    for stream in rng.spawn(count)[len(ahead) :]:
        yield np.asarray(target.unconstrain(target.model.start(stream, target.data)))


@lru_cache(maxsize=8)
def _screened(target: Density) -> list[tuple[np.ndarray, np.ndarray]]:
    """Starts and ends of EM climbs that end well, a few to each maximum before others; or none.

    The same ones for every method and seed: of thousands of maxima, all must find the same.
    """
    model, data = target.model, target.data
    rows = next(iter(data.sizes.values()), 1)
    count = min(_CLIMBS, _WORK // (_EM_STEPS * max(rows, 1)))
    if not isinstance(model, HasEM) or not isinstance(model, HasDegeneracy) or count < 2:
        return []
    count -= count % _BATCH if count > _BATCH else 0  # batches of one shape are compiled once
    positive = [parameter.name for parameter in model.parameters if parameter.support == "positive"]
    is_scale = np.isin(target.coordinates, positive)

    def one(u: Array) -> tuple[Array, Array]:
        end = jax.lax.fori_loop(0, _EM_STEPS, lambda _, v: em_step(model, target, v), u)
        return end, jnp.sum(target.log_likelihood(end))

    climb = jax.jit(lambda u: jax.lax.map(one, u, batch_size=max(1, _AT_ONCE // rows)))
    climbs, ranks = list[tuple[float, np.ndarray, np.ndarray]](), list[int]()
    streams = np.random.default_rng(0)
    for begin in range(0, count, _BATCH):
        starts = []
        for stream in streams.spawn(min(_BATCH, count - begin)):
            start = np.asarray(target.unconstrain(model.start(stream, data)))
            # narrow components lead where those of the nearest rows, the first batch's, do not
            narrow = stream.uniform(np.log(_NARROWEST), 0.0, start.size) if begin else 0.0
            starts.append(start + is_scale * narrow)
        ends, heights = map(np.asarray, climb(jnp.asarray(starts)))
        climbs += [
            (float(heights[i]), starts[i], ends[i])
            for i in np.flatnonzero(np.isfinite(heights) & np.isfinite(ends).all(axis=1))
            if not model.degeneracy(target.constrain(jnp.asarray(ends[i])), data)
        ]
        climbs.sort(key=lambda one: -one[0])
        ranks = _ranks([height for height, *_ in climbs])
        alone = sum(one == 1 == after for one, after in zip(ranks, [*ranks, 1][1:], strict=True))
        if ranks[_COPIES - 1 : _COPIES] == [_COPIES] and alone < _UNSEEN * len(ranks):
            break
    ahead = sorted(zip(ranks, climbs, strict=True), key=lambda one: one[0] > _COPIES)
    return [(start, end) for _, (_, start, end) in ahead]


def _ranks(heights: Sequence[float]) -> list[int]:
    """How many ends so far, of those best first, led to the maximum of each."""
    ranks, top = list[int](), np.inf
    for height in heights:
        same = top - height < _ALIKE
        ranks.append(ranks[-1] + 1 if same else 1)
        top = top if same else height
    return ranks


def em_step(model: Any, target: Density, u: Array) -> Array:
    """The point after one step of EM; traceable."""
    statistics = model.e_step(target.constrain(u), target.data)
    return target.unconstrain(model.m_step(statistics, target.data))


def _optimise(
    target: Density, rng: np.random.Generator, search: Search
) -> tuple[np.ndarray, float, np.ndarray, dict[str, int]]:
    """The best end of the starts; more are made while only one has reached the best optimum.

    With its Newton decrement, the objective at all ends, best first, and how many were lost.
    """
    model, data, compiled = target.model, target.data, derivatives(target, search.objective)
    minus = negative(compiled.value_and_gradient)

    def hessian(u: np.ndarray) -> np.ndarray:
        return -np.asarray(compiled.hessian(jnp.asarray(u)))

    unbounded = partial(_unbounded, target, _finest(model, data))
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    lost = {"degenerate": 0, "failed": 0}
    begins = promising(target, rng, _PATIENCE * search.restarts)
    for restart, u in enumerate(begins):
        if restart >= search.restarts and reached([one[0] for one in kept]) >= 2:
            break
        unit = measures(target, hessian(u))
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
    decrement = _newton_decrement(target, u, minus, hessian(u), search.objective)
    if not decrement < _STATIONARY and (end := to_kink(minus, u, unit)) is not None:
        u = end
        for place, (_, *other) in enumerate(kept[:2]):  # the second tells whether two agree
            if (found := to_kink(minus, *other) if place else u) is not None:
                ends[place] = -minus(found)[0]
        decrement = _newton_decrement(target, u, minus, hessian(u), search.objective)
    return u, decrement, ends, lost


def _unbounded(target: Density, finest: float, u: np.ndarray) -> bool:
    """Whether the likelihood has no bound near a point, by the model's word or by its height."""
    at, likelihood = jnp.asarray(u), derivatives(target, "likelihood").value_and_gradient
    if np.isfinite(finest) and float(likelihood(at)[0]) > finest:
        return True
    return degenerate(target.model, target.data, target.constrain(at))


def _finest(model: Model, data: xr.Dataset) -> float:
    """The log-likelihood at which one without bound, as of an exact regression, is rounded off."""
    own = isinstance(model, AdoptedModel)
    if own and any(model.adopted.likelihood.values()):  # factors are of any size
        return np.inf
    measured = model.measured if own else [next(iter(data.data_vars))]
    columns = [data[name].data for name in measured]
    # whole numbers alone are of a discrete law as a rule, whose terms are at most 0
    if all(rows.dtype.kind != "f" for rows in columns) or not all(rows.any() for rows in columns):
        return np.inf
    coarse = _COARSE * np.finfo(float).eps
    return -sum(rows.size * float(np.log(coarse * np.abs(rows).max())) for rows in columns)


def measures(target: Density, hessian: np.ndarray) -> np.ndarray:
    """In which units to search, so that data in metres and in nanometres are the same, shape (k,).

    About a standard error by the second derivatives at the start, (k, k); at most 1 under a curved
    transform.
    """
    real = {parameter.name for parameter in target.model.parameters if parameter.support == "real"}
    size = np.sqrt(np.abs(np.diag(hessian)))
    unit = 1 / np.where(np.isfinite(size) & (size > 0), size, 1.0)
    return np.where([name in real for name in target.coordinates], unit, np.minimum(unit, 1.0))


def _newton_decrement(
    target: Density, u: np.ndarray, minus: Minimised, hessian: np.ndarray, objective: Objective
) -> float:
    """√(gᵀH⁻¹g) over coordinates on no boundary; infinite if H is not definite and g not 0."""
    gradient, edge = minus(u)[1], edges(target.model, target, u, hessian, objective).coordinates
    inverse = invert(target.model, target, jnp.asarray(u), hessian, edge)
    if inverse.problem:
        return float(np.linalg.norm(gradient)) if np.allclose(gradient, 0, atol=1e-6) else np.inf
    covariance = inverse.covariance[np.ix_(~edge, ~edge)]
    return float(np.sqrt(gradient[~edge] @ covariance @ gradient[~edge]))


def refuse_undefined(model: Model, data: xr.Dataset) -> None:
    """Stops before a fit whose maximum does not exist.

    Raises:
        FitError: the data alone show that the maximum is undefined.
    """
    if reason := undefined(data, model):
        raise FitError(f"undefined: {reason}")
