"""Every method finds what it looks for: its own optimum, or its own approximation of the posterior.

An optimum of ℓ or of ℓ + log π is where Newton's method ends in the other program; Laplace's
approximation is the Gaussian at the mode; a variational Gaussian is the member of its family
nearest to the posterior.  Each is held against that target by another route (`comparisons.targets`)
and a difference is an error of the fit: whether the target is near the posterior is another
question, which the grades answer.
References: Nocedal & Wright (2006), Numerical Optimization, ch. 3; Opper & Archambeau (2009),
Neural Comput. 21.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from comparisons.policy import OPTIMUM, POSTERIOR, RESOLUTION, STANDARD_ERROR
from comparisons.reference import (
    Case,
    coordinate_names,
    exact_posterior,
    parameter_draws,
    same_moments,
    scalars,
    unreliable,
)
from comparisons.targets import EVERY_DIRECTION, highest_mode, most_off, optimum
from comparisons.verdict import AGAINST, PARTED, Verdict, not_comparable
from inference.estimate import Estimate, Scalar
from inference.information.derivatives import derivatives
from inference.method import Method, label
from inference.optimisation.gaussians import Gaussian, from_the_mode, laplace, nearest
from inference.optimisation.newton import climb
from inference.posterior.diagnostics import moments
from inference.posterior.labels import exchangeable, one_fold
from models.capabilities import HasSigns
from models.programs.density import Density, density
from models.programs.precision import float64

_ROUNDED = 0.001
"""Largest share of draws whose probabilities round to 1, which are left out."""
_EXACT, _NEAR = 0.05, 0.3
"""Distance of a fit from the nearest Gaussian, in sd or logs of sd, from which on that is found by
steps from the mode."""
_FOLDED = 40_000
"""Draws of a Gaussian that is cut by a fold."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Every fit but a sampler's against its own target; a library's where it is farthest off."""
    for method, fit in case.estimates().items():
        if method.kind == "sampler" or exact_posterior(method):
            continue
        if fit.problems:
            yield _nothing(method, unreliable(label(method), fit))
            continue
        if method.kind in ("laplace", "variational"):
            unit, found = POSTERIOR, list(_gaussian(case, method, fit))
        else:  # ours are exact; of others what matters in practice is asked
            unit = POSTERIOR if method.shipped else OPTIMUM
            found = list(_optimum(case, method, fit, unit))
        yield from _with_causes(list(_worst(found)) if method.shipped else found, unit, fit)


def _nothing(method: Method, cause: str) -> Verdict:
    return not_comparable("own target of {method}", cause, method=label(method))


def _worst(verdicts: list[Verdict]) -> Iterator[Verdict]:
    """The worst row of each quantity: DIFFER, else one without a number, else the farthest off."""
    for quantity in dict.fromkeys(verdict.quantity for verdict in verdicts):
        rows = [verdict for verdict in verdicts if verdict.quantity == quantity]
        yield max(
            rows, key=lambda v: (v.outcome == "DIFFER", not isfinite(v.observed), v.bounds_off)
        )


def _with_causes(verdicts: list[Verdict], unit: float, fit: Estimate) -> Iterator[Verdict]:
    """The verdicts on one fit; where it misses its target, how far, and what it claimed.

    A bound is `unit` standard deviations.
    """
    judged = [verdict for verdict in verdicts if isfinite(verdict.observed)]
    if not judged:
        yield from verdicts
        return
    worst = max(judged, key=lambda verdict: (verdict.outcome == "DIFFER", verdict.bounds_off))
    off = unit * worst.bounds_off
    why = worst.cause if worst.outcome == "DIFFER" else ""
    why = why or "has not converged"
    cause = f"{why}: {float(f'{off:.2g}'):g} sd from {worst.reference}"
    if worst.quantity.startswith(("sd", "standard error")):
        ratio = worst.observed / worst.expected
        cause = f"its {worst.quantity} is {ratio:.2g} of that of {worst.reference}"
        if worst.quantity.endswith(EVERY_DIRECTION) and ratio > 0.01:  # they vary
            cause += f": its Hessian is {ratio**-2:.2g} H"
    claims = str(fit.record.attrs.get("claims", ""))
    cause += f", though it shows {claims}" if claims else ""
    cause += str(fit.record.attrs.get("restarted", ""))
    for verdict in verdicts:
        yield replace(verdict, cause=cause) if verdict.outcome == "DIFFER" else verdict
    if claims:
        yield replace(
            worst,
            claim="{method} shows {quantity}: its distance from its own target, in sd",
            quantity=claims,
            observed=off,
            expected=0.0,
            error=unit * worst.error / worst.bound,
            bound=unit,
            resolution=unit * worst.resolution / worst.bound,
            cause=cause if worst.outcome == "DIFFER" else "",
        )


