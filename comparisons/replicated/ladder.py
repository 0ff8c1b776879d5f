"""A statistic along a ladder of N: the law by which it tends to a limit, and verdicts on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from comparisons.policy import FIRST, NEXT_ORDER, SHRINKS, STUDIED, Z
from comparisons.verdict import Verdict

_LEAST = 1e-12
"""Errors below it are taken for it in weights."""


class Rung(NamedTuple):
    """A statistic of one parameter at one N."""

    n: int
    value: float
    error: float
    """Its standard error."""
    fixed: float = 0.0
    """The part of it that more replicates do not make smaller."""


class Statistic(NamedTuple):
    """A statistic whose departure from a limit vanishes like N^−power."""

    rungs: Sequence[Rung]
    limit: float
    bound: float
    """Largest difference from the limit that does not matter."""
    power: float = 1.0
    first: float = FIRST
    """At the only N, departures up to (first / N)^power are taken for finite N's."""

    def but(self, rung: Rung) -> Statistic:
        """Without one rung."""
        return self._replace(rungs=[other for other in self.rungs if other is not rung])

    def law(self) -> tuple[float, float]:
        """The c of limit + c N^−power, by weighted least squares, and its standard error."""
        x = np.array([float(rung.n) ** -self.power for rung in self.rungs])
        y = np.array([rung.value - self.limit for rung in self.rungs])
        weight = 1 / np.array([max(rung.error, _LEAST) for rung in self.rungs]) ** 2
        total = float((weight * x * x).sum())
        return float((weight * x * y).sum()) / total, total**-0.5


def vanishing(statistic: Statistic, claim: str, **fields: Any) -> Iterator[Verdict]:
    """Verdicts on a statistic at every N, for which `{n}` stands in the claim.

    The prediction at a rung is the law through all the others, so that no number explains itself.
    A departure that the law does not explain, yet is mostly gone at the largest N, is one before
    the asymptotics set in: NOT COMPARABLE. So is one at the only N, while it is no larger than the
    first terms of expansions in N^−power are.
    """
    for rung in statistic.rungs:
        last = max(statistic.rungs)
        left = abs(last.value - statistic.limit) + Z * last.error
        cause, predicted, uncertain = _predicted(statistic, rung)
        verdict = Verdict(
            claim,
            rung.value,
            statistic.limit,
            error=rung.error,
            bound=statistic.bound,
            cause=cause,
            predicted=predicted,
            prediction_error=uncertain,
            n=rung.n,
            fixed=rung.fixed,
            resolution=STUDIED * statistic.bound,
            **fields,
        )
        departure = rung.value - statistic.limit
        if verdict.outcome == "DIFFER" and left < SHRINKS * abs(departure):
            cause = (
                f"the asymptotics have not set in at N = {rung.n}: the departure is "
                f"{departure:.2g} there and {last.value - statistic.limit:.2g} at N = {last.n}"
            )
            verdict = replace(verdict, bound=float("nan"), cause=cause)
        elif verdict.outcome == "DIFFER" and predicted is None:
            plausible = (statistic.first / rung.n) ** statistic.power
            if verdict.excess - Z * rung.error < plausible:
                verdict = replace(verdict, bound=float("nan"))
        yield verdict


def _predicted(statistic: Statistic, rung: Rung) -> tuple[str, float | None, float]:
    """The prediction for a rung by the law through the others: in words, its value, its error."""
    power = statistic.power
    others = statistic.but(rung)
    if not others.rungs:
        told = f"takes a second N, as in a study at n=[{rung.n}, {4 * rung.n}]"
        return f"whether the departure vanishes like N^−{power:g} {told}", None, 0.0
    here = float(rung.n) ** -power
    departure, error = (here * part for part in _weighed(others))
    uncertain = Z * error + abs(departure) * min(1.0, NEXT_ORDER * here)
    cause = f"the departure vanishes like N^−{power:g}: from the other N"
    return cause, statistic.limit + departure, uncertain


def _weighed(statistic: Statistic) -> tuple[float, float]:
    """The law by rungs that err by the next term, too, which is at most Z standard errors."""
    first = abs(statistic.law()[0])

    def weighed(rung: Rung) -> Rung:
        here = float(rung.n) ** -statistic.power
        next_term = first * here * min(1.0, NEXT_ORDER * here)
        return rung._replace(error=float(np.hypot(rung.error, next_term / Z)))

    return statistic._replace(rungs=[weighed(rung) for rung in statistic.rungs]).law()


class Power(NamedTuple):
    """|value| = exp(intercept) N^slope along a ladder."""

    slope: float
    error: float
    """Standard error of the slope."""
    intercept: float


def power_law(rungs: Sequence[Rung]) -> Power:
    """A line through log |value| against log N, by weighted least squares."""
    x = np.log([rung.n for rung in rungs])
    y = np.log(np.abs([rung.value for rung in rungs]))
    weight = np.array([(rung.value / max(rung.error, _LEAST)) ** 2 for rung in rungs])
    middle = float(np.average(x, weights=weight))
    away = x - middle
    total = float((weight * away**2).sum())
    found = float((weight * away * y).sum()) / total
    return Power(found, total**-0.5, float(np.average(y, weights=weight)) - found * middle)


def slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Slope of log |value| against log N, and its standard error."""
    return power_law(rungs)[:2]


def line(x: np.ndarray, y: np.ndarray, error: np.ndarray | float = 0.0) -> tuple[float, float]:
    """Slope by least squares through points of so large errors in y, and its standard error."""
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(weight @ y), float(np.sqrt((weight**2 * np.square(error)).sum()))
