"""Statistics of a study along its ladder of N: verdicts on them, and what is shown beside."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from comparisons.exhibits import Curves
from comparisons.policy import CORRELATED, LEFT_OUT, LEVEL, Z
from comparisons.replicated.ladder import Rung, power_law, slope
from comparisons.replicated.moments import Moments
from comparisons.studies._study import Descriptive, Summaries
from comparisons.verdict import Verdict, not_comparable
from inference.replicates.fits import Replicates

CLAIM = "{quantity} of {parameter} by {method}, N = {n}"
"""Most verdicts of studies."""

LAGGED = "autocorrelation"
"""Column of the autocorrelation of a sampler's neighbouring draws, by quantity."""


def usable(summaries: Summaries, column: str) -> dict[int, Moments]:
    """A column by N, smallest first, where nearly every replicate had a usable fit."""
    at = {n: summaries[n][column] for n in sorted(summaries)}
    every = {n: one.replicates + one.left_out for n, one in at.items()}
    return {n: one for n, one in at.items() if one.left_out <= LEFT_OUT * every[n]}


def left_out(summaries: Summaries, column: str, method: str) -> Iterator[Verdict]:
    """Says at which N too few replicates could be used."""
    fields: dict[str, Any] = {"method": method, "quantity": "usable replicates"}
    for n in sorted(set(summaries) - set(usable(summaries, column))):
        one = summaries[n][column]
        count = f"{one.left_out} of {one.replicates + one.left_out}"
        cause = f"{count} replicates have no usable fit by {method}"
        yield not_comparable("{method}, N = {n}", cause, n=n, **fields)


def where(fine: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Columns with one row per replicate, NaN where its fit cannot be used."""
    return np.where(fine.reshape(-1, *[1] * (columns.ndim - 1)), columns, np.nan)


def wald(
    fits: Replicates, errors: dict[str, np.ndarray], values: np.ndarray
) -> dict[str, np.ndarray]:
    """Whether the intervals θ̂ ± z·SE contain values, by name of the standard errors."""
    away, half = np.abs(fits.estimate - values), norm.ppf((1 + LEVEL) / 2)
    inside = {name: (away <= half * error).astype(float) for name, error in errors.items()}
    return {name: where(fits.converged, one) for name, one in inside.items()}


def held_by(ratio: np.ndarray | float) -> np.ndarray:
    """2Φ(z r) − 1, the coverage by an sd that is so many times the right one."""
    return 2 * norm.cdf(norm.ppf((1 + LEVEL) / 2) * ratio) - 1


def means(at: Mapping[int, Moments], place: int) -> list[Rung]:
    """Means of a column for a quantity, by N."""
    return [Rung(n, float(one.mean[place]), float(one.error[place])) for n, one in at.items()]


def shares(at: Mapping[int, Moments], place: int, theory: float) -> list[Rung]:
    """Shares of replicates, by N, with the binomial errors that they have if theory is right."""
    counted = ((n, float(one.mean[place]), one.replicates) for n, one in at.items())
    return [Rung(n, share, binomial(theory, count)) for n, share, count in counted]


def binomial(share: float, replicates: int) -> float:
    """Standard error of a share that is `share` in truth, of one count in all at least."""
    within = min(max(share, 1 / replicates), 1 - 1 / replicates)
    return float(np.sqrt(within * (1 - within) / replicates))


def dependent(lagged: Mapping[int, Moments], place: int, **fields: Any) -> dict[int, Verdict]:
    """The N at which a sampler's draws of a quantity are not independent, with a verdict on it."""
    found = {}
    for n, one in lagged.items():
        if (value := float(one.mean[place])) > CORRELATED:
            cause = f"the draws are not independent: autocorrelation {value:.2f}"
            found[n] = not_comparable(cause=cause, n=n, **fields)
    return found


def rate(clear: Sequence[Rung], least: float, bound: float, **fields: Any) -> Verdict:
    """Whether `departures` vanish at least like N^−least, by the power of 1/N fitted to them."""
    claim = "{quantity}, power of 1/N, of {parameter}"
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
    """Those from a limit that are beyond their error: the logarithm of noise has no slope."""
    away = [rung._replace(value=rung.value - limit) for rung in rungs]
    return [rung for rung in away if abs(rung.value) > Z * rung.error]


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
