"""Standard errors from the Fisher information are the posterior's standard deviations.

By Bernstein–von Mises the posterior tends to N(θ̂, J⁻¹) when the model is right.  At finite N the
prior, the skewness and the unconstrained space enter; what the posterior's sd then is, importance
sampling tells.  The outer product equals J in expectation only, and only when the model is right;
the posterior follows neither it nor the sandwich.  Each estimator is first held against itself by
the other program, with scores by differences instead of derivatives, and an expected information
that the model declares by the scores of simulated units; nothing explains one that fails.
References: van der Vaart (1998), Asymptotic Statistics, §10.2; Kleijn & van der Vaart (2012),
Electron. J. Statist. 6; White (1982), Econometrica 50.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from comparisons.policy import POSTERIOR, RESOLUTION, TWO_PROGRAMS
from comparisons.reference import (
    maximum,
    no_maximum,
    positions,
    reference_posterior,
    scalars,
    values_at,
)
from comparisons.targets import corrected, declared, explained
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Estimate
from inference.information.delta import bound_error, quantity_covariance, standard_deviations
from inference.information.derivatives import derivatives, quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected, observed, outer_product
from inference.method import label
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import density, languages, units
from models.programs.precision import float64

if TYPE_CHECKING:
    from comparisons.case import Case

CLAIM = "Fisher standard errors"
STEP = 1e-3
"""Step of the differences, in standard errors with the other coordinates held fixed."""


class StandardErrors(NamedTuple):
    """Standard errors of every flat quantity at a maximum of the likelihood."""

    found: dict[str, tuple[np.ndarray, np.ndarray]]
    """By information estimator, each with its Monte Carlo error, shape (m,)."""
    expected: np.ndarray | None
    """N·I in the unconstrained space, shape (k, k); None where it is not known."""
    problem: str
    """Why some estimators are missing; "" if none is."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """The posterior's standard deviations against the four information estimators."""
    top = maximum(case)
    if top is None:
        yield not_comparable(CLAIM, no_maximum(case))
        return
    errors = standard_errors(case, top)
    if errors.problem:
        yield not_comparable(CLAIM, errors.problem)
    yield from _reported(case, top, errors)
    checks = _two_programs(case, top, errors)
    yield from checks.values()
    known = "expected" in errors.found
    simulated = declared(case, top, errors.found["expected"][0]) if known else []
    yield from simulated
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable(CLAIM, "no sampler of the posterior converged")
        return
    wrong = {name for name, verdict in checks.items() if verdict.outcome != "AGREE"}
    if any(verdict.outcome == "DIFFER" for verdict in simulated):
        wrong.add("expected")
    method, fit = reference
    theory, place = corrected(case), positions(top)
    for scalar, posterior in scalars(case.model, fit).items():
        for name, (deviation, error) in errors.found.items():
            own = float(deviation[place[scalar]])
            verdict = Verdict(
                "{quantity} of {parameter}: {method} − {reference}",
                posterior.sd,
                own,
                error=float(np.hypot(posterior.sd_error, error[place[scalar]])),
                bound=POSTERIOR * own,
                resolution=RESOLUTION * own,
                quantity="sd",
                parameter=scalar,
                method=label(method),
                reference=f"{name} standard error",
            )
            told = explained(verdict, theory.sd.get(scalar), theory)
            yield verdict if name in wrong else told


def _reported(case: Case, top: Estimate, errors: StandardErrors) -> Iterator[Verdict]:
    """Standard errors that a fit has by another route than J, against the observed ones."""
    if "observed" not in errors.found:
        return
    place = positions(top)
    for method, fit in case.estimates("likelihood").items():
        if fit.problems or fit.sd_kind == "observed":
            continue
        for scalar, one in scalars(case.model, fit).items():
            if np.isfinite(one.sd):  # a referee may have no standard error of it
                here = float(errors.found["observed"][0][place[scalar]])
                yield Verdict(
                    f"{{quantity}} of {{parameter}}: {{method}} ({fit.sd_kind}) − {{reference}}",
                    one.sd,
                    here,
                    error=0.0,
                    bound=POSTERIOR * here,
                    quantity="standard error",
                    parameter=scalar,
                    method=label(method),
                    reference="observed",
                )


