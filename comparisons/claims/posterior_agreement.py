"""Samplers of one posterior agree, and approximations miss it by the amount theory predicts.

Two converged samplers differ only by Monte Carlo error.  A mean-field Gaussian has standard
deviations 1/√Λ_jj, Λ the posterior precision, which is too narrow wherever parameters are
correlated.  A Gaussian at the mode misses the skewness, which moves the mean by the third
derivative of the log posterior; an optimum misses the Jacobian, and that of the likelihood the
prior, as well.
References: Blei, Kucukelbir & McAuliffe (2017), JASA 112; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from comparisons.policy import FIRST_ORDER, POSTERIOR
from comparisons.reference import exact_posterior, reference_posterior, shared, unreliable
from comparisons.targets import mean_field, predictions
from comparisons.verdict import Verdict, not_comparable
from inference.method import label
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.case import Case
    from comparisons.targets import Optimum, Predictions
    from inference.estimate import Scalar
    from inference.method import Method

NO_MODE = "nothing is predicted: no mode of the posterior can be relied on"


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Mean and sd of every method against the reference."""
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable("posterior agreement", "no sampler of the posterior converged")
        return
    against, truth = reference
    theory = predictions(case)
    for method, fit in case.estimates().items():
        if method == against:
            continue
        sides = {"method": label(method), "reference": label(against)}
        if fit.problems:
            cause = unreliable(sides["method"], fit)
            yield not_comparable("{method} against {reference}", cause, **sides)
            continue
        claim = "{quantity} of {parameter}: {method} − {reference}"
        for scalar, one, other in shared(case.model, fit, truth):
            bounds = {"bound": POSTERIOR * other.sd, "prediction_error": FIRST_ORDER * other.sd}
            verdict = partial(Verdict, claim, parameter=scalar, **bounds, **sides)
            shift, cause = _predicted_shift(method, scalar, theory)
            yield verdict(
                one.location,
                other.location,
                error=_combined(one.location_error, other.location_error),
                quantity="mean",
                cause=cause,
                predicted=None if shift is None else other.location - shift,
            )
            if isfinite(one.sd):  # statsmodels has no standard error of some quantities
                sd, cause = _predicted_sd(method, scalar, theory, other)
                error = _combined(one.sd_error, other.sd_error)
                yield verdict(
                    one.sd, other.sd, error=error, quantity="sd", cause=cause, predicted=sd
                )


def _combined(a: float, b: float) -> float:
    return (a**2 + b**2) ** 0.5


def _optimum(method: Method, theory: Predictions) -> Optimum | None:
    """Where theory has the optimum of a method that is one, which is not read off the fit."""
    if method.kind not in ("optimum", "exact") or exact_posterior(method):
        return None
    return theory.likelihood if method.target == "likelihood" else theory.joint


def _predicted_shift(
    method: Method, scalar: str, theory: Predictions | None
) -> tuple[float | None, str]:
    """Posterior mean less the method's, by theory."""
    if theory is None:
        return None, NO_MODE
    if method.kind == "laplace":
        shifts = theory.mean_minus_laplace.get(method.language) if method.language else None
        if shifts is None:
            return None, NO_MODE
        return shifts[scalar], "skewness: the third derivative moves the mean"
    if optimum := _optimum(method, theory):
        shift = theory.mean[scalar] - optimum.location[scalar]
        return shift, "an optimum is not a mean: prior, Jacobian and skewness move it"
    if field := mean_field(theory, method):
        cause = "mean-field Gaussian: the correlations that it leaves out move the mean"
        return field.mean_minus[scalar], cause
    return None, ""


def _predicted_sd(
    method: Method, scalar: str, theory: Predictions | None, reference: Scalar
) -> tuple[float | None, str]:
    """The method's sd by theory, scaled to the measured posterior."""
    if theory is None:
        return None, NO_MODE
    if field := mean_field(theory, method):
        ratio = field.sd[scalar] / field.full_sd[scalar]
        return ratio * reference.sd, "mean-field Gaussian: sd is 1/√Λ_jj"
    if optimum := _optimum(method, theory):
        ratio = optimum.sd[scalar] / theory.full_sd[scalar]
        return ratio * reference.sd, "prior and finite N: J⁻¹ at the optimum for (J + P)⁻¹"
    return None, ""
