"""Samplers of one posterior agree, and approximations miss it by the amount theory predicts.

Two converged samplers differ only by Monte Carlo error.  A mean-field Gaussian has standard
deviations 1/√Λ_jj, Λ the posterior precision, which is too narrow wherever parameters are
correlated.  A Gaussian at the mode misses the skewness, which moves the mean by the third
derivative of the log posterior; an optimum misses the Jacobian, and that of the likelihood the
prior, as well.
References: Blei, Kucukelbir & McAuliffe (2017), JASA 112; Tierney & Kadane (1986), JASA 81.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from comparisons.policy import FIRST_ORDER, POSTERIOR
from comparisons.reference import reference_posterior, shared, unreliable
from comparisons.targets import language_of, mean_field, predictions
from comparisons.verdict import Verdict, not_comparable
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.case import Case
    from comparisons.reference import Scalar
    from comparisons.targets import Optimum, Predictions
    from inference.estimate import Estimate

NO_MODE = "nothing is predicted: no mode of the posterior can be relied on"


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Centre and spread of every method against the reference."""
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable("posterior agreement", "no sampler of the posterior converged")
        return
    against, truth = reference
    fits = case.estimates()
    theory = predictions(case)
    for name, fit in fits.items():
        if name == against:
            continue
        if fit.problems:
            yield not_comparable(f"{name} against {against}", unreliable(name, fit))
            continue
        optimum = _optimum(name, fit, theory, likelihood=name in case.estimates("likelihood"))
        for scalar, one, other in shared(case.model, fit, truth):
            shift, cause = _predicted_shift(name, scalar, theory, optimum)
            yield Verdict(
                f"mean of {scalar}: {name} − {against}",
                one.location,
                other.location,
                error=_combined(one.location_error, other.location_error),
                bound=POSTERIOR * other.sd,
                cause=cause,
                predicted=None if shift is None else other.location - shift,
                prediction_error=FIRST_ORDER * other.sd,
            )
            if not isfinite(one.sd):
                continue  # statsmodels has no standard error of some quantities
            sd, cause = _predicted_sd(name, scalar, theory, optimum, other)
            yield Verdict(
                f"sd of {scalar}: {name} − {against}",
                one.sd,
                other.sd,
                error=_combined(one.sd_error, other.sd_error),
                bound=POSTERIOR * other.sd,
                cause=cause,
                predicted=sd,
                prediction_error=FIRST_ORDER * other.sd,
            )


def _combined(a: float, b: float) -> float:
    return (a**2 + b**2) ** 0.5


def _optimum(
    name: str, fit: Estimate, theory: Predictions | None, *, likelihood: bool
) -> Optimum | None:
    """Where theory has the optimum of a method without draws, which is not read off the fit."""
    if theory is None or fit.draws is not None or name == "exact_posterior":
        return None
    return theory.likelihood if likelihood else theory.joint


def _predicted_shift(
    name: str, scalar: str, theory: Predictions | None, optimum: Optimum | None
) -> tuple[float | None, str]:
    """Posterior mean less the method's centre, by theory."""
    if theory is None:
        return None, NO_MODE
    if name.startswith("laplace"):
        shifts = theory.mean_minus_laplace.get(language_of(name))
        if shifts is None:
            return None, NO_MODE
        return shifts[scalar], "skewness: the third derivative moves the mean"
    if optimum is not None:
        shift = theory.mean[scalar] - optimum.location[scalar]
        return shift, "an optimum is not a mean: prior, Jacobian and skewness move it"
    if field := mean_field(theory, name):
        cause = "mean-field Gaussian: the correlations that it leaves out move the mean"
        return field.mean_minus[scalar], cause
    return None, ""


def _predicted_sd(
    name: str, scalar: str, theory: Predictions | None, optimum: Optimum | None, reference: Scalar
) -> tuple[float | None, str]:
    """What theory predicts for the method's sd, scaled to the measured posterior."""
    if theory is None:
        return None, NO_MODE
    if field := mean_field(theory, name):
        ratio = field.sd[scalar] / field.full_sd[scalar]
        return ratio * reference.sd, "mean-field Gaussian: sd is 1/√Λ_jj"
    if optimum is not None:
        ratio = optimum.sd[scalar] / theory.full_sd[scalar]
        return ratio * reference.sd, "prior and finite N: J⁻¹ at the optimum for (J + P)⁻¹"
    return None, ""
