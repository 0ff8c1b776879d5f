"""The maximum-likelihood estimator is consistent, asymptotically normal and efficient.

For N iid observations at a regular θ₀, √N (θ̂ − θ₀) → N(0, I(θ₀)⁻¹) in law.  Hence along a ladder
of N: the standard deviation of θ̂ falls like N^(−½); over that of the Cramér–Rao bound it tends to
1, and so does the mean standard error over it, both with departures of order 1/N; its bias in
standard deviations vanishes, and its law in units of the bound is normal, up to order N^(−½) (Berry
and Esseen).  Where the law of θ̂ is known at every N (a normal sample's), its mean and standard
deviation are held to that as well.  A table has mean and standard deviation themselves.
References: van der Vaart (1998), Asymptotic Statistics, §5.3-5.5; Lehmann & Casella (1998), Theory
of Point Estimation, §6.3.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from comparisons.policy import BIAS, LIMIT_MEAN, LIMIT_SD, LIMIT_SLOPE, PROBABILITY
from comparisons.replicated.ladder import Rung, Statistic, slope, vanishing
from comparisons.replicated.moments import Moments
from comparisons.replicated.sampling import Sampling
from comparisons.studies._ladder import CLAIM, left_out, powers, usable, where
from comparisons.studies._study import Descriptive, Number, Setting, Summaries
from comparisons.verdict import Verdict
from inference.replicates.fits import replicate
from models.capabilities import HasSamplingLaw
from models.programs.density import flatten

LEVELS = np.arange(0.1, 0.95, 0.1)
"""Probabilities at which laws are compared."""
METHOD = "maximum_likelihood"
OVER_BOUND = "sd / Cramér–Rao bound"


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Error, standard error, and on which side of normal quantiles the error lies."""
    fits = replicate(setting.model, setting.batch(n, indices))
    error = fits.estimate - setting.truth
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no sd
        standard = error / setting.bound(n).deviation
    below = (standard[:, :, None] <= norm.ppf(LEVELS)).astype(float)
    columns = {"error": error, "standard error": fits.standard_error, "below": below}
    return {name: where(fits.converged, column) for name, column in columns.items()}


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """The ladder of N, one set of verdicts per parameter."""
    yield from left_out(summaries, "error", METHOD)
    ladder = _sampled(setting, summaries)
    yield from _exact(setting, ladder)
    for i, name in setting.varying if ladder else ():
        fields: dict[str, Any] = {"method": METHOD, "parameter": name}
        for quantity, one in _statistics(summaries, ladder, i).items():
            yield from vanishing(one, CLAIM, quantity=quantity, **fields)
        if len(ladder) > 1:
            found, error = slope([one.sd(i) for one in ladder])
            fields |= {"quantity": "slope of log sd against log N", "n": ladder[-1].n}
            yield Verdict(CLAIM, found, -0.5, error, LIMIT_SLOPE, **fields)


def descriptive(setting: Setting, summaries: Summaries) -> Iterator[Descriptive]:
    """The ladder table of every parameter, and its standard deviation with the fitted line."""
    ladder = _sampled(setting, summaries)
    sds: dict[str, list[Rung]] = {}
    for i, name in setting.varying if ladder else ():
        truth = float(setting.truth[i])
        rows = [
            Number(METHOD, one.n, quantity, name, *row)
            for one in ladder
            for quantity, row in _row(one, i, truth).items()
        ]
        yield Descriptive(f"{name} along the ladder", tuple(rows))
        yield _coefficients(name, _statistics(summaries, ladder, i))
        sds[name] = [one.sd(i) for one in ladder]
    title = "Standard deviations of the estimates, and the fitted lines"
    yield from powers(title, "standard deviation", sds)


