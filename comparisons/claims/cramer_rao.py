"""No unbiased estimator has a smaller variance than the inverse Fisher information.

Two questions, answered apart.

1. Is the posterior as narrow as theory says?  Its covariance Σ against the bound B = (N·I(θ̂))⁻¹:
   standard deviations by parameter, the extreme generalised eigenvalues of (Σ, B), and the
   Kullback–Leibler divergence and Wasserstein distance of N(θ̂, J⁻¹) from the normal law with the
   posterior's moments.  At finite N they part by what importance sampling says; a ratio a little
   below 1 is not a contradiction.
2. Does an estimator beat the bound in repeated sampling?  Replicated data sets at a known θ₀, at
   the N of the data and on a ladder from there on: bias, variance over bound of the
   maximum-likelihood estimator, its mean standard error against its true standard deviation, and
   the smallest eigenvalue of B^(−½) Var B^(−½), which must be at least 1.  Departures shrink like
   1/N: what the other N show predicts each.  Where the law of the estimator is known at every N,
   its standard deviation is held to that as well.

The study of the same name puts the second question to other estimators, at any N.
References: Lehmann & Casella (1998), Theory of Point Estimation, §2.5-2.6, §6.3; van der Vaart
(1998), Asymptotic Statistics, §8.2, §10.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import xarray as xr

from comparisons.policy import (
    ASYMPTOTIC,
    BIAS,
    BOUND_EIGENVALUE,
    BOUND_SD,
    EFFICIENCY,
    HELD,
    LEFT_OUT,
    NORMAL_DISTANCE,
    NORMAL_DIVERGENCE,
    SAMPLING_SD,
    SHRINKS,
)
from comparisons.reference import (
    maximum,
    no_maximum,
    positions,
    posterior_size,
    reference_posterior,
    scalars,
    unconstrained_draws,
    values_at,
)
from comparisons.replicated.ladder import Rung, Statistic, vanishing
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import Sampling, cramer_rao_bound
from comparisons.targets import Corrected, corrected, declared, explained
from comparisons.verdict import Verdict, not_comparable
from inference.information.delta import bound_error, standard_deviations
from inference.information.derivatives import quantity_jacobian
from inference.information.inversion import invert
from inference.information.matrices import expected, observed
from inference.method import label
from inference.posterior.labels import canonical
from inference.replicates.fits import replicate
from inference.replicates.simulated import simulated
from models.capabilities import HasClosedFormMaximum, HasOwnPrograms, HasSamplingLaw
from models.errors import FitError, ModelError
from models.programs.density import (
    density,
    flatten,
    names_of_entries,
    quantities,
    quantity_table,
    units,
)
from models.programs.precision import float64

if TYPE_CHECKING:
    from comparisons.case import Case

METHOD = "maximum_likelihood"
REPLICATES = 2_000
TIMES, ENOUGH, MOST = 4, 500, 2_000
"""Each N of the ladder is so many times the one before, the last at least `ENOUGH`; the first is
that of the data, `MOST` if that is more, which is what the page then speaks of."""
LADDER = (10, 50, 100, 500, 1_000, 5_000)
"""The same for models whose maximum has a closed form."""
LARGEST = {"quick": 5, "standard": 9, "thorough": 20}
"""Most free parameters of a model that is replicated, by profile."""


@float64
def compare(case: Case) -> Iterator[Verdict]:
    """The posterior's sd, then repeated sampling."""
    yield from _posterior(case)
    yield from repeated_sampling(case)


# --- 1. the posterior against the bound -----------------------------------------------------------


