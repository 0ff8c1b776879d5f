"""Samplers of one posterior agree with one another, and with importance sampling at its modes.

Two converged samplers differ only by Monte Carlo error, and so do a sampler and Laplace's
approximation whose draws carry importance weights: the one is exact in the limit of many draws, the
other where the tail of its weights is light.  How far approximations are from the posterior is no
error of theirs: it is graded in the table.
References: Vehtari et al. (2021), Bayesian Anal. 16; Vehtari et al. (2024), JMLR 25.
"""

from collections.abc import Iterator

import xarray as xr

from comparisons.grades import as_table, graded
from comparisons.reference import (
    Case,
    exact_posterior,
    reference_posterior,
    same_moments,
    scalars,
    shared,
    unreliable,
)
from comparisons.targets import corrected
from comparisons.verdict import Verdict, not_comparable
from inference.method import label
from models.errors import FitError
from models.programs.precision import float64


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """Mean and sd of every sampler against the reference, and of that by the second route."""
    try:
        against, truth = reference_posterior(case)
    except FitError as error:
        yield not_comparable("posterior agreement", str(error))
        return
    for method, fit in case.estimates("posterior").items():
        if method == against or not (method.kind == "sampler" or exact_posterior(method)):
            continue
        sides = {"method": label(method), "reference": label(against)}
        if fit.problems:
            cause = unreliable(sides["method"], fit)
            yield not_comparable("{method} against {reference}", cause, **sides)
            continue
        for scalar, one, other in shared(case.model, fit, truth):
            yield from same_moments(one, other, other.sd, parameter=scalar, **sides)
    theory = corrected(case)
    sides = {"method": label(against), "reference": "importance sampling"}
    if theory.problem:
        yield not_comparable("{method} against {reference}", theory.problem, **sides)
        return
    for scalar, one in scalars(case.model, truth).items():
        other = theory.scalars[scalar]
        yield from same_moments(one, other, one.sd, parameter=scalar, **sides)


def table(case: Case) -> xr.Dataset | None:
    """The grade of every method for every quantity; None without a reference."""
    rows = graded(case.model, case.data, case.estimates())
    return as_table(rows) if rows else None
