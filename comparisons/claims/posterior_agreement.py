"""Samplers of one posterior agree with one another, and with importance sampling at its modes.

Two converged samplers differ only by Monte Carlo error, and so do a sampler and Laplace's
approximation whose draws carry importance weights: the one is exact in the limit of many draws, the
other where the tail of its weights is light.  Whether two samplers have the same correlations is
asked of one direction: that in which one half of every chain differs most, the extreme generalised
eigenvector of the two covariances, judged by the other half.  How far approximations are from the
posterior is no error of theirs: it is graded in the table.
References: Vehtari et al. (2021), Bayesian Anal. 16; Vehtari et al. (2024), JMLR 25.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.linalg

from comparisons.grades import graded
from comparisons.reference import (
    Case,
    coordinate_names,
    exact_posterior,
    one_fact,
    reference_posterior,
    same_moments,
    scalars,
    shared,
    unconstrained_draws,
    unreliable,
)
from comparisons.targets import corrected
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Estimate, Scalar
from inference.information.inversion import named
from inference.method import label
from inference.posterior.diagnostics import ESS, moments, worst
from models.errors import FitError
from models.programs.density import density
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
        found = [
            verdict
            for scalar, one, other in shared(case.model, fit, truth)
            for verdict in same_moments(one, other, other.sd, parameter=scalar, **sides)
        ]
        yield from one_fact(found) if method.shipped else found
        yield from _direction(case, fit, truth, **sides)
    theory = corrected(case)
    sides = {"method": label(against), "reference": "importance sampling"}
    if theory.problem:
        yield not_comparable("{method} against {reference}", theory.problem, **sides)
        return
    for scalar, one in scalars(case.model, truth).items():
        other = theory.scalars[scalar]
        yield from same_moments(one, other, one.sd, parameter=scalar, **sides)


def _direction(case: Case, fit: Estimate, truth: Estimate, **sides: str) -> Iterator[Verdict]:
    """The sd of two samplers along the direction in which they differ most, unconstrained."""
    target = density(case.model, case.data)
    both = []
    for one in (fit, truth):
        if target.size < 2 or one.draws is None:
            return
        points = unconstrained_draws(case, one, target)
        chains = points.reshape(one.draws["posterior"].sizes["chain"], -1, target.size)
        both.append(np.array_split(chains, 2, axis=1))
    (first, at_test), (second, held) = both
    spreads = (np.cov(half.reshape(-1, target.size), rowvar=False) for half in (first, second))
    try:
        ratio, vectors = scipy.linalg.eigh(*spreads)
    except (np.linalg.LinAlgError, ValueError):  # a coordinate that is stuck, or on an edge
        return
    direction = vectors[:, np.argmax(abs(np.log(np.maximum(ratio, np.finfo(float).tiny))))]
    along = [half @ direction[:, None] for half in (at_test, held)]
    if min(worst(half).get("ess", 0.0) for half in along) < ESS:
        return  # the gate asked this of the reported numbers, not of this one
    one, other = (Scalar(*(float(part[0]) for part in moments(half))) for half in along)
    deviation = np.sqrt(np.diag(np.cov(second.reshape(-1, target.size), rowvar=False)))
    words = named(direction * deviation, coordinate_names(target))
    words += " (each in its sd, unconstrained)"
    rows = same_moments(one, other, other.sd, parameter=words, **sides)
    yield from (row for row in rows if row.quantity == "sd")


def table(case: Case) -> pd.DataFrame | None:
    """The grade of every method for every quantity; None without a reference."""
    rows = graded(case.model, case.data, case.estimates())
    return pd.DataFrame(rows) if rows else None
