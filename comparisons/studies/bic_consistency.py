"""BIC finds the true order as N grows, and stays within O(1) of −2 log evidence.

Among nested models with k_j parameters, the probability that BIC chooses the true order tends to 1,
for Gaussian mixtures too although they are singular above it.  So does that of the evidence Z,
where importance sampling finds it for every order.  AIC, whose penalty does not grow, and
leave-one-out cross-validation (LOO), which tends to it, go on choosing too much: their shares are
shown beside, without a verdict.  For the true order, which is regular, BIC + 2 log Z stays bounded
while both grow like N: its slope against log N vanishes.
References: Schwarz (1978), Ann. Statist. 6; Keribin (2000), Sankhyā A 62; Shibata (1976),
Biometrika 63; Stone (1977), J. R. Statist. Soc. B 39.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from comparisons.exhibits import Curves
from comparisons.policy import CHOICE, PENALTY_SLOPE
from comparisons.studies._ladder import Rung, left_out, usable
from comparisons.studies._study import Finding, Number, Unjudged
from comparisons.verdict import Verdict
from inference.replicates.fits import leave_one_out, posteriors, replicate
from models.capabilities import HasOrder
from models.errors import FitError
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.studies._moments import Summaries
    from comparisons.studies._study import Setting

GAP = "BIC + 2 log Z"
CRITERIA = {"aic": "AIC", "loo": "LOO", "bic": "BIC", "evidence": "the evidence"}


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether each criterion chooses an order; BIC + 2 log Z.

    Raises:
        FitError: the model has no order.
    """
    model = setting.model
    if not isinstance(model, HasOrder):
        raise FitError(f"{model.name} is not one of a family of models ordered by size")
    batch = setting.batch(n, indices)
    fits = {order: replicate(model.with_order(order), batch) for order in model.orders}
    sizes = np.array([density(model.with_order(o), batch.template).size for o in model.orders])
    deviance = np.stack([-2 * fits[order].log_likelihood for order in model.orders], axis=1)
    orders = np.array(model.orders)
    # above the true order a maximum need not be regular, and a lower bound of its height will do
    fine = np.all([fits[o].converged for o in model.orders if o <= model.order], axis=0)
    drawn = {o: posteriors(model.with_order(o), batch, fits[o].u)["posterior"] for o in fits}
    evidence = np.stack([drawn[order].log_evidence for order in model.orders], axis=1)
    predictive = np.stack(
        [leave_one_out(model.with_order(o), batch, drawn[o]) for o in model.orders], axis=1
    )
    true = list(model.orders).index(model.order)
    gap = sizes[true] * np.log(n) + deviance[:, true] + 2 * evidence[:, true]
    found = {"gap": np.where(fine & drawn[model.order].usable, gap, np.nan)}
    known = np.all([drawn[order].usable for order in model.orders], axis=0)
    for criterion, height, usable_fits in (
        ("aic", deviance + 2.0 * sizes, fine),
        ("loo", -2 * predictive, known),
        ("bic", deviance + np.log(n) * sizes, fine),
        ("evidence", -2 * evidence, known),
    ):
        choice = orders[height.argmin(axis=1)]
        columns = np.stack([choice == order for order in orders], axis=1)
        found[criterion] = np.where(usable_fits[:, None], columns.astype(float), np.nan)
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Shares of choices by N, and the slope of the gap."""
    for criterion in ("bic", "evidence"):
        yield from left_out(summaries, criterion, CRITERIA[criterion])
        quantity, by = "share that chooses the true order", CRITERIA[criterion]
        rungs = [
            _share(n, summaries, criterion, _true(setting)) for n in usable(summaries, criterion)
        ]
        for before, rung in pairwise([Rung(0, 0.0, 0.0), *rungs]):
            about = f"{quantity} by {by}, N = {rung.n} against N = {before.n}"
            error = float(np.hypot(rung.error, before.error))
            verdict = Verdict(about, rung.value, before.value, error, CHOICE, relation="at_least")
            yield Finding(criterion, rung.n, quantity, "", verdict)
        for rung in rungs[-1:]:
            about = f"{quantity} by {by}, N = {rung.n}, against its limit"
            verdict = Verdict(about, rung.value, 1.0, rung.error, CHOICE)
            yield Finding(criterion, rung.n, f"{quantity}, at the largest N", "", verdict)
    yield from left_out(summaries, "gap", "the evidence of the true order")
    rungs = _gap(summaries)
    if len(rungs) > 1:
        rate, error = _slope(rungs)
        quantity = f"slope of {GAP} against log N"
        yield Finding(
            "bic", rungs[-1].n, quantity, "", Verdict(quantity, rate, 0.0, error, PENALTY_SLOPE)
        )


def unjudged(setting: Setting, summaries: Summaries) -> Iterator[Unjudged]:
    """How often each criterion chooses each order, and how often the true one along the ladder."""
    model: Any = setting.model
    measured, chosen = {}, []
    for criterion, by in CRITERIA.items():
        ladder = usable(summaries, criterion)
        numbers = [
            Number(criterion, n, f"share that chooses order {order}", "", rung.value, rung.error,
                   float("nan"))
            for n in ladder
            for place, order in enumerate(model.orders)
            for rung in [_share(n, summaries, criterion, place)]
        ]  # fmt: skip
        if numbers:
            chosen += numbers
            shares = [_share(n, summaries, criterion, _true(setting)).value for n in ladder]
            measured[by] = ladder, shares
    if chosen:
        yield Unjudged("Share of data sets in which each order is chosen", tuple(chosen))
        title = f"Data sets in which the true order, {model.order}, is chosen"
        yield Unjudged(title, (), Curves(title, "units", "share", measured, {}, "x"))

    rungs = _gap(summaries)
    if len(rungs) > 1:
        units, values = [rung.n for rung in rungs], [rung.value for rung in rungs]
        rate, error = _slope(rungs)
        middle = np.mean(values) - rate * np.mean(np.log(units))
        line = f"slope {rate:.3f} ± {error:.1g}"
        title, fitted = (
            f"{GAP} of the true order, and the fitted line",
            middle + rate * np.log(units),
        )
        numbers = tuple(Number("bic", r.n, GAP, "", r.value, r.error, float("nan")) for r in rungs)
        figure = {line: (units, values)}, {line: (units, fitted.tolist())}
        yield Unjudged(title, numbers, Curves(title, "units", "nats", *figure, "x"))


def _gap(summaries: Summaries) -> list[Rung]:
    """Mean of BIC + 2 log Z."""
    at = ((n, summaries[n]["gap"]) for n in usable(summaries, "gap"))
    return [Rung(n, float(gap.mean[0]), float(gap.error[0])) for n, gap in at]


def _slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Of a value against log N, by least squares, and its standard error."""
    x = np.log([rung.n for rung in rungs])
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    errors = weight * np.array([rung.error for rung in rungs])
    return float(weight @ [rung.value for rung in rungs]), float(np.hypot.reduce(errors))


def _true(setting: Setting) -> int:
    """Place of the true order among all."""
    model: Any = setting.model
    return list(model.orders).index(model.order)


def _share(n: int, summaries: Summaries, criterion: str, which: int) -> Rung:
    """A share, with the error of one that has been seen a little less than always."""
    moments = summaries[n][criterion]
    share, count = float(moments.mean[which]), moments.replicates
    shrunk = (share * count + 1) / (count + 2)
    return Rung(n, share, float(np.sqrt(shrunk * (1 - shrunk) / count)))
