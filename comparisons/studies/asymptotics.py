"""The maximum-likelihood estimator is consistent, asymptotically normal and efficient.

For N iid observations at a regular θ₀, √N (θ̂ − θ₀) → N(0, I(θ₀)⁻¹) in law.  Hence along a ladder
of N: the standard deviation of θ̂ falls like N^(−½); over that of the Cramér–Rao bound it tends to
1, and so does the mean standard error over it, both with departures of order 1/N; its bias in
standard deviations vanishes, and its law in units of the bound is normal, up to order N^(−½) (Berry
and Esseen).  Where the law of θ̂ is known at every N (a normal sample's), its mean and standard
deviation are held to that as well.  A table has mean, standard deviation and quantiles themselves.
References: van der Vaart (1998), Asymptotic Statistics, §5.3-5.5; Lehmann & Casella (1998), Theory
of Point Estimation, §6.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm

from comparisons.policy import BIAS, LIMIT_MEAN, LIMIT_SD, LIMIT_SLOPE, PROBABILITY
from comparisons.studies._ladder import (
    Rung,
    coefficients,
    largest_gap,
    left_out,
    powers,
    slope,
    usable,
    vanishing,
)
from comparisons.studies._study import Finding, Number, Unjudged
from comparisons.verdict import Verdict
from inference.replicates.fits import replicate
from models.capabilities import HasSamplingLaw
from models.programs.density import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.studies._moments import Summaries
    from comparisons.studies._study import Setting

LEVELS = np.arange(0.1, 0.95, 0.1)
"""Probabilities at which laws are compared."""
QUANTILES = (0.05, 0.5, 0.95)
"""Of the estimates, in the table."""
SKETCHED = ("error",)
METHOD = "maximum_likelihood"
OVER_BOUND = "sd / Cramér–Rao bound"


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Error, standard error, and on which side of normal quantiles the error lies."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    bad = ~fits.converged[:, None]
    error = np.where(bad, np.nan, fits.estimate - setting.truth)
    deviation = setting.bound(n).deviation
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no spread
        standard = error / deviation
    below = (standard[:, :, None] <= norm.ppf(LEVELS)).astype(float)
    return {
        "error": error,
        "standard error": np.where(bad, np.nan, fits.standard_error),
        "below": np.where(bad[:, :, None], np.nan, below),
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """The ladder of N, one set of rows per parameter."""
    yield from left_out(summaries, "error", METHOD)
    ladder = usable(summaries, "error")
    if not ladder:
        return
    yield from _exact(setting, summaries, ladder)
    for i, name in setting.varying:
        for one in _statistics(setting, summaries, ladder, i):
            about = f"{one.quantity} of {name}"
            for n, verdict in vanishing(one.rungs, one.limit, one.bound, about, one.power):
                held = _of_bound(setting, n, i) if one.quantity == OVER_BOUND else 0.0
                yield Finding(METHOD, n, one.quantity, name, verdict, held * verdict.observed)
        spread = _spread(summaries, ladder, i)
        if len(ladder) > 1:
            rate, error = slope(spread)
            quantity = "slope of log sd against log N"
            verdict = Verdict(f"{quantity} of {name}", rate, -0.5, error, LIMIT_SLOPE)
            yield Finding(METHOD, ladder[-1], quantity, name, verdict)


def unjudged(setting: Setting, summaries: Summaries) -> Iterator[Unjudged]:
    """The ladder table of every parameter, and its standard deviation with the fitted line."""
    ladder = usable(summaries, "error")
    spreads: dict[str, list[Rung]] = {}
    for i, name in setting.varying if ladder else ():
        truth, numbers = float(setting.truth[i]), []
        spread, statistics = (
            _spread(summaries, ladder, i),
            _statistics(setting, summaries, ladder, i),
        )
        over = {n: of for one in statistics if one.quantity == OVER_BOUND for n, *of in one.rungs}
        for n, sd, uncertain in spread:
            error, bound = summaries[n]["error"], float(setting.bound(n).deviation[i])
            rows = [
                ("mean", truth + float(error.mean[i]), float(error.error[i]), truth),
                ("sd", sd, uncertain, bound),
                (OVER_BOUND, *over[n], 1.0),
            ]
            for level in QUANTILES:
                away, its_error = error.quantile(i, level)
                theory = truth + norm.ppf(level) * bound
                rows.append((f"{level:.0%} quantile", truth + away, its_error, float(theory)))
            numbers += [Number(METHOD, n, quantity, name, *row) for quantity, *row in rows]
        yield Unjudged(f"{name} along the ladder", tuple(numbers))
        yield coefficients(
            METHOD, name, {one.quantity: (one.rungs, one.limit, one.power) for one in statistics}
        )
        spreads[name] = spread
    title = "Standard deviations of the estimates, and the fitted lines"
    yield from powers(title, "standard deviation", spreads)


def _spread(summaries: Summaries, ladder: Sequence[int], which: int) -> list[Rung]:
    """Standard deviations of the estimates of a parameter."""
    rungs = []
    for n in ladder:
        error = summaries[n]["error"]
        sd = float(error.deviation[which])
        rungs.append(Rung(n, sd, sd * float(error.relative[which]) / 2))
    return rungs


class _Statistic(NamedTuple):
    """A statistic of a parameter along the ladder."""

    quantity: str
    rungs: list[Rung]
    limit: float
    bound: float
    """Largest difference from the limit that does not matter."""
    power: float
    """The departure vanishes like N^−power."""


def _statistics(
    setting: Setting, summaries: Summaries, ladder: Sequence[int], which: int
) -> tuple[_Statistic, ...]:
    bias, ratio, own = [], [], []
    for n, sd, uncertain in _spread(summaries, ladder, which):
        error, standard = summaries[n]["error"], summaries[n]["standard error"]
        bias.append(Rung(n, float(error.mean[which]) / sd, error.replicates**-0.5))
        over = sd / float(setting.bound(n).deviation[which])
        either = float(np.hypot(uncertain / sd, _of_bound(setting, n, which)))
        ratio.append(Rung(n, over, over * either))
        # both errors, as if they were independent
        mean, of_mean = float(standard.mean[which]) / sd, float(standard.error[which]) / sd
        own.append(Rung(n, mean, float(np.hypot(of_mean, mean * uncertain / sd))))
    normal = largest_gap({n: summaries[n]["below"] for n in ladder}, which, LEVELS)
    return (
        _Statistic("bias / sd", bias, 0.0, BIAS, 0.5),
        _Statistic(OVER_BOUND, ratio, 1.0, LIMIT_SD, 1.0),
        _Statistic("mean standard error / sd", own, 1.0, LIMIT_SD, 1.0),
        _Statistic("largest difference from the normal law", normal, 0.0, PROBABILITY, 0.5),
    )


def _of_bound(setting: Setting, n: int, which: int) -> float:
    """Relative error of the bound on a standard deviation."""
    return float(setting.bound(n).uncertain[which]) / 2


def _exact(setting: Setting, summaries: Summaries, ladder: Sequence[int]) -> Iterator[Finding]:
    """Mean and standard deviation against their law at each N, where the model knows it."""
    model = setting.model
    if not isinstance(model, HasSamplingLaw):
        return
    for n in ladder:
        law = model.sampling_moments(model.truth, n)
        center, scale = (np.asarray(flatten(part)) for part in law)
        error = summaries[n]["error"]
        for i, name in setting.varying:
            shift = float(error.mean[i] + setting.truth[i] - center[i]) / scale[i]
            ratio = float(error.deviation[i]) / scale[i]
            for quantity, value, expected, uncertain, bound in (
                (
                    "mean − its exact value, in sd",
                    shift,
                    0.0,
                    float(error.error[i]) / scale[i],
                    LIMIT_MEAN,
                ),
                (
                    "sd / its exact value",
                    ratio,
                    1.0,
                    ratio * float(error.relative[i]) / 2,
                    LIMIT_SD,
                ),
            ):
                about = f"{quantity}, of {name}, N = {n}"
                verdict = Verdict(about, value, expected, uncertain, bound)
                yield Finding(METHOD, n, quantity, name, verdict)
