"""A statistic along a ladder of N: the law by which it tends to a limit, and verdicts on it."""

from __future__ import annotations

from dataclasses import replace
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comparisons.exhibits import Curves
from comparisons.policy import Z
from comparisons.studies._study import Finding, Number, Unjudged
from comparisons.verdict import Verdict, not_comparable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons.studies._moments import Moments, Summaries
    from comparisons.studies._study import Setting

NEXT_ORDER = 10.0
"""The next term of an expansion in N^−power, relative to the first, is at most so many N^−power."""
SHRINKS = 0.75
"""Largest share of a departure left at the largest N for it to be a matter of asymptotics."""
LEFT_OUT = 0.01
"""Largest share of replicates without a usable fit on which a verdict may rest."""


LAGGED = "autocorrelation"
"""Column of the autocorrelation of a sampler's neighbouring draws, by quantity."""
CORRELATED = 0.1
"""Largest mean of it at which draws are taken to be independent: chains this short have no other
diagnostics, but all of them together have this one."""


class Rung(NamedTuple):
    """A statistic of one parameter at one N."""

    n: int
    value: float
    error: float


def vanishing(
    rungs: Sequence[Rung], limit: float, bound: float, about: str, power: float = 1.0
) -> Iterator[tuple[int, Verdict]]:
    """Verdicts on a statistic at every N whose departure from a limit vanishes like N^−power.

    The prediction at a rung is that law through all the others, so that no number explains itself.
    A departure that the law does not explain, yet is mostly gone at the largest N, is one before
    the asymptotics set in: NOT COMPARABLE.
    """
    for rung in rungs:
        others = [other for other in rungs if other is not rung]
        predicted, uncertain = None, 0.0
        if others:
            here = float(rung.n) ** -power
            departure, error = (here * part for part in _weighed(others, limit, power))
            predicted = limit + departure
            uncertain = Z * error + abs(departure) * min(1.0, NEXT_ORDER * here)
        verdict = Verdict(
            f"{about}, N = {rung.n}",
            rung.value,
            limit,
            error=rung.error,
            bound=bound,
            cause=f"the departure vanishes like N^−{power:g}: from the other N"
            if others
            else f"whether the departure vanishes like N^−{power:g} would need a second N",
            predicted=predicted,
            prediction_error=uncertain,
        )
        last = max(rungs)
        left = abs(last.value - limit) + Z * last.error
        if verdict.outcome == "DIFFER" and left < SHRINKS * abs(rung.value - limit):
            verdict = replace(
                verdict,
                bound=float("nan"),
                cause=f"the asymptotics have not set in at N = {rung.n}: the departure is "
                f"{rung.value - limit:.2g} there and {last.value - limit:.2g} at N = {last.n}",
            )
        yield rung.n, verdict


def _weighed(rungs: Sequence[Rung], limit: float, power: float) -> tuple[float, float]:
    """`law` by rungs that err by the next term, too, which is at most Z standard errors."""
    first = law(rungs, limit, power)[0]
    errors = [
        np.hypot(rung.error, abs(first) * here * min(1.0, NEXT_ORDER * here) / Z)
        for rung in rungs
        for here in (float(rung.n) ** -power,)
    ]
    known = [rung._replace(error=float(e)) for rung, e in zip(rungs, errors, strict=True)]
    return law(known, limit, power)


def law(rungs: Sequence[Rung], limit: float, power: float) -> tuple[float, float]:
    """The c of limit + c N^−power, by weighted least squares, and its standard error."""
    x = np.array([float(rung.n) ** -power for rung in rungs])
    y = np.array([rung.value - limit for rung in rungs])
    weight = 1 / np.array([max(rung.error, 1e-12) for rung in rungs]) ** 2
    total = float((weight * x * x).sum())
    return float((weight * x * y).sum()) / total, total**-0.5


def coefficients(
    method: str, parameter: str, statistics: Mapping[str, tuple[Sequence[Rung], float, float]]
) -> Unjudged:
    """The fitted laws of statistics of a parameter.

    Args:
        method: the estimator.
        parameter: of what.
        statistics: by quantity, its ladder, its limit and the power of 1/N.
    """
    numbers = [
        Number(
            method, max(rungs).n, f"c in {quantity} = {limit:.4g} + c N^−{power:g}", parameter,
            *law(rungs, limit, power), float("nan"),
        )
        for quantity, (rungs, limit, power) in statistics.items()
        if rungs
    ]  # fmt: skip
    return Unjudged(f"Laws of departures of {parameter} by {method}, fitted", tuple(numbers))


def largest_gap(below: Mapping[int, Moments], which: int, levels: np.ndarray) -> list[Rung]:
    """How far a law is from the one it should be, along N, at the level where some N is furthest.

    One level for all N, since each has a law of its own by which its departure vanishes.

    Args:
        below: by N, moments of indicators that a quantity lies below its p-quantile, for every
            quantity and, fastest, for every p.
        which: the quantity.
        levels: the p.
    """
    gaps = np.stack([one.mean.reshape(-1, levels.size)[which] - levels for one in below.values()])
    replicates = np.array([one.replicates for one in below.values()])
    errors = np.sqrt(levels * (1 - levels) / replicates[:, None])
    # equal ones differ by rounding
    worst = int(np.abs(gaps / errors).round(9).max(axis=0).argmax())
    return list(starmap(Rung, zip(below, gaps[:, worst], errors[:, worst], strict=True)))


