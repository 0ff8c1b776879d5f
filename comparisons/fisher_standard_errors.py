"""Standard errors from the Fisher information are the posterior's standard deviations.

By Bernstein–von Mises the posterior tends to N(θ̂, J⁻¹) when the model is right.  At finite N the
prior and the chart enter: its covariance is (J + P)⁻¹ to first order, which is the prediction shown
where a corner of the information lattice and the posterior part.  When the model is wrong the
sandwich parts from the others, and the posterior does not follow it.
References: van der Vaart (1998), Asymptotic Statistics, §10.2; Kleijn & van der Vaart (2012),
Electron. J. Statist. 6; White (1982), Econometrica 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from comparisons._predictions import predictions, through
from comparisons._scalars import positions, reference_posterior, scalars, unreliable
from comparisons._verdict import Verdict, not_comparable
from inference._information import (
    expected,
    invert,
    observed,
    outer_product,
    quantity_covariance,
    quantity_jacobian,
)
from models._density import density
from models._errors import FitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons._case import Case
    from comparisons._predictions import Predictions
    from inference._estimate import Estimate

BOUND = 0.05
"""Largest relative difference between a standard error and a posterior standard deviation."""
NEXT_ORDER = 0.05
"""How far the first-order prediction may be off, relative."""


def compare(case: Case) -> Iterator[Verdict]:
    """Posterior and VI spreads against the four corners of the information lattice."""
    maximum = _maximum(case)
    if maximum is None:
        yield not_comparable("Fisher standard errors", "no maximum-likelihood estimate is reliable")
        return
    corners, problem = four_corners(case, maximum)
    if problem:
        yield not_comparable("Fisher standard errors", problem)
    yield from _reported(case, maximum, corners)
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable("Fisher standard errors", "no sampler of the posterior converged")
        return
    fits = case.estimates("posterior")
    laplace = fits.get("laplace")
    theory = predictions(case, laplace) if laplace and not laplace.problems else None
    place = positions(maximum)
    expected_sd = None
    if theory is not None and "expected" in corners:
        expected_sd = _through_expected(case, maximum, theory)
    names = [reference[0], *(name for name in fits if name.startswith("svi"))]
    for name in names:
        if fits[name].problems:
            yield not_comparable(f"sd under {name}", unreliable(name, fits[name]))
            continue
        mean_field = "mean_field" in name
        for scalar, posterior in scalars(case.model, fits[name]).items():
            for corner, (deviation, error) in corners.items():
                # VI is held against the default corner only
                if name != reference[0] and corner != "observed":
                    continue
                predicted = None
                if theory is not None:
                    own = expected_sd if corner == "expected" and expected_sd else theory.full_sd
                    predicted = (theory.mean_field_sd if mean_field else own)[scalar]
                yield Verdict(
                    f"sd of {scalar}: {name} − {corner} standard error",
                    posterior.spread,
                    float(deviation[place[scalar]]),
                    error=float(np.hypot(posterior.spread_error, error[place[scalar]])),
                    bound=BOUND * float(deviation[place[scalar]]),
                    cause=_cause(corner, mean_field),
                    predicted=predicted,
                    prediction_error=NEXT_ORDER * posterior.spread,
                )


def _through_expected(case: Case, maximum: Estimate, theory: Predictions) -> dict[str, float]:
    """Posterior sd by the expected information itself, so that a wrong one explains nothing."""
    of = density(case.model, case.data)
    at = of.unconstrain({str(n): jnp.asarray(array.data) for n, array in maximum.point.items()})
    information, _ = expected(case.model, case.data, of, at, case.rng("expected information"))
    return through(case, at, information, theory)


def _reported(
    case: Case, maximum: Estimate, corners: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Iterator[Verdict]:
    """The standard errors that the fit itself reports, against the observed corner."""
    if "observed" not in corners:
        return
    place = positions(maximum)
    for scalar, one in scalars(case.model, maximum).items():
        here = float(corners["observed"][0][place[scalar]])
        about = f"standard error of {scalar}: as reported − observed"
        yield Verdict(about, one.spread, here, error=0.0, bound=BOUND * here)


def four_corners(
    case: Case, maximum: Estimate
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
    """Standard error of every flat quantity and its Monte Carlo error, by corner; and a problem."""
    of = density(case.model, case.data)
    values = {str(name): jnp.asarray(array.data) for name, array in maximum.point.items()}
    u = of.unconstrain(values)
    information = observed(of, u)
    scores = outer_product(of, u)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    problems = []
    corners, error = {"observed": information}, np.zeros_like(information)
    try:
        rng = case.rng("expected information")
        corners["expected"], error = expected(case.model, case.data, of, u, rng)
    except FitError as reason:
        problems.append(f"expected: {reason}")
    corners["opg"] = scores
    for corner, matrix in corners.items():
        inverse = invert(case.model, of, u, matrix)
        if inverse.problem:
            problems.append(f"{corner}: {inverse.problem}")
            continue
        covariance = quantity_covariance(case.model, of, u, inverse)
        deviation = np.sqrt(np.diag(covariance))
        spread = np.zeros_like(deviation)
        if error.any() and corner == "expected":
            # d(G I⁻¹ Gᵀ)_qq = −a_qᵀ dI a_q with a_q = I⁻¹ G_qᵀ, entries of dI taken as independent
            weight = (np.asarray(quantity_jacobian(case.model, of)(u)) @ inverse.covariance) ** 2
            variance = np.einsum("qi,ij,qj->q", weight, error**2, weight)
            spread = 0.5 * np.sqrt(variance) / deviation
        found[corner] = deviation, spread
        if corner == "observed":
            middle = inverse._replace(covariance=inverse.covariance @ scores @ inverse.covariance)
            robust = quantity_covariance(case.model, of, u, middle)
            found["sandwich"] = np.sqrt(np.diag(robust)), np.zeros_like(deviation)
    return found, "; ".join(problems)


def _maximum(case: Case) -> Estimate | None:
    for fit in case.estimates("likelihood").values():
        if not fit.problems and fit.point.data_vars:
            return fit
    return None


def _cause(corner: str, mean_field: bool) -> str:
    if mean_field:
        return "mean-field Gaussian: sd is 1/√Λ_jj, Λ = J + P"
    if corner == "expected":
        return "prior and finite N: (N·I + P)⁻¹"
    if corner == "sandwich":
        return "the posterior follows (J + P)⁻¹; misspecification scales the sandwich"
    if corner == "opg":
        return "the posterior follows (J + P)⁻¹; the information matrix equality fails here"
    return "prior and finite N: (J + P)⁻¹ at the posterior mode"
