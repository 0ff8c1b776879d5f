"""Samplers of one posterior agree with one another, and with importance sampling at its modes.

Two converged samplers differ only by Monte Carlo error, and so do a sampler and Laplace's
approximation whose draws carry importance weights: the one is exact in the limit of many draws, the
other where the tail of its weights is light.  How far approximations are from the posterior is no
error of theirs: it is graded in the table.
References: Vehtari et al. (2021), Bayesian Anal. 16; Vehtari et al. (2024), JMLR 25.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from comparisons.grades import as_table, grades
from comparisons.policy import POSTERIOR
from comparisons.reference import exact_posterior, reference_posterior, scalars, shared, unreliable
from comparisons.targets import corrected
from comparisons.verdict import Verdict, not_comparable
from inference.method import label
from models.programs.precision import float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from comparisons.case import Case

_CLAIM = "{quantity} of {parameter}: {method} − {reference}"


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Mean and sd of every sampler against the reference, and of that by the second route."""
    reference = reference_posterior(case)
    if reference is None:
        yield not_comparable("posterior agreement", "no sampler of the posterior converged")
        return
    against, truth = reference
    for method, fit in case.estimates("posterior").items():
        if method == against or not (method.kind == "sampler" or exact_posterior(method)):
            continue
        sides = {"method": label(method), "reference": label(against)}
        if fit.problems:
            cause = unreliable(sides["method"], fit)
            yield not_comparable("{method} against {reference}", cause, **sides)
            continue
        for scalar, one, other in shared(case.model, fit, truth):
            verdict = partial(
                Verdict, _CLAIM, bound=POSTERIOR * other.sd, parameter=scalar, **sides
            )
            error = float(np.hypot(one.location_error, other.location_error))
            yield verdict(one.location, other.location, error=error, quantity="mean")
            error = float(np.hypot(one.sd_error, other.sd_error))
            yield verdict(one.sd, other.sd, error=error, quantity="sd")
    theory = corrected(case)
    sides = {"method": label(against), "reference": "importance sampling"}
    if theory.problem:
        yield not_comparable("{method} against {reference}", theory.problem, **sides)
        return
    for scalar, one in scalars(case.model, truth).items():
        (mean, mean_error), (sd, sd_error) = theory.mean[scalar], theory.sd[scalar]
        verdict = partial(Verdict, _CLAIM, bound=POSTERIOR * one.sd, parameter=scalar, **sides)
        error = float(np.hypot(one.location_error, mean_error))
        yield verdict(one.location, mean, error=error, quantity="mean")
        yield verdict(one.sd, sd, error=float(np.hypot(one.sd_error, sd_error)), quantity="sd")


@float64
def table(case: Case) -> xr.Dataset | None:
    """The grade of every method for every quantity; None without a reference."""
    rows = grades(case)
    return as_table(rows) if rows else None