def _coefficients(parameter: str, statistics: Mapping[str, Statistic]) -> Descriptive:
    """The fitted laws of statistics of a parameter, by quantity."""
    numbers = []
    for quantity, one in statistics.items():
        quantity = f"c in {quantity} = {one.limit:.4g} + c N^−{one.power:g}"
        numbers.append(Number(METHOD, max(one.rungs).n, quantity, parameter, *one.law()))
    return Descriptive(f"Laws of departures of {parameter} by {METHOD}, fitted", tuple(numbers))


def _sampled(setting: Setting, summaries: Summaries) -> list[Sampling]:
    """The estimator at the N that can be used."""
    return [
        Sampling(n, errors, setting.bound(n), summaries[n]["standard error"])
        for n, errors in usable(summaries, "error").items()
    ]


def _row(sampling: Sampling, i: int, truth: float) -> dict[str, tuple[float, float, float]]:
    """By quantity: value, error and theory at one N."""
    errors, bound = sampling.errors, float(sampling.bound.deviation[i])
    _, sd, uncertain, _ = sampling.sd(i)
    _, ratio, its_error, _ = sampling.over_bound(i)
    return {
        "mean": (truth + float(errors.mean[i]), float(errors.error[i]), truth),
        "sd": (sd, uncertain, bound),
        OVER_BOUND: (ratio, its_error, 1.0),
    }


def _statistics(summaries: Summaries, ladder: Sequence[Sampling], i: int) -> dict[str, Statistic]:
    """The statistics of a parameter, with their limits, by quantity."""
    bias, ratio, own = (
        [statistic(one, i) for one in ladder]
        for statistic in (Sampling.bias, Sampling.over_bound, Sampling.own_error)
    )
    normal = largest_gap({one.n: summaries[one.n]["below"] for one in ladder}, i, LEVELS)
    return {
        "bias / sd": Statistic(bias, 0.0, BIAS, 0.5),
        OVER_BOUND: Statistic(ratio, 1.0, LIMIT_SD),
        "mean standard error / sd": Statistic(own, 1.0, LIMIT_SD),
        "largest difference from the normal law": Statistic(normal, 0.0, PROBABILITY, 0.5),
    }


def largest_gap(below: Mapping[int, Moments], place: int, levels: np.ndarray) -> list[Rung]:
    """How far a law is from the one it should be, along N, at the level p where some N is furthest.

    By moments of indicators that a quantity lies below its p-quantile, for every quantity and,
    fastest, for every p. One level for all N, since each has a law of its own by which its
    departure vanishes.
    """
    gaps = np.stack([one.mean.reshape(-1, levels.size)[place] - levels for one in below.values()])
    replicates = np.array([one.replicates for one in below.values()])
    errors = np.sqrt(levels * (1 - levels) / replicates[:, None])
    # equal ones differ by rounding
    worst = int(np.abs(gaps / errors).round(9).max(axis=0).argmax())
    return [Rung(*one) for one in zip(below, gaps[:, worst], errors[:, worst], strict=True)]


def _exact(setting: Setting, ladder: Sequence[Sampling]) -> Iterator[Verdict]:
    """Mean and standard deviation against their law at each N, where the model knows it."""
    model = setting.model
    if not isinstance(model, HasSamplingLaw):
        return
    for sampling in ladder:
        law = model.sampling_moments(model.truth, sampling.n)
        mean, sd = (np.asarray(flatten(part)) for part in law)
        for i, name in setting.varying:
            fields: dict[str, Any] = {"method": METHOD, "n": sampling.n, "parameter": name}
            scale, errors = float(sd[i]), sampling.errors
            shift = float(errors.mean[i] + setting.truth[i] - mean[i]) / scale
            error, quantity = float(errors.error[i]) / scale, "mean − its exact value, in sd"
            yield Verdict(CLAIM, shift, 0.0, error, LIMIT_MEAN, quantity=quantity, **fields)
            _, own, error, _ = sampling.sd(i)
            numbers, quantity = (own / scale, 1.0, error / scale, LIMIT_SD), "sd / its exact value"
            yield Verdict(CLAIM, *numbers, quantity=quantity, **fields)