def _optimum(case: Case, method: Method, fit: Estimate, unit: float) -> Iterator[Verdict]:
    """Location, within `unit` standard deviations, and standard error where it is that of J."""
    found = optimum(case, method, fit)
    if not found:
        cause = "Newton's method finds no maximum inside: on an edge, or a direction is flat"
        yield _nothing(method, cause)
        return
    sides = {"method": label(method), "reference": "its optimum by Newton's method"}
    for scalar, one in scalars(case.model, fit).items():
        location, sd = found[scalar]
        fields: dict[str, Any] = {"parameter": scalar, **sides}
        if sd > 0:  # no constant
            numbers = one.location, location, 0.0, unit * sd
            yield Verdict(AGAINST, *numbers, quantity="estimate", **fields)
        if sd > 0 and fit.sd_kind == "observed" and np.isfinite(one.sd):
            numbers = one.sd, sd, 0.0, STANDARD_ERROR * sd
            yield Verdict(AGAINST, *numbers, quantity="standard error", **fields)


def _gaussian(case: Case, method: Method, fit: Estimate) -> Iterator[Verdict]:
    """Mean and sd of every coordinate of the unconstrained space, by the method's own draws."""
    if method.language is None or (method.kind == "variational" and not method.family):
        yield _nothing(method, "no Gaussian of a known family and space is its target")
        return
    target = density(case.model, case.data, method.language)
    flat = parameter_draws(case, fit, target).reshape(-1, target.size)
    finite = np.isfinite(flat).all(axis=1)
    if finite.mean() < 1 - _ROUNDED:
        cause = f"{(~finite).sum():,} of {finite.size:,} draws are on an edge of the space"
        yield _nothing(method, cause)
        return
    flat = flat[finite]
    # the law may be at any of equal modes, its target at one
    flat = one_fold(target, flat, flat.mean(axis=0))[0]
    found = _target(case, method, target, flat)
    if found is None:
        yield _nothing(method, "the posterior is not concave where its target should be")
        return
    words = f"the nearest Gaussian ({method.family})" if method.family else "N(mode, H⁻¹)"
    rng = case.rng("fold", repr(method))
    expected, covariance = _moments(case, target, found, flat.mean(axis=0), rng)
    observed = np.stack(moments(flat[None]), 1)
    for place, name in ((1, "q_loc_error"), (3, "q_sd_error")):
        if name in fit.record:  # of an optimum by a set of points, what their choice leaves open
            observed[:, place] = np.hypot(observed[:, place], fit.record[name].values)
    runs = fit.record.attrs.get("runs", 1)
    claim = AGAINST.replace("{parameter}", "{parameter}, unconstrained")
    sides: dict[str, Any] = {"claim": claim, "method": label(method), "reference": words}
    if method.kind == "laplace" or (method.family == "full_rank" and runs == 1):
        along, ratio, error = most_off(covariance, flat, coordinate_names(target))
        open_ = np.hypot(expected[:, 3], observed[:, 3]) / expected[:, 2]
        error = float(np.hypot(error, ratio * open_.max()))
        told = {**sides, "claim": PARTED, "quantity": f"sd {along}"}
        told |= {"observed": ratio, "expected": 1.0, "error": error, "bound": POSTERIOR}
        yield Verdict(resolution=RESOLUTION, **told)
    if runs > 1:
        yield from _apart(fit, observed, expected, coordinate_names(target), sides)
        return
    rows = list[Verdict]()
    for i, name in enumerate(coordinate_names(target)):
        one, other = Scalar(*observed[i].tolist()), Scalar(*expected[i].tolist())
        rows += same_moments(one, other, other.sd, parameter=name, **sides)
    if method.kind == "laplace" and any(row.outcome == "DIFFER" for row in rows):
        at = flat.mean(axis=0)
        end = climb(derivatives(target, "joint"), at)
        plain = end is not None and (abs(end[0] - at) / found.sd).max() < POSTERIOR
        cause = "leaves the Jacobian out" if plain else ""
        rows = [replace(row, cause=cause) if row.outcome == "DIFFER" else row for row in rows]
    yield from rows


