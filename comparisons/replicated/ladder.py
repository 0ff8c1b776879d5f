"""A statistic along a ladder of N: the law by which it tends to a limit, and verdicts on it."""

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
    A departure that the law does not explain, yet is mostly gone at the largest N, or is as large
    there and not decided, is one before the asymptotics set in: NOT COMPARABLE. So is one at the
    only N, while it is no larger than the first terms of expansions in N^−power are.
    """
    fields |= {"bound": statistic.bound, "resolution": STUDIED * statistic.bound}
    for rung in statistic.rungs:
        fields |= {"n": rung.n, "error": rung.error, "fixed": rung.fixed}
        fields |= _predicted(statistic, rung)
        verdict = Verdict(claim, rung.value, statistic.limit, **fields)
        departure, last = rung.value - statistic.limit, max(statistic.rungs)
        left = last.value - statistic.limit
        gone = abs(left) + Z * last.error < SHRINKS * abs(departure)
        if verdict.outcome == "DIFFER":
            undecided = abs(left) - Z * last.error <= statistic.bound < abs(left)
            if gone or undecided:
                told = f"{departure:.2g} there and {left:.2g} ± {last.error:.2g} at N = {last.n}"
                cause = f"the asymptotics have not set in at N = {rung.n}: the departure is {told}"
                cause += ", which is not decided" if undecided else ""
                verdict = replace(verdict, bound=float("nan"), cause=cause)
            elif verdict.predicted is None:
                plausible = (statistic.first / rung.n) ** statistic.power
                if verdict.excess - Z * rung.error < plausible:
                    verdict = replace(verdict, bound=float("nan"))
        yield verdict


def _predicted(statistic: Statistic, rung: Rung) -> dict[str, Any]:
    """The prediction for a rung by the law through the others: fields of its verdict."""
    power = statistic.power
    others = [other for other in statistic.rungs if other is not rung]
    if not others:
        told = f"takes a second N, as in a study at n=[{rung.n}, {4 * rung.n}]"
        return {"cause": f"whether the departure vanishes like N^−{power:g} {told}"}
    here = float(rung.n) ** -power
    departure, error = (here * part for part in _weighed(statistic._replace(rungs=others)))
    return {
        "cause": f"the departure vanishes like N^−{power:g}: from the other N",
        "predicted": statistic.limit + departure,
        "prediction_error": Z * error + abs(departure) * min(1.0, NEXT_ORDER * here),
    }


def _weighed(statistic: Statistic) -> tuple[float, float]:
    """The law by rungs that err by the next term, too, which is at most Z standard errors."""
    first, rungs = abs(statistic.law()[0]), []
    for rung in statistic.rungs:
        here = float(rung.n) ** -statistic.power
        next_term = first * here * min(1.0, NEXT_ORDER * here)
        rungs.append(rung._replace(error=float(np.hypot(rung.error, next_term / Z))))
    return statistic._replace(rungs=rungs).law()


def power_law(rungs: Sequence[Rung]) -> tuple[float, float, float]:
    """Slope, its standard error and intercept of log |value| against log N, by weights."""
    x = np.log([rung.n for rung in rungs])
    y = np.log(np.abs([rung.value for rung in rungs]))
    weight = np.array([(rung.value / max(rung.error, _LEAST)) ** 2 for rung in rungs])
    middle = float(np.average(x, weights=weight))
    away = x - middle
    total = float((weight * away**2).sum())
    found = float((weight * away * y).sum()) / total
    return found, total**-0.5, float(np.average(y, weights=weight)) - found * middle


def slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Slope of log |value| against log N, and its standard error."""
    return power_law(rungs)[:2]


def line(x: np.ndarray, y: np.ndarray, error: np.ndarray | float = 0.0) -> tuple[float, float]:
    """Slope by least squares through points of so large errors in y, and its standard error."""
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(weight @ y), float(np.sqrt((weight**2 * np.square(error)).sum()))