def _posterior(case: Case) -> Iterator[Verdict]:
    claim = "posterior sd / Cramér–Rao bound"
    top, reference = maximum(case), reference_posterior(case)
    if top is None:
        yield not_comparable(claim, no_maximum(case))
        return
    if reference is None:
        yield not_comparable(claim, "no sampler of the posterior converged")
        return
    (method, posterior), target = reference, density(case.model, case.data)
    u = target.unconstrain(canonical(case.model, values_at(top)))
    try:
        information = expected(case.model, target, u, case.rng("expected information"))
    except FitError as error:
        yield not_comparable(claim, str(error))
        return
    inverse = invert(case.model, target, u, information.matrix)
    if inverse.problem or inverse.boundary.any():
        yield not_comparable(claim, inverse.problem or "the maximum is on a boundary")
        return
    jacobian = np.asarray(quantity_jacobian(case.model, target)(u))
    bound = standard_deviations(jacobian, inverse.covariance)
    uncertain = bound_error(jacobian, inverse.covariance, information.scores) / 2
    theory, place = corrected(case), positions(top)
    found: list[tuple[Verdict, tuple[float, float]]] = []
    for scalar, one in scalars(case.model, posterior).items():
        i = place[scalar]
        verdict = Verdict(
            "{quantity} of {parameter}: {method} / {reference}",
            one.sd / bound[i],
            1.0,
            error=float(np.hypot(one.sd_error, one.sd * uncertain[i])) / bound[i],
            bound=BOUND_SD,
            quantity="sd",
            parameter=scalar,
            method=label(method),
            reference="Cramér–Rao bound",
        )
        value, error = theory.sd.get(scalar, (np.nan, np.nan))
        found.append((verdict, (value / bound[i], error / bound[i])))
    if posterior.draws is not None:
        points, size = unconstrained_draws(case, posterior, target), posterior_size(posterior)
        limit = np.asarray(u), np.linalg.inv(observed(target, u))
        for verdict, predicted in _whole(points, size, inverse.covariance, limit, theory):
            found.append((replace(verdict, method=label(method)), (predicted, 0.0)))
    # a bound that simulation does not bear out is explained by nothing
    wrong = any(verdict.outcome == "DIFFER" for verdict in declared(case, top, bound))
    for verdict, predicted in found:
        told = explained(verdict, None if theory.problem else predicted, theory)
        yield verdict if wrong else told


def _whole(
    points: np.ndarray,
    size: float,
    bound: np.ndarray,
    limit: tuple[np.ndarray, np.ndarray],
    theory: Corrected,
) -> Iterator[tuple[Verdict, float]]:
    """The same question for the whole covariance, of `size` effective draws in u; predictions.

    Then N(θ̂, J⁻¹), the limit, against the normal law with the posterior's moments.
    """
    law, k = (points.mean(axis=0), np.atleast_2d(np.cov(points, rowvar=False))), points.shape[1]
    exact = law if theory.problem else (theory.location, theory.covariance)
    # the extreme eigenvalues of a sample covariance stray by about √(k/n) times two
    stray = float(np.sqrt(2 / size) + np.sqrt(k / size)) / 2
    claim = "{quantity} of (posterior covariance of {method}, bound), as sd"
    for which, place in (("smallest", 0), ("largest", -1)):
        here, there = (
            float(np.sqrt(scipy.linalg.eigh(covariance, bound, eigvals_only=True)[place]))
            for _, covariance in (law, exact)
        )
        words = f"{which} generalised eigenvalue"
        yield Verdict(claim, here, 1.0, stray * here, BOUND_EIGENVALUE, quantity=words), there
    claim = "{quantity} of N(θ̂, J⁻¹) from the normal law of {method}, "
    kullback = "KL divergence", "nats per parameter", _kl_normal, k
    distance = "Wasserstein distance", "in sd per √parameter", _wasserstein_normal, np.sqrt(k)
    sizes = (k / size, NORMAL_DIVERGENCE), (float(np.sqrt(k / size)), NORMAL_DISTANCE)
    for (quantity, unit, measure, per), by in zip((kullback, distance), sizes, strict=True):
        here, there = (float(measure(*one, *limit) / per) for one in (law, exact))
        yield Verdict(claim + unit, here, 0.0, *by, quantity=quantity), there


def _wasserstein_normal(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray) -> float:
    """W₂ between N(m0, s0) and N(m1, s1), in coordinates in which the second is standard."""
    factor = np.linalg.cholesky(s1)
    shift = np.linalg.solve(factor, m1 - m0)
    covariance = np.linalg.solve(factor, np.linalg.solve(factor, s0).T)
    sd = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0.0))
    return float(np.sqrt(shift @ shift + ((sd - 1) ** 2).sum()))


def _kl_normal(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray) -> float:
    """KL(N(m0, s0) ‖ N(m1, s1)), nats."""
    solve = np.linalg.solve(s1, s0)
    shift = m1 - m0
    quadratic = shift @ np.linalg.solve(s1, shift)
    return float(0.5 * (np.trace(solve) - m0.size + quadratic - np.linalg.slogdet(solve)[1]))