class Power(NamedTuple):
    """|value| = exp(height) N^slope along a ladder."""

    slope: float
    error: float
    """Standard error of the slope."""
    height: float


def power_law(rungs: Sequence[Rung]) -> Power:
    """A line through log |value| against log N, by weighted least squares."""
    x = np.log([rung.n for rung in rungs])
    y = np.log(np.abs([rung.value for rung in rungs]))
    weight = np.array([(rung.value / max(rung.error, 1e-12)) ** 2 for rung in rungs])
    middle = float(np.average(x, weights=weight))
    away = x - middle
    total = float((weight * away**2).sum())
    found = float((weight * away * y).sum()) / total
    return Power(found, total**-0.5, float(np.average(y, weights=weight)) - found * middle)


def slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Of log |value| against log N, and its standard error."""
    return power_law(rungs)[:2]


def rate(rungs: Sequence[Rung], limit: float, least: float, bound: float, about: str) -> Verdict:
    """Whether a departure from a limit vanishes at least like N^−least: its fitted power of 1/N.

    By the rungs at which it is beyond its error, since the logarithm of noise has no slope.
    """
    clear = departures(rungs, limit)
    along = ", ".join(str(rung.n) for rung in clear)
    if len(clear) < 2:
        cause = f"the departure is beyond its error at fewer than two N ({along or 'none'})"
        return not_comparable(about, cause)
    if len({rung.value > 0 for rung in clear}) > 1:
        return not_comparable(about, f"the departure changes its sign along N = {along}")
    power, error = slope(clear)
    return Verdict(
        about,
        -power,
        least,
        error,
        bound,
        relation="at_least",
        cause=f"slope of log |departure| against log N = {along}: {power:.2f} ± {error:.2f}",
    )


def departures(rungs: Sequence[Rung], limit: float) -> list[Rung]:
    """Those from a limit that are beyond their error."""
    away = [rung._replace(value=rung.value - limit) for rung in rungs]
    return [rung for rung in away if abs(rung.value) > Z * rung.error]


def powers(title: str, y: str, statistics: Mapping[str, Sequence[Rung]]) -> Iterator[Unjudged]:
    """A figure of sizes of statistics along N, each with the power of N that is fitted to it.

    Args:
        title: of the figure.
        y: label of the vertical axis.
        statistics: by name, their ladders; those of fewer than two N, or that change their sign,
            follow no power and are left out.
    """
    measured, fitted = {}, {}
    for name, rungs in statistics.items():
        if len(rungs) < 2 or len({rung.value > 0 for rung in rungs}) > 1:
            continue
        power, error, height = power_law(rungs)
        ladder = [rung.n for rung in rungs]
        line = f"{name}: slope {power:.3f} ± {error:.2g}"
        measured[line] = ladder, [abs(rung.value) for rung in rungs]
        fitted[line] = ladder, [float(np.exp(height)) * n**power for n in ladder]
    if measured:
        yield Unjudged(title, (), Curves(title, "units", y, measured, fitted, "xy"))


def usable(summaries: Summaries, column: str) -> list[int]:
    """The N at which nearly every replicate had a usable fit, smallest first."""
    found = []
    for n in sorted(summaries):
        moments = summaries[n][column]
        if moments.left_out <= LEFT_OUT * (moments.replicates + moments.left_out):
            found.append(n)
    return found


def ladders(
    setting: Setting, summaries: Summaries
) -> Iterator[tuple[str, list[int], list[tuple[int, str]]]]:
    """By column: its name, the N at which it can be used, and the quantities that vary."""
    for column in next(iter(summaries.values())):
        yield column, usable(summaries, column), setting.varying


def dependent(summaries: Summaries, ladder: Sequence[int], which: int) -> dict[int, str]:
    """The N at which a sampler's draws of a quantity are not independent, with the sentence."""
    lagged = {n: float(summaries[n][LAGGED].mean[which]) for n in ladder}
    return {
        n: f"the draws are not independent: autocorrelation {value:.2f}"
        for n, value in lagged.items()
        if value > CORRELATED
    }


def left_out(summaries: Summaries, column: str, method: str) -> Iterator[Finding]:
    """Says at which N too few replicates could be used."""
    fine = usable(summaries, column)
    for n in sorted(summaries):
        if n not in fine:
            moments = summaries[n][column]
            cause = (
                f"{moments.left_out} of {moments.replicates + moments.left_out} replicates have no "
                f"usable fit by {method}"
            )
            verdict = not_comparable(f"{method}, N = {n}", cause)
            yield Finding(method, n, "usable replicates", "", verdict)
