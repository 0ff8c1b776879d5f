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

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from comparisons.policy import POSTERIOR, RESOLUTION, TWO_PROGRAMS
from comparisons.reference import Case, maximum, positions, reference_posterior, scalars, values_at
from comparisons.replicated.sampling import declared
from comparisons.targets import corrected, explained
from comparisons.verdict import AGAINST, Verdict, not_comparable
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

CLAIM = "Fisher standard errors"
STEP = 1e-3
"""Step of the differences, in standard errors with the other coordinates held fixed."""


type Found = dict[str, tuple[np.ndarray, np.ndarray]]
"""Standard errors of every flat quantity by information estimator, each with its Monte Carlo error,
shape (m,)."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """The posterior's standard deviations against the four information estimators."""
    try:
        top = maximum(case)
    except FitError as error:
        yield not_comparable(CLAIM, str(error))
        return
    found, problem = standard_errors(case, top)
    if problem:
        yield not_comparable(CLAIM, problem)
    yield from _reported(case, top, found)
    checks = _two_programs(case, top, found)
    yield from checks.values()
    simulated = declared(case, top, found["expected"][0]) if "expected" in found else []
    yield from simulated
    try:
        method, fit = reference_posterior(case)
    except FitError as error:
        yield not_comparable(CLAIM, str(error))
        return
    wrong = {name for name, verdict in checks.items() if verdict.outcome != "AGREE"}
    if any(verdict.outcome == "DIFFER" for verdict in simulated):
        wrong.add("expected")
    theory, place = corrected(case), positions(top)
    for scalar, posterior in scalars(case.model, fit).items():
        predicted = theory.scalars.get(scalar)
        fields: dict[str, Any] = {"quantity": "sd", "parameter": scalar, "method": label(method)}
        for name, (deviation, its) in found.items():
            own, error = float(deviation[place[scalar]]), float(its[place[scalar]])
            error = float(np.hypot(posterior.sd_error, error))
            fields |= {"resolution": RESOLUTION * own, "reference": f"{name} standard error"}
            verdict = Verdict(AGAINST, posterior.sd, own, error, POSTERIOR * own, **fields)
            told = explained(verdict, predicted and predicted[2:], theory)
            yield verdict if name in wrong else told


def _reported(case: Case, top: Estimate, found: Found) -> Iterator[Verdict]:
    """Standard errors that a fit has by another route than J, against the observed ones."""
    if "observed" not in found:
        return
    place = positions(top)
    for method, fit in case.estimates("likelihood").items():
        if fit.problems or fit.sd_kind == "observed":
            continue
        claim = AGAINST.replace("{method}", f"{{method}} ({fit.sd_kind})")
        fields: dict[str, Any] = {"method": label(method), "reference": "observed"}
        fields["quantity"] = "standard error"
        for scalar, one in scalars(case.model, fit).items():
            here = float(found["observed"][0][place[scalar]])
            if np.isfinite(one.sd):  # a referee may have no standard error of it
                numbers = one.sd, here, 0.0, POSTERIOR * here
                yield Verdict(claim, *numbers, parameter=scalar, **fields)


def _two_programs(case: Case, top: Estimate, known: Found) -> dict[str, Verdict]:
    """The estimators of the data at hand by the PyMC program, in its own unconstrained space."""
    if "observed" not in known or "pymc" not in languages(case.model):
        return {}
    target = density(case.model, case.data, "pymc")
    u = np.asarray(target.unconstrain(values_at(top)))
    information = -np.asarray(derivatives(target, "likelihood").hessian(jnp.asarray(u)))
    if invert(case.model, target, jnp.asarray(u), information).problem:
        return {}
    size = np.sqrt(np.diag(information))  # columns of other units have no digits in common
    rows, steps, scale = once(target.log_likelihood), np.diag(STEP / size), np.outer(size, size)
    ends = [(np.asarray(rows(u + h)), np.asarray(rows(u - h))) for h in steps]
    scores = np.stack([a - b for a, b in ends], axis=1) / (2 * np.diag(steps))
    outer, inverse = scores.T @ scores, np.linalg.inv(information / scale) / scale
    covariances = {"observed": inverse}
    if "sandwich" in known:
        covariances["sandwich"] = inverse @ outer @ inverse
    if "opg" in known:
        covariances["opg"] = np.linalg.inv(outer / scale) / scale
    jacobian = np.asarray(quantity_jacobian(case.model, target)(jnp.asarray(u)))
    moves = jacobian.any(axis=1)
    found = {}
    for name, covariance in covariances.items():
        there = standard_deviations(jacobian, covariance)
        relative = np.abs(there[moves] / known[name][0][moves] - 1)
        claim = "{quantity}: largest relative difference between the two programs"
        numbers = float(relative.max()), 0.0, 0.0, TWO_PROGRAMS
        found[name] = Verdict(claim, *numbers, quantity=f"{name} standard errors")
    return found


def standard_errors(case: Case, top: Estimate) -> tuple[Found, str]:
    """By each information estimator at a maximum, where scores sum to 0; why some are missing."""
    model, target = case.model, density(case.model, case.data)
    u = target.unconstrain(values_at(top))
    matrices, simulated = {"observed": observed(target, u)}, np.empty((0, target.size))
    scores, problems = outer_product(target, u), list[str]()
    silent = np.diag(scores) <= 1e-12 * np.abs(np.diag(matrices["observed"]))
    found: Found = {}
    try:
        rng = case.rng("expected information")
        matrices["expected"], simulated = expected(model, target, u, rng)
    except FitError as reason:
        problems.append(f"expected: {reason}")
    several = (count := units(model, case.data)) > target.size and not silent.any()
    robust = several and not invert(model, target, u, scores).problem
    if several:
        matrices["opg"] = scores
    elif count > target.size:
        problems.append("opg, sandwich: the score of every single unit is 0 in a parameter")
    elif count > 1:
        few = f"{count} units cannot tell how the scores of {target.size} parameters vary"
        problems.append(f"opg, sandwich: {few}")
    else:
        problems.append("opg, sandwich: all data are one unit, whose score tells no variance")
    for name, matrix in matrices.items():
        inverse = invert(model, target, u, matrix)
        if inverse.problem:
            which = "opg, sandwich" if name == "opg" else name
            problems.append(f"{which}: {inverse.problem}")
            continue
        deviation = np.sqrt(np.diag(quantity_covariance(model, target, u, inverse)))
        uncertain = np.zeros_like(deviation)
        if name == "expected":
            jacobian = np.asarray(quantity_jacobian(model, target)(u))
            uncertain = deviation * bound_error(jacobian, inverse.covariance, simulated) / 2
        found[name] = deviation, uncertain
        if name == "observed" and robust:
            middle = inverse._replace(covariance=inverse.covariance @ scores @ inverse.covariance)
            squares = np.diag(quantity_covariance(model, target, u, middle))
            found["sandwich"] = np.sqrt(squares), np.zeros_like(deviation)
    return found, "; ".join(problems)