def _apart(
    fit: Estimate, observed: np.ndarray, expected: np.ndarray, names: list[str], sides: Any
) -> Iterator[Verdict]:
    """How far the runs of a fit by stochastic gradients are from its target, in root mean square.

    Their scatter is a part of how far such a fit is off, not a blur of it: these runs are judged,
    not what others might have given.
    """
    count, sd = fit.record.attrs["runs"], expected[:, 2]
    for at, moment in ((0, "mean"), (2, "sd")):
        each = fit.record[f"run_{moment}"].values
        far = np.sqrt((((each - expected[:, at]) / sd) ** 2).mean(axis=0))
        error = np.hypot(observed[:, at + 1] / np.sqrt(count), expected[:, at + 1]) / sd
        for i, name in enumerate(names):
            ratio = each[:, i].mean() / sd[i]
            told = moment == "sd" and far[i] > POSTERIOR
            yield Verdict(
                **sides,
                observed=float(far[i]),
                expected=0.0,
                error=float(error[i]),
                bound=POSTERIOR,
                resolution=RESOLUTION,
                cause=f"its sd is {ratio:.2g} of its target's" if told else "",
                quantity=f"distance in sd of the {moment}",
                parameter=name,
            )


def _target(case: Case, method: Method, target: Density, flat: np.ndarray) -> Gaussian | None:
    """The Gaussian that a fit with these draws should be; None where there is none."""
    near = flat.mean(axis=0)
    starts = [near, *highest_mode(case, target)]
    if method.kind == "laplace":
        return laplace(target, starts)
    covariance = np.atleast_2d(np.cov(flat, rowvar=False))
    if method.family == "mean_field":
        covariance = np.diag(np.diag(covariance))
    rng = case.rng("own target", repr(method))
    found, length = nearest(target, near, covariance, method.family, rng), np.inf
    if found is not None:
        moved = abs(found.mean - near) / found.sd
        stretched = abs(np.log(found.sd) - 0.5 * np.log(np.diag(covariance)))
        length = float(max(moved.max(), stretched.max()))
        if length < _EXACT:  # a step is exact to first order in its length
            return found
        if length < _NEAR:
            found = nearest(target, found.mean, found.covariance, method.family, rng) or found
    if found is None or length >= _NEAR:
        found = from_the_mode(target, starts, method.family) or found
    # the fit is not there: a step under other points tells what the choice of these leaves open
    other = found and nearest(target, found.mean, found.covariance, method.family, rng)
    if found is None or other is None:
        return None
    apart = abs(other.mean - found.mean), abs(other.sd - found.sd)
    return found._replace(
        mean_error=np.hypot(found.mean_error, apart[0]), sd_error=np.hypot(found.sd_error, apart[1])
    )


def _moments(
    case: Case, target: Density, found: Gaussian, pivot: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean, its error, sd and its error for each coordinate, of one fold of equal modes.

    With the covariance there.
    """
    if not isinstance(case.model, HasSigns) and not exchangeable(case.model):
        each = [found.mean, found.mean_error, found.sd, found.sd_error]
        return np.stack(each, axis=1), found.covariance
    noise = rng.standard_normal((_FOLDED, target.size))
    points = found.mean + noise @ np.linalg.cholesky(found.covariance).T
    folded = one_fold(target, points, pivot)[0]
    mean, mean_error, sd, sd_error = moments(folded[None])
    errors = np.hypot(mean_error, found.mean_error), np.hypot(sd_error, found.sd_error)
    covariance = np.atleast_2d(np.cov(folded, rowvar=False))
    return np.stack([mean, errors[0], sd, errors[1]], axis=1), covariance
