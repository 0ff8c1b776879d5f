"""From many starts to one optimum.

Each start runs BFGS in the unconstrained space; the best end is polished by Newton steps in a trust
region.  Success is judged by the Newton decrement √(gᵀH⁻¹g), the distance to the optimum in
standard errors, never by the optimiser's own word.
Reference: Nocedal & Wright (2006), Numerical Optimization, ch. 4, 6.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.information.derivatives import Objective, derivatives
from inference.information.edges import edges
from inference.information.inversion import invert
from inference.optimisation.newton import bfgs, negative, polish
from inference.optimisation.screening import promising
from inference.optimisation.standard_errors import estimate_at
from inference.posterior.labels import canonical
from models.capabilities import HasDegeneracy
from models.data.undefined import undefined
from models.errors import FitError
from models.programs.density import Density, Language, density
from models.spec import Model, Values

_SAME = 1e-6
"""Log-likelihood difference, relative to 1 + |ℓ|, within which two ends are one optimum."""
_PATIENCE = 4
"""At most this many times the restarts asked for, while fewer than two have reached the best."""
_COARSE = 400
"""Width of a density, in rounding errors of the largest row, below which it is a spike on it."""
_STATIONARY = 1e-4
"""Newton decrement, in standard errors, below which a point is stationary."""


class Search(NamedTuple):
    """An objective, whose program computes it, and how many starts are made."""

    objective: Objective
    language: Language
    """Whose program, unconstrained space and gradients the optimiser uses."""
    restarts: int


class Optimum(NamedTuple):
    """The best non-degenerate end of many starts."""

    u: np.ndarray
    decrement: float
    ends: np.ndarray
    """Objective at every non-degenerate end, best first."""
    degenerate: int
    failed: int

    @property
    def reached(self) -> int:
        """How many starts ended at the best optimum."""
        return reached(self.ends)

    @property
    def restarts(self) -> int:
        """How many starts were made."""
        return self.ends.size + self.degenerate + self.failed

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the optimum must not be relied on."""
        found = []
        if not np.isfinite(self.decrement):
            found.append(
                "no maximum inside was found: the search ended on an edge of parameter space, or "
                "along a direction of which the data say nothing"
            )
        elif not self.decrement < _STATIONARY:
            found.append(
                "the gradient is not zero: the optimum is "
                f"{self.decrement:.1e} standard errors away"
            )
        if self.reached < 2:
            found.append(
                f"only {self.reached} of {self.restarts} restarts reached the reported optimum"
            )
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


def _optimise(
    model: Model, data: xr.Dataset, target: Density, rng: np.random.Generator, search: Search
) -> Optimum:
    """The best end of the starts; more are made while only one has reached the best optimum."""
    compiled = derivatives(target, search.objective)
    minus = negative(compiled.value_and_gradient)

    def hessian(u: np.ndarray) -> np.ndarray:
        return -np.asarray(compiled.hessian(jnp.asarray(u)))

    finest, likelihood = _finest(data), derivatives(target, "likelihood").value_and_gradient

    def unbounded(u: np.ndarray) -> bool:
        at = jnp.asarray(u)
        if np.isfinite(finest) and float(likelihood(at)[0]) > finest:
            return True
        return degenerate(model, data, target.constrain(at))

    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    without_bound = failed = 0
    begins = promising(model, data, target, rng, _PATIENCE * search.restarts)
    for restart, u in enumerate(begins):
        if restart >= search.restarts and reached([one[0] for one in kept]) >= 2:
            break
        unit = measures(model, target, hessian(u))
        end = bfgs(minus, u, 1e-7, unit=unit)
        if end is None:
            failed += 1
        elif unbounded(end.x):
            without_bound += 1
        else:
            kept.append((-float(end.fun), end.x, unit))
    if not kept:
        known = undefined(data, model)
        raise FitError(
            f"undefined: of {without_bound + failed} restarts {without_bound} ended in a "
            f"degenerate optimum and {failed} failed; no interior maximum was found"
            f"{f': {known}' if known else ''}"
        )
    kept.sort(key=lambda end: -end[0])
    best, start, unit = kept[0]
    u, value = polish(minus, hessian, start, unit)
    if unbounded(u):
        u, value = start, best
    ends = np.array([max(best, value), *(end[0] for end in kept[1:])])
    edge = edges(model, target, u, hessian(u), search.objective).coordinates
    decrement = _newton_decrement(model, target, u, minus(u)[1], hessian(u), edge)
    return Optimum(u, decrement, ends, without_bound, failed)