# --- 2. repeated sampling -------------------------------------------------------------------------


def table(case: Case) -> xr.Dataset | None:
    """The ladder: what every rung gave, one row each; None if the model is not replicated."""
    try:
        rungs = ladder(case)
    except (FitError, ModelError):  # the verdicts say so
        return None
    rows = [
        (statistic, METHOD, name, rung.n, rung.value, rung.error, theory)
        for one in rungs
        for statistic, measured, theory in (
            ("variance / bound", Sampling.variance, 1.0),
            ("bias / sd", Sampling.bias, 0.0),
            ("mean standard error / sd", _own_error, 1.0),
        )
        for rung, name in ((measured(one, i), name) for i, name in _varying(case, one))
    ]
    names = ("statistic", "estimator", "quantity", "n", "value", "error", "theory")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return xr.Dataset({name: ("row", np.asarray(column)) for name, column in columns.items()})


@lru_cache(maxsize=8)
def ladder(case: Case) -> tuple[Sampling, ...]:
    """Repeated sampling at every rung of N, smallest first.

    Raises:
        FitError: the model is too large, cannot be fitted to many data sets at once, or has no
            bound.
    """
    size, most = density(case.model, case.data).size, LARGEST[case.profile]
    if units(case.model, case.data) == 1:
        raise FitError("not made: all data are one unit, and theory speaks of many")
    if size > most:
        told = f"{size} free parameters, more than the {most} of profile {case.profile}"
        raise FitError(f"not made: {told}")
    return tuple(_sampled(case, n) for n in rungs(case))


def own_size(case: Case) -> int:
    """The N of the case's data: units, or rows where a user's own programs have one unit."""
    model = case.model
    return model.size if isinstance(model, HasOwnPrograms) else units(model, case.data)


def rungs(case: Case) -> tuple[int, ...]:
    """Units of the replicated data sets, smallest first: those of the data, and more."""
    model, size = case.model, own_size(case)
    if isinstance(model, HasOwnPrograms) and not model.grows:
        return (size,)
    found = [min(size, MOST)]
    if case.profile != "quick" and isinstance(model, HasClosedFormMaximum):
        return tuple(sorted({*found, *LADDER}))
    while len(found) < 2 or found[-1] < ENOUGH:
        found.append(TIMES * found[-1])
    return tuple(found)


def _sampled(case: Case, n: int) -> Sampling:
    model, rng = case.model, case.rng("repeated sampling", str(n))
    seed = int(rng.integers(2**63))
    bound = cramer_rao_bound(model, n, rng)  # first, since some models have none
    fits = replicate(model, simulated(model, model.truth, n, range(REPLICATES), seed))
    truth = np.asarray(flatten(quantities(model, model.truth)))
    errors, standard_errors = (
        Moments.of(np.where(fits.converged[:, None], columns, np.nan))
        for columns in (fits.estimate - truth, fits.standard_error)
    )
    return Sampling(n, errors, bound, standard_errors)


def _own_error(sampling: Sampling, place: int) -> Rung:
    """The mean standard error over the sd, with the error of the sd, which is the larger."""
    rung, sd = sampling.own_error(place), sampling.sd(place)
    return rung._replace(error=rung.value * sd.error / sd.value)


def _varying(case: Case, sampling: Sampling) -> list[tuple[int, str]]:
    """Place and flat name of every quantity that is not a constant."""
    truth = quantities(case.model, case.model.truth)
    names = names_of_entries(quantity_table(case.model), case.data, truth)
    return [(i, name) for i, name in enumerate(names) if sampling.bound.deviation[i] > 0]


