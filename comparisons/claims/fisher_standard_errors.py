"""Standard errors from the Fisher information are the posterior's standard deviations.

By Bernstein–von Mises the posterior tends to N(θ̂, J⁻¹) when the model is right.  At finite N the
prior and the chart enter: its covariance is (J + P)⁻¹ to first order, which is the prediction shown
where a corner of the information lattice and the posterior part.  The outer product equals J in
expectation only, and only when the model is right; the posterior follows neither it nor the
sandwich.  Since (J + P)⁻¹ says nothing of those two, each corner is first held against itself by
the other program, with scores by differences instead of derivatives; nothing explains one that
fails.
References: van der Vaart (1998), Asymptotic Statistics, §10.2; Kleijn & van der Vaart (2012),
Electron. J. Statist. 6; White (1982), Econometrica 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from comparisons.policy import FIRST_ORDER, POSTERIOR, TWO_PROGRAMS
from comparisons.reference import positions, reference_posterior, scalars, unreliable
from comparisons.targets import mean_field, predictions, through
from comparisons.verdict import Verdict, not_comparable
from inference.information.delta import bound_error, quantity_covariance
from inference.information.derivatives import derivatives, quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected, observed, outer_product
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import density
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.case import Case
    from comparisons.targets import Predictions
    from inference.estimate import Estimate
    from models.spec import Values

STEP = 1e-3
"""Step of the differences, in standard errors with the other coordinates held fixed."""


@float64
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
    theory = predictions(case)
    checks = _elsewhere(case, maximum, corners) if theory is not None else {}
    yield from checks.values()
    wrong = {corner for corner, check in checks.items() if check.outcome != "AGREE"}
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable("Fisher standard errors", "no sampler of the posterior converged")
        return
    fits = case.estimates("posterior")
    place = positions(maximum)
    expected_sd = None
    if theory is not None and "expected" in corners:
        expected_sd = _through_expected(case, maximum, theory)
    names = [reference[0], *(name for name in fits if name.startswith("gaussian_vi"))]
    for name in names:
        if fits[name].problems:
            yield not_comparable(f"sd under {name}", unreliable(name, fits[name]))
            continue
        field = mean_field(theory, name) if theory is not None else None
        for scalar, posterior in scalars(case.model, fits[name]).items():
            for corner, (deviation, error) in corners.items():
                # VI is held against the default corner only
                if name != reference[0] and corner != "observed":
                    continue
                predicted = None
                if theory is not None and corner not in wrong:
                    own = expected_sd if corner == "expected" and expected_sd else theory.full_sd
                    predicted = (field.sd if field is not None else own)[scalar]
                yield Verdict(
                    f"sd of {scalar}: {name} − {corner} standard error",
                    posterior.sd,
                    float(deviation[place[scalar]]),
                    error=float(np.hypot(posterior.sd_error, error[place[scalar]])),
                    bound=POSTERIOR * float(deviation[place[scalar]]),
                    cause=_cause(corner, mean_field=field is not None),
                    predicted=predicted,
                    prediction_error=FIRST_ORDER * posterior.sd,
                )


def _through_expected(case: Case, maximum: Estimate, theory: Predictions) -> dict[str, float]:
    """Posterior sd by the expected information itself, so that a wrong one explains nothing."""
    of = density(case.model, case.data)
    at = of.unconstrain(_values(maximum))
    information = expected(case.model, case.data, of, at, case.rng("expected information"))
    return through(case, at, information.matrix, theory)


def _reported(
    case: Case, maximum: Estimate, corners: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Iterator[Verdict]:
    """Standard errors that a fit has by another route than J, against the observed corner."""
    if "observed" not in corners:
        return
    place = positions(maximum)
    for name, fit in case.estimates("likelihood").items():
        if fit.problems or fit.sd_kind == "observed":
            continue
        for scalar, one in scalars(case.model, fit).items():
            if np.isfinite(one.sd):  # a referee may have no standard error of it
                here = float(corners["observed"][0][place[scalar]])
                about = f"standard error of {scalar}: {name} ({fit.sd_kind}) − observed"
                yield Verdict(about, one.sd, here, error=0.0, bound=POSTERIOR * here)


def _elsewhere(
    case: Case, maximum: Estimate, corners: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Verdict]:
    """The corners of the data at hand as the PyMC program has them, in its own chart."""
    if "observed" not in corners:
        return {}
    of = density(case.model, case.data, "pymc")
    u = np.asarray(of.unconstrain(_values(maximum)))
    information = -np.asarray(derivatives(of, "likelihood").hessian(jnp.asarray(u)))
    rows, steps = once(of.log_likelihood), np.diag(STEP / np.sqrt(np.diag(information)))
    ends = [(np.asarray(rows(u + h)), np.asarray(rows(u - h))) for h in steps]
    scores = np.stack([a - b for a, b in ends], axis=1) / (2 * np.diag(steps))
    outer, inverse = scores.T @ scores, np.linalg.inv(information)
    covariances = {"observed": inverse, "sandwich": inverse @ outer @ inverse}
    if "opg" in corners:
        covariances["opg"] = np.linalg.inv(outer)
    jacobian = np.asarray(quantity_jacobian(case.model, of)(jnp.asarray(u)))
    moves = jacobian.any(axis=1)
    found = {}
    for corner, covariance in covariances.items():
        there = np.sqrt(np.einsum("ij,jk,ik->i", jacobian, covariance, jacobian))
        relative = np.abs(there[moves] / corners[corner][0][moves] - 1)
        about = f"{corner} standard errors: largest relative difference between the two programs"
        found[corner] = Verdict(about, float(relative.max()), 0.0, error=0.0, bound=TWO_PROGRAMS)
    return found


def four_corners(
    case: Case, maximum: Estimate
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
    """Standard error of every flat quantity and its Monte Carlo error, by corner; and a problem."""
    of = density(case.model, case.data)
    u = of.unconstrain(_values(maximum))
    information = observed(of, u)
    scores = outer_product(of, u)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    problems = []
    corners, simulated = {"observed": information}, np.empty((0, of.size))
    try:
        rng = case.rng("expected information")
        corners["expected"], simulated = expected(case.model, case.data, of, u, rng)
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
        sd = np.zeros_like(deviation)
        if corner == "expected":
            jacobian = np.asarray(quantity_jacobian(case.model, of)(u))
            sd = deviation * bound_error(jacobian, inverse.covariance, simulated) / 2
        found[corner] = deviation, sd
        if corner == "observed":
            middle = inverse._replace(covariance=inverse.covariance @ scores @ inverse.covariance)
            robust = quantity_covariance(case.model, of, u, middle)
            found["sandwich"] = np.sqrt(np.diag(robust)), np.zeros_like(deviation)
    return found, "; ".join(problems)


def _values(maximum: Estimate) -> Values:
    return {str(name): jnp.asarray(array.data) for name, array in maximum.point.items()}


def _maximum(case: Case) -> Estimate | None:
    for fit in case.estimates("likelihood").values():
        if not fit.problems and fit.point.data_vars:
            return fit
    return None


def _cause(corner: str, *, mean_field: bool) -> str:
    if mean_field:
        return "mean-field Gaussian: sd is 1/√Λ_jj, Λ = J + P"
    if corner == "expected":
        return "prior and finite N: (N·I + P)⁻¹"
    if corner == "sandwich":
        return (
            "the posterior follows (J + P)⁻¹, not the sandwich: noise or a wrong model parts them"
        )
    if corner == "opg":
        return (
            "the posterior follows (J + P)⁻¹, equal to Σ s sᵀ in expectation if the model is right"
        )
    return "prior and finite N: (J + P)⁻¹ at the posterior mode"