def _finest(data: xr.Dataset) -> float:
    """The log-likelihood beyond which rows of floats are resolved about as finely as they are held.

    A likelihood that grows without bound, as where a regression is exact, stops there by rounding.
    """
    rows = next(iter(data.data_vars.values())).data
    if rows.dtype.kind != "f" or not rows.any():
        return np.inf
    return -rows.size * float(np.log(_COARSE * np.finfo(float).eps * np.abs(rows).max()))


def measures(model: Model, target: Density, hessian: np.ndarray) -> np.ndarray:
    """In which units to search: so that data in metres and in nanometres are the same.

    Args:
        model: the model.
        target: its density.
        hessian: second derivatives where the search starts, shape (k, k).

    Returns:
        About a standard error of every coordinate, at most 1 under a curved transform, shape (k,).
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
    free = ~inverse.boundary
    covariance = inverse.covariance[np.ix_(free, free)]
    return float(np.sqrt(gradient[free] @ covariance @ gradient[free]))


def refuse_undefined(model: Model, data: xr.Dataset) -> None:
    """Stops before a fit whose maximum does not exist.

    Raises:
        FitError: the data alone show that the maximum is undefined.
    """
    reason = undefined(data, model)
    if reason:
        raise FitError(reason if reason.startswith("undefined") else f"undefined: {reason}")


def fit_optimum(
    model: Model, data: xr.Dataset, rng: np.random.Generator, search: Search
) -> tuple[Values, tuple[str, ...], xr.Dataset]:
    """Optimises one program.

    Args:
        model: the model.
        data: the data.
        rng: draws the starts.
        search: what is maximised, and how.

    Returns:
        The optimum on the natural scale, why it must not be relied on, and how the search went.

    Raises:
        FitError: every start ended in a degenerate optimum or failed.
    """
    started = time.perf_counter()
    target = density(model, data, search.language)
    compiled = derivatives(target, search.objective)
    first = target.unconstrain(model.start(np.random.default_rng(0), data))
    jax.block_until_ready((compiled.value_and_gradient(first), compiled.hessian(first)))
    ready = time.perf_counter()
    optimum = _optimise(model, data, target, rng, search)
    record = xr.Dataset(
        {"restart_log_likelihood": ("restart", optimum.ends)},
        attrs={
            "compile": ready - started,
            "run": time.perf_counter() - ready,
            "restarts": optimum.restarts,
            "reached": optimum.reached,
            "degenerate": optimum.degenerate,
            "failed": optimum.failed,
            "runner_up": runner_up(optimum.ends),
            "newton_decrement": optimum.decrement,
        },
    )
    values = canonical(model, target.constrain(jnp.asarray(optimum.u)))
    return values, optimum.problems, record


def optimum_estimate(
    model: Model, data: xr.Dataset, rng: np.random.Generator, search: Search, sd_kind: str
) -> Estimate:
    """The estimate at an optimum, with standard errors by the curvature of its objective.

    The Hessian is that of the NumPyro program, which the gate proves equal, so that standard errors
    do not depend on which unconstrained space the optimiser used.

    Args:
        model: the model.
        data: the data.
        rng: draws the starts.
        search: what is maximised, and how.
        sd_kind: what the estimate calls its standard errors.

    Raises:
        FitError: every start ended in a degenerate optimum or failed.
    """
    values, problems, record = fit_optimum(model, data, rng, search)
    target = density(model, data)
    hessian = derivatives(target, search.objective).hessian(target.unconstrain(values))
    return estimate_at(
        model,
        data,
        values,
        information=-np.asarray(hessian),
        objective=search.objective,
        problems=problems,
        sd_kind=sd_kind,
        record=record,
    )
