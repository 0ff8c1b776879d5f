"""From many starts to one optimum, and from an optimum to an estimate.

Each start runs BFGS on the unconstrained chart; the distinct best ends are polished by Newton
steps in a trust region.  Success is judged by the Newton decrement √(gᵀH⁻¹g), the distance to the
optimum in standard errors, never by the optimiser's own word.
Reference: Nocedal & Wright (2006), Numerical Optimization, ch. 4, 6.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from inference.estimate import Estimate, Quantity
from inference.information.delta import quantity_covariance
from inference.information.derivatives import derivatives
from inference.information.inversion import invert
from inference.information.matrices import observed
from inference.posterior.labels import canonical
from models.capabilities import HasBoundary, HasDegeneracy
from models.data.undefined import undefined
from models.errors import FitError
from models.programs.density import density, flat_names, labelled, quantities, quantity_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from models.programs.density import Density, Language
    from models.spec import Model, Values

_SAME = 1e-6
"""Log-likelihood difference, relative to 1 + |ℓ|, within which two ends are one optimum."""
_PATIENCE = 4
"""At most this many times the restarts asked for, while fewer than two have reached the best."""
_STATIONARY = 1e-4
"""Newton decrement, in standard errors, below which a point is stationary."""
_LAST = 3
"""Most Newton steps of the end of a climb, whose digits the objective no longer shows."""


class Optimum(NamedTuple):
    """The best non-degenerate end of many starts."""

    u: np.ndarray
    value: float
    decrement: float
    ends: np.ndarray
    """Objective at every non-degenerate end, best first."""
    reached: int
    degenerate: int
    failed: int

    @property
    def restarts(self) -> int:
        """How many starts were made."""
        return self.ends.size + self.degenerate + self.failed


def optimise(
    model: Model,
    data: xr.Dataset,
    target: Density,
    objective: Literal["likelihood", "joint", "posterior"],
    rng: np.random.Generator,
    restarts: int,
) -> Optimum:
    """Maximises an objective of a density from `restarts` data-driven starts.

    More starts are made while only one has reached the best optimum.

    Raises:
        FitError: every start ended in a degenerate optimum or failed.
    """
    compiled = derivatives(target, objective)

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = compiled.value_and_gradient(jnp.asarray(u))
        value, gradient = -float(value), -np.asarray(gradient)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            return 1e300, np.zeros_like(u)  # a line search steps back from here
        return value, gradient

    def hessian(u: np.ndarray) -> np.ndarray:
        return -np.asarray(compiled.hessian(jnp.asarray(u)))

    kept: list[tuple[float, np.ndarray]] = []
    degenerate = failed = 0
    for restart, stream in enumerate(rng.spawn(_PATIENCE * restarts)):
        if restart >= restarts and _reached([height for height, _ in kept]) >= 2:
            break
        start = np.asarray(target.unconstrain(model.start(stream, data)))
        end = minimize(negative, start, jac=True, method="BFGS", options={"gtol": 1e-5})
        if not np.isfinite(end.x).all() or end.fun >= 1e299:
            failed += 1
        elif _degeneracy(model, data, target, end.x):
            degenerate += 1
        else:
            kept.append((-float(end.fun), end.x))
    if not kept:
        raise FitError(
            f"undefined: of {degenerate + failed} restarts {degenerate} ended in a degenerate "
            f"optimum and {failed} failed; no interior maximum was found"
        )
    kept.sort(key=lambda end: -end[0])
    u, value = _polish(negative, hessian, kept[0][1])
    if _degeneracy(model, data, target, u):
        u, value = kept[0][1], kept[0][0]
    ends = np.array([max(end[0], value) if i == 0 else end[0] for i, end in enumerate(kept)])
    decrement = newton_decrement(model, target, u, negative(u)[1], hessian(u))
    return Optimum(u, value, decrement, ends, _reached(ends), degenerate, failed)


def _reached(heights: Sequence[float] | np.ndarray) -> int:
    """How many of the restarts ended at the best of their optima."""
    best = max(heights, default=0.0)
    return int(np.sum(np.asarray(heights) >= best - _SAME * (1 + abs(best))))


def _polish(
    negative: Callable[[np.ndarray], tuple[float, np.ndarray]],
    hessian: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
) -> tuple[np.ndarray, float]:
    end = minimize(
        negative, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-9}
    )
    if not np.isfinite(end.x).all() or end.fun > negative(start)[0]:
        return start, -negative(start)[0]
    u = end.x
    value, gradient = negative(u)
    for _ in range(_LAST):
        try:
            step = cho_solve(cho_factor(hessian(u)), gradient)
        except (np.linalg.LinAlgError, ValueError):  # not positive definite, not finite
            break
        higher, slope = negative(u - step)
        same = higher <= value + 1e-12 * (1 + abs(value)) and np.abs(step).max() < 1
        if not (same and np.linalg.norm(slope) < np.linalg.norm(gradient)):
            break
        u, gradient = u - step, slope
    return u, -negative(u)[0]


def newton_decrement(
    model: Model, target: Density, u: np.ndarray, gradient: np.ndarray, hessian: np.ndarray
) -> float:
    """√(gᵀH⁻¹g) over the coordinates that are not on a boundary; infinite if H is not definite."""
    inverse = invert(model, target, jnp.asarray(u), hessian)
    if inverse.problem:
        return float(np.linalg.norm(gradient)) if np.allclose(gradient, 0, atol=1e-6) else np.inf
    free = ~inverse.boundary
    covariance = inverse.covariance[np.ix_(free, free)]
    return float(np.sqrt(gradient[free] @ covariance @ gradient[free]))


def optimiser_problems(optimum: Optimum) -> tuple[str, ...]:
    """Why the optimum must not be relied on."""
    problems = []
    if not optimum.decrement < _STATIONARY:
        problems.append(
            f"the gradient is not zero: the optimum is {optimum.decrement:.1e} standard errors away"
        )
    if optimum.reached < 2:
        problems.append(
            f"only {optimum.reached} of {optimum.restarts} restarts reached the reported optimum"
        )
    return tuple(problems)


def _degeneracy(model: Model, data: xr.Dataset, target: Density, u: np.ndarray) -> str:
    if not isinstance(model, HasDegeneracy):
        return ""
    return model.degeneracy(target.constrain(jnp.asarray(u)), data)


def refuse_undefined(model: Model, data: xr.Dataset) -> None:
    """Stops before a fit whose maximum does not exist.

    Raises:
        FitError: the data alone show that the maximum is undefined.
    """
    reason = undefined(data, model)
    if reason:
        raise FitError(reason if reason.startswith("undefined") else f"undefined: {reason}")


def estimate_at(
    model: Model,
    data: xr.Dataset,
    values: Values,
    *,
    information: np.ndarray | None = None,
    problems: Sequence[str] = (),
    sd_kind: str = "observed",
    record: xr.Dataset | None = None,
) -> Estimate:
    """An estimate at a point, its spread from an information matrix in the NumPyro chart.

    `information` has shape (k, k); None takes the observed information at the point.
    """
    values = canonical(model, values)
    target = density(model, data)
    u = target.unconstrain(values)
    inverse = invert(model, target, u, observed(target, u) if information is None else information)
    covariance = quantity_covariance(model, target, u, inverse)
    found = list(problems)
    if inverse.problem:
        found.append(inverse.problem)
    if isinstance(model, HasBoundary) and (sentence := model.boundary(values, data)):
        found.append(f"{sentence}; its standard error is undefined: boundary")
    elif inverse.boundary.any():
        names = ", ".join(np.asarray(target.coordinates)[inverse.boundary])
        found.append(f"on a boundary: {names}; its standard error is undefined: boundary")
    return assemble(
        model,
        data,
        values,
        covariance,
        problems=found,
        sd_kind=sd_kind,
        record=record if record is not None else xr.Dataset(),
    )


def assemble(
    model: Model,
    data: xr.Dataset,
    values: Values,
    covariance: np.ndarray,
    *,
    problems: Sequence[str],
    sd_kind: str,
    record: xr.Dataset,
) -> Estimate:
    """An exact (error-free) estimate from a point and the covariance of its quantities."""
    target = density(model, data)
    reported = quantities(model, values)
    table = quantity_table(model)
    location = labelled(table, data, reported)
    deviation = np.sqrt(np.diag(covariance))
    sizes = [int(np.size(reported[p.name])) for p in table]
    parts = np.split(deviation, np.cumsum(sizes)[:-1])
    sd = labelled(
        table,
        data,
        {
            p.name: np.reshape(part, np.shape(reported[p.name]))  # pyright: ignore[reportArgumentType]
            for p, part in zip(table, parts, strict=True)
        },
    )
    names = flat_names({p.name: reported[p.name] for p in table})
    log_likelihood = derivatives(target, "likelihood").value_and_gradient(
        target.unconstrain(values)
    )[0]
    return Estimate(
        location=Quantity(location, xr.zeros_like(location)),
        sd=Quantity(sd, xr.zeros_like(sd)),
        log_likelihood=float(log_likelihood),
        draws=None,
        problems=tuple(problems),
        point=labelled(model.parameters, data, values),
        covariance=xr.DataArray(
            covariance,
            dims=("quantity", "quantity_"),
            coords={"quantity": names, "quantity_": names},
        ),
        sd_kind=sd_kind,
        record=record,
    )


def fit_optimum(
    model: Model,
    data: xr.Dataset,
    rng: np.random.Generator,
    *,
    language: Language,
    objective: Literal["likelihood", "joint", "posterior"],
    restarts: int,
) -> tuple[Values, np.ndarray, tuple[str, ...], xr.Dataset]:
    """Optimises one program: values, −Hessian of the objective in the NumPyro chart, problems.

    The Hessian is that of the NumPyro program, which the gate proves equal, so that spreads do
    not depend on which chart the optimiser used.
    """
    started = time.perf_counter()
    target = density(model, data, language)
    compiled = derivatives(target, objective)
    first = target.unconstrain(model.start(np.random.default_rng(0), data))
    jax.block_until_ready(compiled.value_and_gradient(first))
    jax.block_until_ready(compiled.hessian(first))
    ready = time.perf_counter()
    optimum = optimise(model, data, target, objective, rng, restarts)
    values = canonical(model, target.constrain(jnp.asarray(optimum.u)))
    reference = density(model, data)
    hessian = derivatives(reference, objective).hessian(reference.unconstrain(values))
    record = xr.Dataset(
        {"restart_log_likelihood": ("restart", optimum.ends)},
        attrs={
            "compile": ready - started,
            "run": time.perf_counter() - ready,
            "restarts": optimum.restarts,
            "reached": optimum.reached,
            "degenerate": optimum.degenerate,
            "failed": optimum.failed,
            "runner_up": _runner_up(optimum),
            "newton_decrement": optimum.decrement,
        },
    )
    return values, -np.asarray(hessian), optimiser_problems(optimum), record


def _runner_up(optimum: Optimum) -> float:
    """The best objective at another optimum; NaN where every restart reached the same one."""
    others = optimum.ends[optimum.reached :]
    return float(others[0]) if others.size else float("nan")
