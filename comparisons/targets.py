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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import nan
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_triangular

from comparisons.policy import PARETO, UNCOVERED, Z
from comparisons.reference import Case, reference, unconstrained_draws, values_at
from comparisons.verdict import Verdict
from inference.estimate import Estimate, Scalar
from inference.information.delta import quantity_covariance
from inference.information.derivatives import Objective, derivatives
from inference.information.edges import edges
from inference.information.inversion import invert, named
from inference.method import Method
from inference.optimisation.gaussians import modes
from inference.optimisation.newton import climb
from inference.posterior.evidence import Measured
from inference.posterior.importance import Importance, Mode, importance, log_posterior_at
from inference.posterior.labels import log_modes
from inference.posterior.points import reported, to_natural
from models.capabilities import HasDistortion
from models.programs.density import (
    Density,
    density,
    flatten,
    languages,
    names_of_entries,
    quantities,
    quantity_table,
)

FINITE = "prior, skewness and finite N: the posterior itself, by importance sampling"
_STARTS = {"quick": 8, "standard": 20, "thorough": 60}
"""Starts of the search for modes, by profile."""
_OUTSIDE = 0.005
"""Largest share of the posterior outside of one fold, where the fold cuts it."""
EVERY_DIRECTION = "in every direction"
_CHECKED = 2_000
"""Draws of the reference by which the proposal is checked."""


class Corrected(NamedTuple):
    """The posterior by importance sampling; empty with a problem."""

    problem: str
    """Why it does not stand for the posterior; "" if it does."""
    scalars: Mapping[str, Scalar] = MappingProxyType({})
    """By flat name of the quantity."""
    evidence: Measured = Measured(nan, nan)
    """Its logarithm, over all equal modes."""
    location: np.ndarray = np.empty(0)
    """Mean in the unconstrained space of the first program, shape (k,)."""
    covariance: np.ndarray = np.empty((0, 0))
    """There, shape (k, k)."""


