"""Statistics of a study along its ladder of N: verdicts on them, and what is shown beside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from comparisons.exhibits import Curves
from comparisons.policy import CORRELATED, LEFT_OUT, Z
from comparisons.replicated.ladder import Rung, Statistic, power_law, slope
from comparisons.replicated.moments import Moments
from comparisons.studies._study import Descriptive, Number, Summaries
from comparisons.verdict import Verdict, not_comparable

CLAIM = "{quantity} of {parameter} by {method}, N = {n}"
"""Most verdicts of studies."""
LAGGED = "autocorrelation"
"""Column of the autocorrelation of a sampler's neighbouring draws, by quantity."""


def usable(summaries: Summaries, column: str) -> list[int]:
    """The N at which nearly every replicate had a usable fit, smallest first."""
    at = ((n, summaries[n][column]) for n in sorted(summaries))
    return [n for n, one in at if one.left_out <= LEFT_OUT * (one.replicates + one.left_out)]


def left_out(summaries: Summaries, column: str, method: str) -> Iterator[Verdict]:
    """Says at which N too few replicates could be used."""
    for n in sorted(set(summaries) - set(usable(summaries, column))):
        one = summaries[n][column]
        cause = (
            f"{one.left_out} of {one.replicates + one.left_out} replicates have no usable fit "
            f"by {method}"
        )
        yield not_comparable(
            "{method}, N = {n}", cause, method=method, n=n, quantity="usable replicates"
        )


def where(fine: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Columns with one row per replicate, NaN where its fit cannot be used."""
    return np.where(fine.reshape(-1, *[1] * (columns.ndim - 1)), columns, np.nan)


def means(summaries: Summaries, column: str, place: int) -> list[Rung]:
    """Means of a column for a quantity at the N that can be used."""
    at = ((n, summaries[n][column]) for n in usable(summaries, column))
    return [Rung(n, float(one.mean[place]), float(one.error[place])) for n, one in at]


def shares(
    summaries: Summaries, column: str, place: int, theory: float, ladder: Iterable[int]
) -> list[Rung]:
    """Shares of replicates at some N, with the binomial errors that they have if theory is right.

    Args:
        summaries: of the study.
        column: of indicators.
        place: of the quantity.
        theory: the share.
        ladder: the N.
    """
    at = ((n, summaries[n][column]) for n in ladder)
    return [Rung(n, float(one.mean[place]), binomial(theory, one.replicates)) for n, one in at]


def binomial(share: float, replicates: int) -> float:
    """Standard error of a share that is `share` in truth, of one count in all at least."""
    within = min(max(share, 1 / replicates), 1 - 1 / replicates)
    return float(np.sqrt(within * (1 - within) / replicates))


def dependent(
    summaries: Summaries, ladder: Sequence[int], place: int, claim: str, **fields: Any
) -> dict[int, Verdict]:
    """The N at which a sampler's draws of a quantity are not independent, with a verdict on it.

    Args:
        summaries: of the study.
        ladder: the N to look at.
        place: of the quantity.
        claim: of the verdicts.
        fields: further ones of the verdicts.
    """
    lagged = {n: float(summaries[n][LAGGED].mean[place]) for n in ladder}
    return {
        n: not_comparable(
            claim, f"the draws are not independent: autocorrelation {value:.2f}", n=n, **fields
        )
        for n, value in lagged.items()
        if value > CORRELATED
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


def rate(rungs: Sequence[Rung], limit: float, least: float, bound: float, **fields: Any) -> Verdict:
    """Whether a departure from a limit vanishes at least like N^−least: its fitted power of 1/N.

    By the rungs at which it is beyond its error, since the logarithm of noise has no slope.

    Args:
        rungs: the statistic along the ladder.
        limit: where it tends.
        least: the smallest power of 1/N that theory allows.
        bound: the largest difference of powers that does not matter.
        fields: further ones of the verdict.
    """
    claim = "{quantity}, power of 1/N, of {parameter}"
    clear = departures(rungs, limit)
    along = ", ".join(str(rung.n) for rung in clear)
    if len(clear) < 2:
        cause = f"the departure is beyond its error at fewer than two N ({along or 'none'})"
        return not_comparable(claim, cause, **fields)
    if len({rung.value > 0 for rung in clear}) > 1:
        cause = f"the departure changes its sign along N = {along}"
        return not_comparable(claim, cause, **fields)
    power, error = slope(clear)
    cause = f"slope of log |departure| against log N = {along}: {power:.2f} ± {error:.2f}"
    return Verdict(claim, -power, least, error, bound, "at_least", cause, **fields)


def departures(rungs: Sequence[Rung], limit: float) -> list[Rung]:
    """Those from a limit that are beyond their error."""
    away = [rung._replace(value=rung.value - limit) for rung in rungs]
    return [rung for rung in away if abs(rung.value) > Z * rung.error]


def coefficients(method: str, parameter: str, statistics: Mapping[str, Statistic]) -> Descriptive:
    """The fitted laws of statistics of a parameter, by quantity."""
    numbers = []
    for quantity, one in statistics.items():
        quantity = f"c in {quantity} = {one.limit:.4g} + c N^−{one.power:g}"
        numbers.append(Number(method, max(one.rungs).n, quantity, parameter, *one.law()))
    return Descriptive(f"Laws of departures of {parameter} by {method}, fitted", tuple(numbers))


def powers(title: str, y: str, statistics: Mapping[str, Sequence[Rung]]) -> Iterator[Descriptive]:
    """A figure of sizes of statistics along N, each with the power of N that is fitted to it.

    Those of fewer than two N, or that change their sign, follow no power and are left out.
    """
    measured, fitted = {}, {}
    for name, rungs in statistics.items():
        if len(rungs) < 2 or len({rung.value > 0 for rung in rungs}) > 1:
            continue
        power, error, intercept = power_law(rungs)
        ladder = [rung.n for rung in rungs]
        line = f"{name}: slope {power:.3f} ± {error:.2g}"
        measured[line] = ladder, [abs(rung.value) for rung in rungs]
        fitted[line] = ladder, [float(np.exp(intercept)) * n**power for n in ladder]
    if measured:
        yield Descriptive(title, (), Curves(title, "units", y, measured, fitted, "xy"))
