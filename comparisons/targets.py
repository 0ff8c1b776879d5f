"""The target of each method: its result in exact arithmetic.

* the posterior, by importance sampling at its modes (`inference.posterior.importance`), where the
  weights can be trusted: the second opinion on samplers, and the finite-N value that theory has
  for whatever is held against the posterior;
* an optimum of ℓ, or of ℓ + log π: where Newton's method leads in the other program, from the
  method's own point or from the posterior's mode, whichever ends higher;
* Laplace's approximation: N(û, H⁻¹) in the space of the method's program;
* the Gaussian N(m, S) nearest to the posterior, which alone has E[∇f] = 0 and E[−∇²f] = S⁻¹, of
  which a mean field needs the diagonal: one natural-gradient step from the fitted law, averaged
  over points of its own, ends there to first order.

References: Tierney & Kadane (1986), JASA 81; Opper & Archambeau (2009), Neural Comput. 21;
Khan & Rue (2023), JMLR 24.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import nan
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.policy import PARETO, POSTERIOR, UNCOVERED, Z
from comparisons.reference import (
    positions,
    reference_posterior,
    scalars,
    unconstrained_draws,
    values_at,
)
from comparisons.verdict import Verdict
from inference.information.delta import bound_error, quantity_covariance, standard_deviations
from inference.information.derivatives import derivatives, log_posterior, quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import simulated_scores
from inference.optimisation.modes import modes
from inference.optimisation.newton import climb
from inference.posterior.importance import importance, log_posterior_at
from inference.posterior.labels import canonical
from inference.posterior.points import reported, to_natural
from models.capabilities import HasExpectedInformation, HasOwnPrograms
from models.programs.density import (
    density,
    flatten,
    languages,
    names_of_entries,
    quantities,
    quantity_table,
    units,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from comparisons.case import Case
    from inference.estimate import Estimate
    from inference.information.derivatives import Objective
    from inference.method import Method
    from inference.posterior.importance import Importance, Mode
    from models.programs.density import Density

FINITE = "prior, skewness and finite N: the posterior itself, by importance sampling"
_STARTS = {"quick": 8, "standard": 20, "thorough": 60}
"""Starts of the search for modes, by profile."""
_OUTSIDE = 0.005
"""Largest share of the posterior outside of one fold, where the fold cuts it."""
_CHECKED = 2_000
"""Draws of the reference by which the proposal is checked."""
_STEPS = 20
"""Natural-gradient steps from Laplace's approximation to the nearest Gaussian."""
_POINTS, _BATCHES = 2_048, 16
"""Points by which the expectations of a Gaussian are averaged, and their batches."""


class Corrected(NamedTuple):
    """The posterior by importance sampling, by flat name of the quantity; empty with a problem."""

    mean: dict[str, tuple[float, float]]
    """With the Monte Carlo error, as below."""
    sd: dict[str, tuple[float, float]]
    location: np.ndarray
    """Mean in the unconstrained space of the first program, shape (k,)."""
    covariance: np.ndarray
    """There, shape (k, k)."""
    khat: float
    problem: str = ""
    """Why it does not stand for the posterior; "" if it does."""


class Optimum(NamedTuple):
    """An optimum and the sd that J⁻¹ gives it, by flat name of the quantity."""

    location: dict[str, float]
    sd: dict[str, float]


