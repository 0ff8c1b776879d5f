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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg

from comparisons import policy
from comparisons.criteria import sample_size
from comparisons.reference import (
    Case,
    maximum,
    positions,
    posterior_size,
    reference_posterior,
    scalars,
    unconstrained_draws,
    values_at,
)
from comparisons.replicated.ladder import Rung, Statistic, vanishing
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import (
    SMALLEST,
    Sampling,
    at_least,
    bound_at,
    cramer_rao_bound,
    declared,
)
from comparisons.targets import Corrected, corrected, explained
from comparisons.verdict import Verdict, not_comparable
from inference.estimate import Scalar
from inference.information.matrices import expected, observed
from inference.method import label
from inference.posterior.labels import canonical
from inference.replicates.fits import replicate
from inference.replicates.simulated import simulated
from models.capabilities import HasClosedFormMaximum, HasSamplingLaw
from models.errors import FitError, ModelError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import (
    density,
    flatten,
    names_of_entries,
    quantities,
    quantity_table,
    units,
)
from models.programs.precision import float64

METHOD = "maximum_likelihood"
REPLICATES = 2_000
TIMES, ENOUGH, MOST = 4, 500, 2_000
"""Each N of the ladder is so many times the one before, the last at least `ENOUGH`; the first is
that of the data, `MOST` if that is more, which is what the page then speaks of."""
LADDER = (10, 50, 100, 500, 1_000, 5_000)
"""The same for models whose maximum has a closed form."""
BLOCKS = 16  # of draws, each left out in turn, by which the error of a covariance is known
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
    target = density(case.model, case.data)
    try:
        top, (method, posterior) = maximum(case), reference_posterior(case)
        u = target.unconstrain(canonical(case.model, values_at(top)))
        information = expected(case.model, target, u, case.rng("expected information"))
        bound = bound_at(case.model, target, u, information, "the maximum is on a boundary")
    except FitError as error:
        yield not_comparable(claim, str(error))
        return
    theory, place = corrected(case), positions(top)
    # a bound that simulation does not bear out is explained by nothing
    wrong = any(verdict.outcome == "DIFFER" for verdict in declared(case, top, bound.deviation))
    fields: dict[str, Any] = {"method": label(method), "reference": "Cramér–Rao bound"}
    claim = "{quantity} of {parameter}: {method} / {reference}"
    for scalar, one in scalars(case.model, posterior).items():
        least, uncertain = bound.deviation[place[scalar]], bound.uncertain[place[scalar]] / 2
        error = float(np.hypot(one.sd_error, one.sd * uncertain)) / least
        fields |= {"quantity": "sd", "parameter": scalar, "resolution": policy.RESOLUTION}
        verdict = Verdict(claim, one.sd / least, 1.0, error, policy.BOUND_SD, **fields)
        there = theory.scalars.get(scalar, Scalar(*[np.nan] * 4))
        told = explained(verdict, (there.sd / least, there.sd_error / least), theory)
        yield verdict if wrong else told
    if posterior.draws is not None:
        points, size = unconstrained_draws(case, posterior, target), posterior_size(posterior)
        limit = np.asarray(u), np.linalg.inv(observed(target, u))
        for verdict, predicted in _whole(points, size, bound.inverse, limit, theory):
            verdict = replace(verdict, method=label(method))
            yield verdict if wrong else explained(verdict, (predicted, 0.0), theory)


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
    law, k = _moments(points), points.shape[1]
    exact = law if theory.problem else (theory.location, theory.covariance)
    blocks = np.array_split(np.arange(len(points)), BLOCKS)
    without = [_moments(np.delete(points, block, axis=0)) for block in blocks]

    def eigenvalues(_: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        return np.sqrt(scipy.linalg.eigh(covariance, bound, eigvals_only=True))

    # the extreme eigenvalues of a sample covariance stray by about √(k/n) times two
    stray = float(np.sqrt(2 / size) + np.sqrt(k / size)) / 2
    ratio = "{quantity} of (posterior covariance of {method}, bound), as sd"
    apart = "{quantity} of N(θ̂, J⁻¹) from the normal law of {method}, "
    nats, sds = f"{apart}nats per parameter", f"{apart}in sd per √parameter"
    eigenvalue = 1.0, policy.BOUND_EIGENVALUE, stray
    divergence = 0.0, policy.NORMAL_DIVERGENCE, k / size
    gap = 0.0, policy.NORMAL_DISTANCE, float(np.sqrt(k / size))
    root = np.sqrt(k)
    rows: list[tuple[str, str, Callable[..., Any], tuple[float, float, float]]] = [
        ("smallest generalised eigenvalue", ratio, lambda *at: eigenvalues(*at)[0], eigenvalue),
        ("largest generalised eigenvalue", ratio, lambda *at: eigenvalues(*at)[-1], eigenvalue),
        ("KL divergence", nats, lambda m, s: _kl_normal(m, s, *limit) / k, divergence),
        ("Wasserstein distance", sds, lambda m, s: _wasserstein_normal(m, s, *limit) / root, gap),
    ]
    for quantity, claim, measure, (value, negligible, least) in rows:
        # of heavy tails by the jackknife, and what normal draws stray by at least
        here, scatter = float(measure(*law)), np.std([measure(*at) for at in without])
        least *= here if value else 1.0  # that of a ratio grows with it
        error = max(least, float(scatter) * (BLOCKS - 1) ** 0.5)
        numbers = here, value, error, negligible
        yield Verdict(claim, *numbers, quantity=quantity), float(measure(*exact))


def _moments(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.mean(axis=0), np.atleast_2d(np.cov(points, rowvar=False))


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


def _own_error(sampling: Sampling, place: int) -> Rung:
    """The mean standard error over the sd, with the error of the sd, which is the larger."""
    rung, sd = sampling.own_error(place), sampling.sd(place)
    return rung._replace(error=rung.value * sd.error / sd.value)


def table(case: Case) -> pd.DataFrame | None:
    """The ladder: what every rung gave, one row each; None if the model is not replicated."""
    try:
        rungs = ladder(case)
    except (FitError, ModelError):  # the verdicts say so
        return None
    rows = [
        (statistic, METHOD, name, *measure(one, i)[:3], theory)
        for one in rungs
        for statistic, measure, theory in (
            ("variance / bound", Sampling.variance, 1.0),
            ("bias / sd", Sampling.bias, 0.0),
            ("mean standard error / sd", _own_error, 1.0),
        )
        for i, name in _varying(case, one)
    ]
    names = ["statistic", "estimator", "quantity", "n", "value", "error", "theory"]
    return pd.DataFrame(rows, columns=names)


@lru_cache(maxsize=8)
def ladder(case: Case) -> tuple[Sampling, ...]:
    """Repeated sampling at every rung of N, smallest first; a FitError where it cannot be."""
    model, most = case.model, LARGEST[case.profile]
    own = isinstance(model, AdoptedModel)  # what is integrated out costs as much as what is not
    size = model.adopted.named.size if own else density(model, case.data).size
    if units(case.model, case.data) == 1:
        raise FitError("not made: all data are one unit, and theory speaks of many")
    if size > most:
        told = f"{size} free parameters, more than the {most} of profile {case.profile}"
        raise FitError(f"not made: {told}")
    steps = rungs(case)
    for n in steps:  # before anything is fitted: a user's program may not take data of every size
        model.simulate(case.rng("repeated sampling", str(n)), model.truth, n)
    return tuple(_sampled(case, n) for n in steps)


def rungs(case: Case) -> tuple[int, ...]:
    """Units of the replicated data sets, smallest first: those of the data, and more."""
    model, size = case.model, sample_size(case.model, case.data)
    if isinstance(model, AdoptedModel) and not model.grows:
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
    rungs = []
    for one in every:
        count = one.errors.left_out
        if count <= policy.LEFT_OUT * REPLICATES:
            rungs.append(one)
            continue
        cause = f"{count} of {REPLICATES} replicates did not converge to an interior maximum"
        yield not_comparable(f"{claim}, N = {{n}}", cause, n=one.n, **fields)
    if not rungs:
        return
    top, size = rungs[-1], min(sample_size(case.model, case.data), MOST)
    where = f"over {top.errors.replicates} data sets at the model's truth"
    for i, name in _varying(case, top):
        yield from _efficient(rungs, i, where, size, len(every) == 1, parameter=name, **fields)
    yield from _exact(case, rungs)
    claim = f"{{quantity}}, {where}, N = {{n}}"
    verdict = at_least(claim, *top.smallest(), quantity=SMALLEST, **fields)
    if verdict.outcome in ("DIFFER", "UNSURE") and len(every) == 1:
        cause = "whether a biased estimator's variance comes up to the bound takes a second N"
        verdict = replace(verdict, bound=np.nan, cause=cause)
    yield verdict


def _efficient(
    rungs: Sequence[Sampling], i: int, where: str, size: int, held: bool, **fields: Any
) -> Iterator[Verdict]:
    """Variance, bias and standard error of a quantity at the N of the data and at the largest N.

    Of the quantity at place `i` along the ladder, on data sets that `where` has in words; `size` is
    the N of the data, and `held` whether there can be no other.
    """
    ratio = "Var({parameter}) / Cramér–Rao bound"
    claim = f"{ratio}, {where}"
    variances = [one.variance(i) for one in rungs]
    departures = np.array([rung.value - 1 for rung in variances])
    near = np.abs(departures) < policy.ASYMPTOTIC
    tail = 1 + rungs[-1].errors.replicates * rungs[-1].errors.relative[i] ** 2
    if tail > policy.KURTOSIS:
        cause = f"the asymptotics have not set in: kurtosis is {tail:.0f}, that of normal ones 3"
        yield not_comparable(claim, cause, quantity="variance", **fields)
        return
    set_in, unset = near[-1] and near.sum() > 1, "the asymptotics have not set in: the variance is"
    left = policy.SHRINKS * abs(departures[-2]) if len(rungs) > 1 else 0.0
    if not set_in and abs(departures[-1]) < left:  # what stays as N grows is no matter of it
        before, top = variances[-2:]
        cause = (
            f"{unset} {before.value:.2f} times the bound at N = {before.n} "
            f"and {top.value:.2f} times at N = {top.n}"
        )
        yield not_comparable(claim, cause, quantity="variance", **fields)
        return
    used = []
    for sampling, rung, one in zip(rungs, variances, near, strict=True):
        if one or not set_in:
            used.append(sampling)
        elif rung.n == size:
            cause = f"{unset} {rung.value:.2f} times the bound at N = {size}"
            yield not_comparable(claim, cause, n=size, quantity="variance", **fields)
    shift = "bias of {parameter} in standard deviations"
    own = "mean standard error of {parameter} / its sd"
    for quantity, words, measure, *law in (
        ("variance", ratio, Sampling.variance, 1.0, policy.EFFICIENCY),
        ("bias", shift, Sampling.bias, 0.0, policy.BIAS, 0.5),
        ("standard error", own, _own_error, 1.0, policy.SAMPLING_SD),
    ):
        statistic = Statistic([measure(one, i) for one in used], *law)
        if held:  # how fast it tends to its limit is not known
            statistic = statistic._replace(first=policy.HELD)
        told = vanishing(statistic, f"{words}, {where}, N = {{n}}", quantity=quantity, **fields)
        for one in (one for one in told if one.n in (size, rungs[-1].n)):
            unknown = held and one.outcome == "UNSURE"  # more data sets do not tell either
            yield replace(one, bound=np.nan) if unknown else one


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
            numbers = sd.value / scale, 1.0, sd.error / scale, policy.SAMPLING_SD
            yield Verdict(claim, *numbers, n=one.n, parameter=name, **fields)