def _two_programs(case: Case, top: Estimate, errors: StandardErrors) -> dict[str, Verdict]:
    """The estimators of the data at hand by the PyMC program, in its own unconstrained space."""
    if "observed" not in errors.found or "pymc" not in languages(case.model):
        return {}
    target = density(case.model, case.data, "pymc")
    u = np.asarray(target.unconstrain(values_at(top)))
    information = -np.asarray(derivatives(target, "likelihood").hessian(jnp.asarray(u)))
    if invert(case.model, target, jnp.asarray(u), information).problem:
        return {}
    rows, steps = once(target.log_likelihood), np.diag(STEP / np.sqrt(np.diag(information)))
    ends = [(np.asarray(rows(u + h)), np.asarray(rows(u - h))) for h in steps]
    scores = np.stack([a - b for a, b in ends], axis=1) / (2 * np.diag(steps))
    outer, inverse = scores.T @ scores, np.linalg.inv(information)
    covariances = {"observed": inverse}
    if "sandwich" in errors.found:
        covariances["sandwich"] = inverse @ outer @ inverse
    if "opg" in errors.found:
        covariances["opg"] = np.linalg.inv(outer)
    jacobian = np.asarray(quantity_jacobian(case.model, target)(jnp.asarray(u)))
    moves = jacobian.any(axis=1)
    found = {}
    for name, covariance in covariances.items():
        there = standard_deviations(jacobian, covariance)
        relative = np.abs(there[moves] / errors.found[name][0][moves] - 1)
        found[name] = Verdict(
            "{quantity}: largest relative difference between the two programs",
            float(relative.max()),
            0.0,
            error=0.0,
            bound=TWO_PROGRAMS,
            quantity=f"{name} standard errors",
        )
    return found


def standard_errors(case: Case, top: Estimate) -> StandardErrors:
    """Standard errors by each information estimator at a maximum of the likelihood."""
    target = density(case.model, case.data)
    u = target.unconstrain(values_at(top))
    scores = outer_product(target, u)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    problems = []
    matrices, simulated = {"observed": observed(target, u)}, np.empty((0, target.size))
    try:
        rng = case.rng("expected information")
        matrices["expected"], simulated = expected(case.model, target, u, rng)
    except FitError as reason:
        problems.append(f"expected: {reason}")
    count = units(case.model, case.data)
    several = count > target.size  # at a maximum the scores sum to 0
    robust = several and not invert(case.model, target, u, scores).problem
    if several:
        matrices["opg"] = scores
    elif count > 1:
        few = f"{count} units cannot tell how the scores of {target.size} parameters vary"
        problems.append(f"opg, sandwich: {few}")
    else:
        problems.append("opg, sandwich: all data are one unit, whose score tells no variance")
    for name, matrix in matrices.items():
        inverse = invert(case.model, target, u, matrix)
        if inverse.problem:
            which = "opg, sandwich" if name == "opg" else name
            problems.append(f"{which}: {inverse.problem}")
            continue
        deviation = np.sqrt(np.diag(quantity_covariance(case.model, target, u, inverse)))
        uncertain = np.zeros_like(deviation)
        if name == "expected":
            jacobian = np.asarray(quantity_jacobian(case.model, target)(u))
            uncertain = deviation * bound_error(jacobian, inverse.covariance, simulated) / 2
        found[name] = deviation, uncertain
        if name == "observed" and robust:
            middle = inverse._replace(covariance=inverse.covariance @ scores @ inverse.covariance)
            robust = quantity_covariance(case.model, target, u, middle)
            found["sandwich"] = np.sqrt(np.diag(robust)), np.zeros_like(deviation)
    return StandardErrors(found, matrices.get("expected"), "; ".join(problems))
