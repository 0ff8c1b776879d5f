"""The target of each method: its result in exact arithmetic.

* the posterior, by importance sampling at its modes (`inference.posterior.importance`), where the
  weights can be trusted: the second opinion on samplers, and the finite-N value that theory has
  for whatever is held against the posterior;
* an optimum of ℓ, or of ℓ + log π: where Newton's method leads in the other program, from the
  method's own point or from the posterior's mode, whichever ends higher;
* the Gaussians of Laplace's approximation and of variational inference, in the space of the
  method's program (`inference.optimisation.gaussians`).

Reference: Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import nan
from typing import TYPE_CHECKING, NamedTuple

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
from inference.estimate import Estimate
from inference.information.delta import bound_error, quantity_covariance, standard_deviations
from inference.information.derivatives import Objective, derivatives, quantity_jacobian
from inference.information.edges import edges
from inference.information.inversion import invert
from inference.information.matrices import simulated_scores
from inference.method import Method
from inference.optimisation.gaussians import modes
from inference.optimisation.newton import climb
from inference.posterior.importance import Importance, Mode, importance, log_posterior_at
from inference.posterior.labels import canonical
from inference.posterior.points import reported, to_natural
from models.capabilities import HasExpectedInformation, HasOwnPrograms
from models.programs.density import (
    Density,
    density,
    flatten,
    languages,
    names_of_entries,
    quantities,
    quantity_table,
    units,
)

if TYPE_CHECKING:
    from comparisons.case import Case

FINITE = "prior, skewness and finite N: the posterior itself, by importance sampling"
_STARTS = {"quick": 8, "standard": 20, "thorough": 60}
"""Starts of the search for modes, by profile."""
_OUTSIDE = 0.005
"""Largest share of the posterior outside of one fold, where the fold cuts it."""
_CHECKED = 2_000
"""Draws of the reference by which the proposal is checked."""


class Corrected(NamedTuple):
    """The posterior by importance sampling, by flat name of the quantity; empty with a problem."""

    mean: dict[str, tuple[float, float]]
    """With the Monte Carlo error, as below."""
    sd: dict[str, tuple[float, float]]
    location: np.ndarray
    """Mean in the unconstrained space of the first program, shape (k,)."""
    covariance: np.ndarray
    """There, shape (k, k)."""
    problem: str = ""
    """Why it does not stand for the posterior; "" if it does."""


class Optimum(NamedTuple):
    """An optimum and the sd that J⁻¹ gives it, by flat name of the quantity."""

    location: dict[str, float]
    sd: dict[str, float]


# --- the posterior --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def corrected(case: Case) -> Corrected:
    """Laplace's approximation of the posterior, corrected by importance weights.

    Where there is a reference with draws, these tell whether the proposal misses a place.

    Raises:
        StoreError: the store cannot be read or written.
    """
    target, rng = density(case.model, case.data), case.rng("importance sampling")
    nothing = Corrected({}, {}, np.empty(0), np.empty(0))
    found = _modes(case)
    if not found:
        return nothing._replace(problem="no interior mode of the posterior was found")
    try:
        drawn = importance(case.model, target, list(found), rng)
    except np.linalg.LinAlgError:
        return nothing._replace(problem="the curvature at a mode of the posterior is degenerate")
    if problem := _untrusted(case, target, drawn):
        return nothing._replace(problem=problem)
    natural = {name: x[0] for name, x in to_natural(target, drawn.points[None]).items()}
    values = reported(case.model)(natural)
    flat = np.concatenate([np.reshape(x, (len(drawn.points), -1)) for x in values.values()], axis=1)
    one = {name: x[0] for name, x in values.items()}
    names = names_of_entries(quantity_table(case.model), case.data, one)
    moments = zip(*(part.tolist() for part in drawn.moments(flat)), strict=True)
    by_name = dict(zip(names, moments, strict=True))
    location = drawn.weights @ drawn.points
    off = drawn.points - location
    return Corrected(
        {name: (mean, error) for name, (mean, error, _, _) in by_name.items()},
        {name: (sd, error) for name, (_, _, sd, error) in by_name.items()},
        location,
        (drawn.weights[:, None] * off).T @ off,
    )


def _untrusted(case: Case, target: Density, drawn: Importance) -> str:
    """Why weighted draws do not stand for the posterior; "" if they do."""
    if drawn.outside > _OUTSIDE:
        return "its components overlap, so that no order of their labels makes one mode"
    if not drawn.khat < PARETO:
        return f"Pareto k̂ of the importance weights is {drawn.khat:.2f}; expected below {PARETO:g}"
    reference = reference_posterior(case)
    if reference is None or reference[1].draws is None:
        return ""
    points = unconstrained_draws(case, reference[1], target)
    points = points[:: max(1, len(points) // _CHECKED)]
    missed = drawn.uncovered(log_posterior_at(case.model, target, points), points)
    told = (
        f"{100 * missed:.1f} % of the reference's draws lie where importance sampling saw nothing"
    )
    return told if missed > UNCOVERED else ""


def explained(
    verdict: Verdict, predicted: tuple[float, float] | None, theory: Corrected
) -> Verdict:
    """A verdict on a posterior, with the number and error by importance sampling in its place.

    Without one, theory says why, and what would be DIFFER is NOT COMPARABLE.
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

    A verdict on each of the standard errors that it gives at a maximum of the likelihood, shape
    (m,); none where nothing is declared, or the data have a design that simulated ones would not.
    """
    model = case.model
    if isinstance(model, HasOwnPrograms) or not isinstance(model, HasExpectedInformation):
        return []
    if len(case.data.data_vars) != 1:
        return []
    target = density(model, case.data)
    u = target.unconstrain(canonical(model, values_at(top)))
    per_unit = simulated_scores(model, target.constrain(u), case.rng("simulated scores"))
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

    The higher of two ends, of climbs from the fit and from the mode; None where no climb ends
    inside, or on an edge.
    """
    objective: Objective = "likelihood" if method.target == "likelihood" else "joint"
    both = languages(case.model)
    other = both[-1] if method.language == both[0] else both[0]
    target = density(case.model, case.data, other)
    compiled = derivatives(target, objective)
    starts = [np.asarray(target.unconstrain(values_at(fit)))] if fit.point.data_vars else []
    ends = [climb(compiled, start) for start in (*starts, *highest_mode(case, target))]
    inside = [end for end in ends if end is not None]
    if not inside:
        return None
    u, information = max(
        inside, key=lambda end: float(compiled.value_and_gradient(jnp.asarray(end[0]))[0])
    )
    at = jnp.asarray(u)
    edge = edges(case.model, target, u, information, objective).coordinates
    inverse = invert(case.model, target, at, information, edge)
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
    return tuple(modes(case.model, target, rng, _STARTS[case.profile]))


def highest_mode(case: Case, target: Density) -> list[np.ndarray]:
    """The highest known mode of the posterior in the space of a density, shape (k,), if any."""
    own = density(case.model, case.data)
    found = [own.constrain(jnp.asarray(one.u)) for one in _modes(case)[:1]]
    return [np.asarray(target.unconstrain(values)) for values in found]