def repeated_sampling(case: Case) -> Iterator[Verdict]:
    """The maximum-likelihood estimator over data sets simulated at the model's truth."""
    claim = "repeated sampling at the model's truth"
    try:
        every = ladder(case)
    except (FitError, ModelError) as error:
        yield not_comparable(claim, str(error))
        return
    fields: dict[str, Any] = {"method": METHOD}
    lost = {sampling.n: sampling.errors.left_out for sampling in every}
    for n, count in lost.items():
        if count > LEFT_OUT * REPLICATES:
            cause = f"{count} of {REPLICATES} replicates did not converge to an interior maximum"
            yield not_comparable(f"{claim}, N = {{n}}", cause, n=n, **fields)
    rungs = [sampling for sampling in every if lost[sampling.n] <= LEFT_OUT * REPLICATES]
    if not rungs:
        return
    top, size = rungs[-1], min(own_size(case), MOST)
    where = f"over {top.errors.replicates} data sets at the model's truth"
    for i, name in _varying(case, top):
        yield from _efficient(rungs, i, where, size, len(every) == 1, parameter=name, **fields)
    yield from _exact(case, rungs)
    smallest, expected_value = top.smallest()
    fields["quantity"] = "smallest eigenvalue of B^(−½) Var B^(−½)"
    numbers = smallest.value, expected_value, smallest.error, EFFICIENCY
    claim = f"{{quantity}}, {where}, N = {{n}}"
    verdict = Verdict(claim, *numbers, "at_least", n=top.n, fixed=smallest.fixed, **fields)
    if verdict.outcome == "DIFFER" and len(every) == 1:
        cause = "whether a biased estimator's variance comes up to the bound takes a second N"
        verdict = replace(verdict, bound=float("nan"), cause=cause)
    yield verdict


def _efficient(
    rungs: Sequence[Sampling], i: int, where: str, size: int, held: bool, **fields: Any
) -> Iterator[Verdict]:
    """Variance, bias and standard error of a quantity at the N of the data and at the largest N.

    Of the quantity at place `i` along the ladder, on data sets that `where` has in words; `size` is
    the N of the data, and `held` whether there can be no other.
    """
    claim = f"Var({{parameter}}) / Cramér–Rao bound, {where}"
    variances = [one.variance(i) for one in rungs]
    departures = np.array([rung.value - 1 for rung in variances])
    near = np.abs(departures) < ASYMPTOTIC
    set_in = near[-1] and near.sum() > 1
    # a departure that stays as N grows is no matter of asymptotics
    if not set_in and len(rungs) > 1 and abs(departures[-1]) < SHRINKS * abs(departures[-2]):
        before, top = variances[-2:]
        cause = (
            f"the asymptotics have not set in: the variance is {before.value:.2f} times "
            f"the bound at N = {before.n} and {top.value:.2f} times at N = {top.n}"
        )
        yield not_comparable(claim, cause, quantity="variance", **fields)
        return
    for rung, one in zip(variances, near, strict=True):
        if set_in and not one and rung.n == size:
            here = f"the variance is {rung.value:.2f} times the bound at N = {size}"
            cause = f"the asymptotics have not set in: {here}"
            yield not_comparable(claim, cause, n=size, quantity="variance", **fields)
    used = [rung for rung, one in zip(rungs, near, strict=True) if one or not set_in]
    own = "mean standard error of {parameter} / its sd"
    for quantity, words, measure, *about in (
        ("variance", "Var({parameter}) / Cramér–Rao bound", Sampling.variance, 1.0, EFFICIENCY),
        ("bias", "bias of {parameter} in standard deviations", Sampling.bias, 0.0, BIAS, 0.5),
        ("standard error", own, _own_error, 1.0, SAMPLING_SD),
    ):
        statistic = Statistic([measure(one, i) for one in used], *about)
        if held:  # how fast it tends to its limit is not known
            statistic = statistic._replace(first=HELD)
        claim = f"{words}, {where}, N = {{n}}"
        for verdict in vanishing(statistic, claim, quantity=quantity, **fields):
            if verdict.n in (size, rungs[-1].n):
                yield verdict


def _exact(case: Case, rungs: Sequence[Sampling]) -> Iterator[Verdict]:
    """Standard deviations against their law at each N, where the model knows it."""
    model = case.model
    if not isinstance(model, HasSamplingLaw):
        return
    fields: dict[str, Any] = {"method": METHOD, "reference": "exact law", "quantity": "sd"}
    for one in rungs:
        exact = np.asarray(flatten(model.sampling_moments(model.truth, one.n)[1]))
        claim = (
            "sd of the estimate of {parameter} / its {reference}, over "
            f"{one.errors.replicates} data sets of {{n}} units at the model's truth"
        )
        for i, name in _varying(case, one):
            sd, scale = one.sd(i), float(exact[i])
            numbers = sd.value / scale, 1.0, sd.error / scale, SAMPLING_SD
            yield Verdict(claim, *numbers, n=one.n, parameter=name, **fields)