# --- the posterior --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def corrected(case: Case) -> Corrected:
    """Laplace's approximation of the posterior, corrected by importance weights.

    Where there is a reference with draws, these tell whether the proposal misses a place.
    """
    target, rng = density(case.model, case.data), case.rng("importance sampling")
    found = _modes(case)
    if not found:
        return Corrected("no interior mode of the posterior was found")
    try:
        drawn = importance(target, list(found), rng)
    except np.linalg.LinAlgError:
        return Corrected("the curvature at a mode of the posterior is degenerate")
    if problem := _untrusted(case, target, drawn):
        return Corrected(problem)
    natural = {name: x[0] for name, x in to_natural(target, drawn.points[None]).items()}
    if isinstance(case.model, HasDistortion):
        likely = np.argsort(-drawn.weights)[: len(drawn.weights) // 10]
        if problem := case.model.distortion({n: x[likely] for n, x in natural.items()}, case.data):
            return Corrected(problem)
    values = reported(case.model)(natural)
    flat = np.concatenate([np.reshape(x, (len(drawn.points), -1)) for x in values.values()], axis=1)
    one = {name: x[0] for name, x in values.items()}
    names = names_of_entries(quantity_table(case.model), case.data, one)
    moments = np.stack(drawn.moments(flat), axis=1).tolist()
    by_name = {name: Scalar(*row) for name, row in zip(names, moments, strict=True)}
    location = drawn.weights @ drawn.points
    off = drawn.points - location
    value, error = drawn.evidence()
    log_z = Measured(value + log_modes(case.model), error)
    return Corrected("", by_name, log_z, location, (drawn.weights[:, None] * off).T @ off)


def heavy_tail(drawn: Importance) -> str:
    """Why means under importance weights are not to be relied on; "" if they are."""
    if drawn.khat < PARETO:
        return ""
    return f"Pareto k̂ of the importance weights is {drawn.khat:.2f}; expected below {PARETO:g}"


def _untrusted(case: Case, target: Density, drawn: Importance) -> str:
    """Why weighted draws do not stand for the posterior; "" if they do."""
    if drawn.outside > _OUTSIDE:
        return "its components overlap, so that no order of their labels makes one mode"
    if problem := heavy_tail(drawn):
        return problem
    fits = case.estimates("posterior")
    method = reference(fits)
    if method is None or fits[method].draws is None:
        return ""
    points = unconstrained_draws(case, fits[method], target)
    points = points[:: max(1, len(points) // _CHECKED)]
    missed = drawn.uncovered(log_posterior_at(target, points), points)
    if not missed > UNCOVERED:
        return ""
    share = f"{100 * missed:.1f} %"
    return f"{share} of the reference's draws lie where importance sampling saw nothing"


def explained(
    verdict: Verdict,
    predicted: tuple[float, float] | None,
    theory: Corrected,
    slack: float | None = None,
) -> Verdict:
    """A verdict on a posterior, with the number and error by importance sampling in its place.

    Without one, theory says why, and what would be DIFFER is NOT COMPARABLE.

    Args:
        verdict: on the posterior's number.
        predicted: that number by importance sampling, and its error; None if it is not known.
        theory: importance sampling, or why it does not stand for the posterior.
        slack: how far the two may be apart; the verdict's bound if None.
    """
    if predicted is not None and not theory.problem:
        value, error = predicted
        off = (verdict.bound if slack is None else slack) + Z * error
        return replace(verdict, cause=FINITE, predicted=value, prediction_error=off)
    if verdict.outcome != "DIFFER":
        return verdict
    cause = f"outside the bound, and the posterior at this N has no known value: {theory.problem}"
    return replace(verdict, expected=nan, cause=cause)


# --- optima ---------------------------------------------------------------------------------------


def optimum(case: Case, method: Method, fit: Estimate) -> dict[str, tuple[float, float]]:
    """The optimum that a method looks for, by Newton's method in the other program.

    Location, and the sd that J⁻¹ gives it, by flat name of the quantity.  The higher of two ends,
    of climbs from the fit and from the mode; nothing where no climb ends inside, or on an edge.
    """
    objective: Objective = "likelihood" if method.target == "likelihood" else "joint"
    both = languages(case.model)
    other = both[-1] if method.language == both[0] else both[0]
    target = density(case.model, case.data, other)
    compiled = derivatives(target, objective)
    starts = [np.asarray(target.unconstrain(values_at(fit)))] if fit.point.data_vars else []
    ends = [climb(compiled, start) for start in (*starts, *highest_mode(case, target))]
    inside = [(jnp.asarray(end[0]), end[1]) for end in ends if end is not None]
    if not inside:
        return {}
    at, information = max(inside, key=lambda end: float(compiled.value_and_gradient(end[0])[0]))
    edge = edges(case.model, target, np.asarray(at), information, objective).coordinates
    inverse = invert(case.model, target, at, information, edge)
    if inverse.problem or inverse.boundary.any():
        return {}
    deviation = np.sqrt(np.diag(quantity_covariance(case.model, target, at, inverse)))
    values = quantities(case.model, target.constrain(at))
    names = names_of_entries(quantity_table(case.model), case.data, values)
    found = zip(np.asarray(flatten(values)).tolist(), deviation.tolist(), strict=True)
    return dict(zip(names, found, strict=True))


def most_off(
    covariance: np.ndarray, draws: np.ndarray, names: Sequence[str]
) -> tuple[str, float, float]:
    """Where draws are most too wide or too narrow for N(·, Σ), by the eigenvalues λ of Σ⁻¹C.

    C is the covariance of the s draws.  Of draws of N(·, Σ) itself, in k dimensions, every √λ is
    within (√k + z)/√s of 1, but at the false-alarm rate.
    Reference: Davidson & Szarek (2001), Handbook of the Geometry of Banach Spaces 1, thm. 2.13.

    Returns:
        The direction by names, each in its sd, or that all are off alike; √λ there; its error.
    """
    factor = np.linalg.cholesky(covariance)
    standard = solve_triangular(factor, (draws - draws.mean(axis=0)).T, lower=True)
    eigenvalue, vector = np.linalg.eigh(np.atleast_2d(np.cov(standard)))
    ratio = np.sqrt(np.maximum(eigenvalue, np.finfo(float).tiny))  # 0 of draws that do not vary
    error = (1 + np.sqrt(len(factor)) / Z) / np.sqrt(len(draws))
    worst, slack = int(np.argmax(abs(np.log(ratio)))), 1 + 2 * Z * error
    along = EVERY_DIRECTION
    if not ratio[-1] / ratio[0] < slack < max(ratio[0], 1 / ratio[-1]):
        along = f"along {named(factor @ vector[:, worst] / np.sqrt(np.diag(covariance)), names)}"
    return along, float(ratio[worst]), float(ratio[worst] * error)


@lru_cache(maxsize=8)
def _modes(case: Case) -> tuple[Mode, ...]:
    """The modes of the posterior in the space of the first program, highest first."""
    target, rng = density(case.model, case.data), case.rng("modes")
    return tuple(modes(target, rng, _STARTS[case.profile]))


def highest_mode(case: Case, target: Density) -> list[np.ndarray]:
    """The highest known mode of the posterior in the space of a density, shape (k,), if any."""
    own = density(case.model, case.data)
    found = [own.constrain(jnp.asarray(one.u)) for one in _modes(case)[:1]]
    return [np.asarray(target.unconstrain(values)) for values in found]
