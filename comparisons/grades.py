"""Is an approximation good enough: what its own 95 % interval holds under the reference posterior.

The interval is between quantiles of the method's draws, or the estimate ± 1.96 standard errors; its
content is the share of the reference's draws in it (of its law, where that is known). A method
without standard errors is graded by its shift alone.  A grade is no verdict: an approximation that
is far off has done what it promises. Its causes are told in numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from math import hypot, isnan, nan, sqrt
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

from comparisons.policy import CAUSE, GOOD, INTERVAL, POOR, SHIFTS, WIDE
from comparisons.reference import own_draws, reference, scalars
from inference.estimate import Estimate, Scalar
from inference.method import Method, label
from models.capabilities import HasExactPosterior
from models.programs.density import quantity_table
from models.programs.precision import float64
from models.spec import Model

type Mark = Literal["ok", "careful", "no"]

MARKS: tuple[Mark, ...] = get_args(Mark.__value__)
"""Every mark, best first."""
_ENDS = (1 - INTERVAL) / 2, (1 + INTERVAL) / 2
_HALF = float(norm.ppf(_ENDS[1]))


class Grade(NamedTuple):
    """One method for one quantity."""

    method: str  # its label
    parameter: str  # flat name of the quantity
    mean: float  # the method's, natural scale
    sd: float
    low: float  # where its 95 % interval begins; NaN without a standard error
    high: float  # where it ends
    below: float  # posterior probability below the interval
    above: float  # and above it
    holds: float  # that within
    holds_error: float  # its Monte Carlo standard error
    shift: float  # estimate less the posterior mean, in posterior standard deviations
    ratio: float  # its sd over the posterior's
    mark: Mark
    cause: str  # what makes it so, in words and numbers; "" for `ok`

    @property
    def badness(self) -> tuple[int, float]:
        """The mark and, among equal marks, by how much the interval fails."""
        return MARKS.index(self.mark), self.gap

    @property
    def gap(self) -> float:
        """By how much an interval's content fails; without one, by the shift, of like size."""
        return abs(self.shift) / 4 if isnan(self.holds) else abs(INTERVAL - self.holds)


@float64
def graded(model: Model, data: xr.Dataset, fits: Mapping[Method, Estimate]) -> list[Grade]:
    """The grade of every method but the reference for every quantity that both report.

    In the order of the fits; none without a reference.
    """
    against, found = reference(fits), list[Grade]()
    truths = scalars(model, fits[against]) if against else {}
    content = _content(model, data, fits[against], truths) if against else None
    if content is None:
        return found
    full = {
        (method.name, method.language, name): one.sd
        for method, fit in fits.items()
        if method.family == "full_rank" and not fit.problems
        for name, one in scalars(model, fit).items()
    }
    for method, fit in fits.items():
        if method == against or fit.problems:
            continue
        own = {name: one for name, one in scalars(model, fit).items() if name in truths}
        noise = 0.0
        if fit.draws is not None:  # both ends are quantiles of draws
            sizes = fit.draws["posterior"].sizes
            noise = sqrt(2 * _ENDS[0] * _ENDS[1] / (sizes["chain"] * sizes["draw"]))
        for name, (low, high) in intervals(fit, own).items():
            one, posterior = own[name], truths[name]
            below, above, error = content(name, low, high)
            holds, error = 1 - below - above, hypot(error, noise)
            shift, ratio = (one.location - posterior.location) / posterior.sd, one.sd / posterior.sd
            mark = _mark(holds, error, shift)
            wider = full.get((method.name, method.language, name), posterior.sd) / posterior.sd
            left_out = method.family == "mean_field" and ratio < wider - CAUSE
            cause = "" if mark == "ok" else _cause(method, shift, ratio, left_out, below, above)
            numbers = low, high, below, above, holds, error, shift, ratio
            found.append(Grade(label(method), name, one.location, one.sd, *numbers, mark, cause))
    return found