class Gaussian(NamedTuple):
    """A Gaussian in an unconstrained space, with the errors of its means and sds."""

    mean: np.ndarray
    covariance: np.ndarray
    mean_error: np.ndarray
    sd_error: np.ndarray

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations, shape (k,)."""
        return np.sqrt(np.diag(self.covariance))


# --- the posterior --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def corrected(case: Case) -> Corrected:
    """Laplace's approximation of the posterior, corrected by importance weights.

    Args:
        case: the case; where it has a reference with draws, these tell whether the proposal misses
            a place.

    Raises:
        StoreError: the store cannot be read or written.
    """
    target, rng = density(case.model, case.data), case.rng("importance sampling")
    nothing = Corrected({}, {}, np.empty(0), np.empty(0), np.inf)
    found = _modes(case)
    if not found:
        return nothing._replace(problem="no interior mode of the posterior was found")
    try:
        drawn = importance(case.model, case.data, target, list(found), rng)
    except np.linalg.LinAlgError:
        return nothing._replace(problem="the curvature at a mode of the posterior is degenerate")
    if drawn.outside > _OUTSIDE:
        told = "its components overlap, so that no order of their labels makes one mode"
        return nothing._replace(khat=drawn.khat, problem=told)
    if not drawn.khat < PARETO:
        told = f"Pareto k̂ of the importance weights is {drawn.khat:.2f}; expected below {PARETO:g}"
        return nothing._replace(khat=drawn.khat, problem=told)
    if (missed := _missed(case, target, drawn)) > UNCOVERED:
        where = "where importance sampling saw nothing"
        told = f"{100 * missed:.1f} % of the reference's draws lie {where}"
        return nothing._replace(khat=drawn.khat, problem=told)
    natural = {name: x[0] for name, x in to_natural(target, drawn.points[None]).items()}
    values = reported(case.model)(natural)
    flat = np.concatenate([np.reshape(x, (len(drawn.points), -1)) for x in values.values()], axis=1)
    mean, mean_error, sd, sd_error = drawn.moments(flat)
    one = {name: x[0] for name, x in values.items()}
    names = names_of_entries(quantity_table(case.model), case.data, one)
    location = drawn.weights @ drawn.points
    off = drawn.points - location
    return Corrected(
        dict(zip(names, zip(mean.tolist(), mean_error.tolist(), strict=True), strict=True)),
        dict(zip(names, zip(sd.tolist(), sd_error.tolist(), strict=True), strict=True)),
        location,
        (drawn.weights[:, None] * off).T @ off,
        drawn.khat,
    )


def _missed(case: Case, target: Density, drawn: Importance) -> float:
    reference = reference_posterior(case)
    if reference is None or reference[1].draws is None:
        return 0.0
    points = unconstrained_draws(case, reference[1], target)
    points = points[:: max(1, len(points) // _CHECKED)]
    return drawn.uncovered(log_posterior_at(case.model, case.data, target, points), points)


def explained(
    verdict: Verdict, predicted: tuple[float, float] | None, theory: Corrected
) -> Verdict:
    """A verdict on a posterior, with what importance sampling has in its place.

    Args:
        verdict: on a number of the posterior that is held against something else.
        predicted: the number by importance sampling and its Monte Carlo error; None if unknown.
        theory: whose it is, or which says why there is none.

    Returns:
        The verdict, which is NOT COMPARABLE where it would be DIFFER and nothing is predicted.
    """
    if predicted is not None:
        value, error = predicted
        slack = verdict.bound + Z * error
        return replace(verdict, cause=FINITE, predicted=value, prediction_error=slack)
    if verdict.outcome != "DIFFER":
        return verdict
    cause = f"outside the bound, and the posterior at this N has no known value: {theory.problem}"
    return replace(verdict, expected=nan, cause=cause)


def declared(case: Case, top: Estimate, deviation: np.ndarray) -> list[Verdict]:
    """The expected information that a model declares, against the scores of simulated units.

    Args:
        case: the case.
        top: a maximum of the likelihood.
        deviation: the standard errors there that the declared information gives, shape (m,).

    Returns:
        A verdict on each standard error; none where nothing is declared, or the data have a design
        that simulated ones would not have.
    """
    model, one_column = case.model, len(case.data.data_vars) == 1
    if isinstance(model, HasOwnPrograms) or not isinstance(model, HasExpectedInformation):
        return []
    if not one_column:
        return []
    target = density(model, case.data)
    u = target.unconstrain(canonical(model, values_at(top)))
    per_unit = simulated_scores(model, target, u, case.rng("simulated scores"))
    n = units(model, case.data)
    inverse = invert(model, target, u, n * per_unit.T @ per_unit / len(per_unit))
    if inverse.problem or inverse.boundary.any():
        return []
    jacobian = np.asarray(quantity_jacobian(model, target)(u))
    found = standard_deviations(jacobian, inverse.covariance)
    error = found * bound_error(jacobian, inverse.covariance, per_unit) / 2
    place = positions(top)
    return [
        Verdict(
            "{quantity} of {parameter}: as declared − {reference}",
            float(deviation[place[scalar]]),
            float(found[place[scalar]]),
            error=float(error[place[scalar]]),
            bound=POSTERIOR * float(found[place[scalar]]),
            quantity="expected standard error",
            parameter=scalar,
            reference="by the scores of simulated units",
        )
        for scalar in scalars(model, top)
        if found[place[scalar]] > 0
    ]


# --- optima ---------------------------------------------------------------------------------------


def optimum(case: Case, method: Method, fit: Estimate) -> Optimum | None:
    """The optimum that a method looks for, by Newton's method in the other program.

    Args:
        case: the case.
        method: a method whose fit is an optimum; its target says of what.
        fit: its fit, where one of the climbs starts.

    Returns:
        The higher of two ends; None where no climb ends inside, or on an edge.
    """
    objective: Objective = "likelihood" if method.target == "likelihood" else "joint"
    both = languages(case.model)
    other = both[-1] if method.language == both[0] else both[0]
    target = density(case.model, case.data, other)
    compiled = derivatives(target, objective)
    starts = [values_at(fit)] if fit.point.data_vars else []
    starts += _mode(case)
    ends = [climb(compiled, np.asarray(target.unconstrain(values))) for values in starts]
    inside = [end for end in ends if end is not None]
    if not inside:
        return None
    u, information = max(
        inside, key=lambda end: float(compiled.value_and_gradient(jnp.asarray(end[0]))[0])
    )
    at = jnp.asarray(u)
    inverse = invert(case.model, target, at, information)
    if inverse.problem or inverse.boundary.any():
        return None
    deviation = np.sqrt(np.diag(quantity_covariance(case.model, target, at, inverse)))
    values = quantities(case.model, target.constrain(at))
    names = names_of_entries(quantity_table(case.model), case.data, values)
    location = np.asarray(flatten(values))
    return Optimum(
        dict(zip(names, location.tolist(), strict=True)),
        dict(zip(names, deviation.tolist(), strict=True)),
    )


@lru_cache(maxsize=8)
def _modes(case: Case) -> tuple[Mode, ...]:
    """The modes of the posterior in the space of the first program, highest first."""
    target, rng = density(case.model, case.data), case.rng("modes")
    return tuple(modes(case.model, case.data, target, rng, _STARTS[case.profile]))


def _mode(case: Case) -> list[dict[str, jax.Array]]:
    """The values of the parameters at the highest mode of the posterior; none without one."""
    target = density(case.model, case.data)
    return [dict(target.constrain(jnp.asarray(one.u))) for one in _modes(case)[:1]]


# --- Gaussians in the unconstrained space ---------------------------------------------------------


def laplace(target: Density, near: np.ndarray) -> Gaussian | None:
    """Laplace's approximation by Newton's method from a point nearby; None without a mode.

    Args:
        target: the density in whose space it is.
        near: unconstrained, shape (k,).
    """
    top = climb(derivatives(target, "posterior"), near)
    if top is None:
        return None
    none = np.zeros(near.size)
    return Gaussian(top[0], np.linalg.inv(top[1]), none, none)


def nearest(
    target: Density, mean: np.ndarray, covariance: np.ndarray, family: str, rng: np.random.Generator
) -> Gaussian | None:
    """The Gaussian of a family nearest to the posterior, to first order in the distance from one.

    Args:
        target: the density in whose space it is.
        mean: of the fitted law, shape (k,).
        covariance: of the fitted law, shape (k, k); diagonal for a mean field.
        family: `mean_field` or `full_rank`.
        rng: draws the points.

    Returns:
        It, with Monte Carlo errors; None where the posterior curves up about the fitted law, which
        then is nowhere near.
    """
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return None
    half = rng.standard_normal((_POINTS // 2, mean.size))
    # each point beside its mirror image, so that odd terms drop out
    noise = np.stack([half, -half], axis=1).reshape(_POINTS, mean.size)
    points = mean + noise @ np.linalg.cholesky(covariance).T
    slopes, curvatures = map(np.asarray, _slopes(target)(jnp.asarray(points)))
    batches = [part.reshape(_BATCHES, -1, *part.shape[1:]) for part in (slopes, -curvatures)]
    whole = _step(mean, slopes.mean(axis=0), -curvatures.mean(axis=0), family)
    left_out = []
    for i in range(_BATCHES):
        slope, precision = (np.delete(part, i, axis=0).mean(axis=(0, 1)) for part in batches)
        left_out.append(_step(mean, slope, precision, family))
    steps = [one for one in left_out if one is not None]
    if whole is None or len(steps) < _BATCHES:
        return None
    means = np.stack([one[0] for one in steps])
    sds = np.sqrt([np.diag(one[1]) for one in steps])
    scale = np.sqrt(_BATCHES - 1)  # of the jackknife
    mean, covariance = whole
    return Gaussian(mean, covariance, scale * means.std(axis=0), scale * sds.std(axis=0))


def from_the_mode(case: Case, target: Density, family: str) -> Gaussian | None:
    """The Gaussian of a family nearest to the posterior, by steps from Laplace's approximation.

    Args:
        case: the case, whose highest mode is where the steps begin.
        target: the density in whose space it is.
        family: `mean_field` or `full_rank`; "" for Laplace's approximation itself.

    Returns:
        It, with the Monte Carlo errors of the last step; None where a step leads nowhere.
    """
    for values in _mode(case):
        found = laplace(target, np.asarray(target.unconstrain(values)))
        for step in range(_STEPS if family else 0):
            if found is None:
                break
            spread = found.covariance
            if family == "mean_field":
                spread = np.diag(1 / np.diag(np.linalg.inv(spread))) if step == 0 else spread
            rng = np.random.default_rng(0)  # the same points, so that the steps end
            found = nearest(target, found.mean, spread, family, rng)
        return found
    return None


def _step(
    mean: np.ndarray, slope: np.ndarray, precision: np.ndarray, family: str
) -> tuple[np.ndarray, np.ndarray] | None:
    if not np.isfinite(precision).all() or np.linalg.eigvalsh(precision)[0] <= 0:
        return None
    kept = np.diag(np.diag(precision)) if family == "mean_field" else precision
    return mean + np.linalg.solve(precision, slope), np.linalg.inv(kept)


@lru_cache(maxsize=64)
def _slopes(target: Density) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Gradient and Hessian of the log posterior at many points, compiled."""

    def both(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(at: jax.Array) -> jax.Array:
            return log_posterior(target, at)

        return jax.grad(one)(u), jax.hessian(one)(u)

    return jax.jit(lambda points: jax.lax.map(both, points, batch_size=16))