def worst_of(grades: Iterable[Grade]) -> Grade:
    """The grade of the quantity that is got most wrong; of equal ones, one with an interval."""
    return max(grades, key=lambda one: (one.badness[0], not isnan(one.holds), one.gap))


def from_table(table: pd.DataFrame) -> list[Grade]:
    """Grades from a table that a comparison has published; none from one of something else."""
    if not set(Grade._fields) <= set(table):
        return []
    return [Grade(*row) for row in table[[*Grade._fields]].itertuples(index=False)]


def intervals(fit: Estimate, own: dict[str, Scalar]) -> dict[str, tuple[float, float]]:
    """A method's 95 % interval for each scalar: quantiles of its draws where it has them."""
    draws = own_draws(fit, list(own)) if own else None
    if draws is not None:
        low, high = np.quantile(draws.reshape(-1, len(own)), _ENDS, axis=0).tolist()
        return dict(zip(own, zip(low, high, strict=True), strict=True))
    return {n: (x.location - _HALF * x.sd, x.location + _HALF * x.sd) for n, x in own.items()}


def _content(
    model: Model, data: xr.Dataset, fit: Estimate, truths: Mapping[str, Scalar]
) -> Callable[[str, float, float], tuple[float, float, float]] | None:
    """(name, low, high) ↦ posterior probability below and above, and the error of that within."""
    draws = own_draws(fit, list(truths))
    if draws is not None:
        columns = dict(zip(truths, draws.reshape(-1, len(truths)).T, strict=True))

        def drawn(name: str, low: float, high: float) -> tuple[float, float, float]:
            if isnan(low) or isnan(high):
                return nan, nan, nan
            one, own = truths[name], columns[name]
            below, above = float((own < low).mean()), float((own > high).mean())
            holds = 1 - below - above
            # how many independent draws a mean is worth
            size = (one.sd / one.location_error) ** 2 if one.location_error > 0 else own.size
            return below, above, sqrt(max(holds * (1 - holds), 1e-12) / size)

        return drawn
    if not isinstance(model, HasExactPosterior):
        return None
    laws = model.exact_posterior(data)
    place = {
        name: (parameter.name, i)
        for parameter in quantity_table(model)
        for i, name in enumerate(fit.scalars(parameter.name))
    }

    def exact(name: str, low: float, high: float) -> tuple[float, float, float]:
        variable, i = place[name]
        below, above = np.ravel(laws[variable].cdf(low))[i], np.ravel(laws[variable].sf(high))[i]
        return float(below), float(above), 0.0

    return exact


def _mark(holds: float, error: float, shift: float) -> Mark:
    """By the content, in favour of the method within two errors of it; by the shift without one."""
    if isnan(holds):
        good, poor = SHIFTS
        return "ok" if abs(shift) <= good else "careful" if abs(shift) <= poor else "no"
    slack = 2 * error
    if holds < POOR - slack:
        return "no"
    return "careful" if holds < GOOD - slack or holds > WIDE + slack else "ok"


def _cause(
    method: Method, shift: float, ratio: float, left_out: bool, below: float, above: float
) -> str:
    """Why an interval does not hold what it should; `left_out`: it leaves correlations out."""
    found = []
    if abs(shift) > CAUSE:
        whose = "optimum" if method.kind in ("optimum", "exact") else "mean"
        found.append((abs(shift), f"its {whose} is {shift:+.2f} posterior sd off the mean"))
    if not isnan(ratio) and abs(ratio - 1) > CAUSE:
        words = ": it leaves correlations out" if left_out else ""
        found.append((abs(ratio - 1), f"its sd is {ratio:.2f} of the posterior's{words}"))
    causes = [told for _, told in sorted(found, reverse=True)]
    if below + above < 1 - INTERVAL and ratio > 1 + CAUSE:  # too wide, wherever it is
        causes.reverse()
    if not isnan(below) and hypot(below - _ENDS[0], above - _ENDS[0]) > CAUSE / 2:
        sides = f"{100 * below:.1f} % of the posterior is below its interval, {100 * above:.1f} %"
        causes.append(f"{sides} above")
    return "; ".join(causes)
