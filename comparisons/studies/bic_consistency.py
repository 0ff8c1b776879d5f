"""BIC finds the true order as N grows, and stays within O(1) of −2 log evidence.

Among nested models with k_j parameters, the probability that BIC chooses the true order tends to 1,
for Gaussian mixtures too although they are singular above it.  So does that of the evidence Z,
where importance sampling finds it for every order.  AIC, whose penalty does not grow, goes on
choosing too much: its shares are shown beside, without a verdict.  For the true order, which is
regular, BIC + 2 log Z stays bounded while both grow like N: its slope against log N vanishes.
References: Schwarz (1978), Ann. Statist. 6; Keribin (2000), Sankhyā A 62; Shibata (1976),
Biometrika 63.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from comparisons.exhibits import Curves
from comparisons.policy import CHOICE, PENALTY_SLOPE
from comparisons.replicated.ladder import Rung, line
from comparisons.studies._ladder import left_out, means, usable, where
from comparisons.studies._study import Descriptive, Number, Setting, Summaries
from comparisons.verdict import Verdict
from inference.replicates.fits import replicate
from inference.replicates.posteriors import posteriors
from models.capabilities import HasOrder
from models.errors import FitError
from models.programs.density import density

GAP = "BIC + 2 log Z"
CRITERIA = {"aic": "AIC", "bic": "BIC", "evidence": "the evidence"}


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether each criterion chooses an order; BIC + 2 log Z."""
    model = setting.model
    if not isinstance(model, HasOrder):
        raise FitError(f"{model.name} is not one of a family of models ordered by size")
    batch = setting.batch(n, indices)
    models = [model.with_order(order) for order in model.orders]
    fits = [replicate(one, batch) for one in models]
    sizes = np.array([density(one, batch.template).size for one in models])
    deviance = np.stack([-2 * one.log_likelihood for one in fits], axis=1)
    drawn = [
        posteriors(one, batch, fit.u)["posterior"] for one, fit in zip(models, fits, strict=True)
    ]
    evidence = np.stack([draws.log_evidence for draws in drawn], axis=1)
    # above the true order a maximum need not be regular, and a lower bound of it will do
    regular = [fit for order, fit in zip(model.orders, fits, strict=True) if order <= model.order]
    fine, true = np.all([fit.converged for fit in regular], axis=0), _true(setting)
    known = np.all([draws.usable for draws in drawn], axis=0)
    gap = sizes[true] * np.log(n) + deviance[:, true] + 2 * evidence[:, true]
    found = {"gap": where(fine & drawn[true].usable, gap)}
    for criterion, value, usable_fits in (
        ("aic", deviance + 2.0 * sizes, fine),
        ("bic", deviance + np.log(n) * sizes, fine),
        ("evidence", -2 * evidence, known),
    ):
        chosen = value.argmin(axis=1)[:, None] == np.arange(len(models))
        found[criterion] = where(usable_fits, chosen.astype(float))
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """Shares of choices by N, and the slope of the gap."""
    for criterion in ("bic", "evidence"):
        by = CRITERIA[criterion]
        yield from left_out(summaries, criterion, by)
        quantity = "share that chooses the true order"
        fields: dict[str, Any] = {"quantity": quantity, "method": criterion}
        claim = f"{quantity} by {by}, N = {{n}}"
        rungs = _shares(summaries, criterion, _true(setting))
        for before, (n, share, error, _) in pairwise([Rung(0, 0.0, 0.0), *rungs]):
            error = float(np.hypot(error, before.error))
            against = f"{claim} against N = {before.n}"
            yield Verdict(against, share, before.value, error, CHOICE, "at_least", n=n, **fields)
        fields["quantity"] += ", at the largest N"
        for n, share, error, _ in rungs[-1:]:
            yield Verdict(f"{claim}, against its limit", share, 1.0, error, CHOICE, n=n, **fields)
    yield from left_out(summaries, "gap", "the evidence of the true order")
    rungs = means(usable(summaries, "gap"), 0)
    if len(rungs) > 1:
        rate, error = _slope(rungs)
        fields = {"quantity": f"slope of {GAP} against log N", "method": "bic"}
        yield Verdict("{quantity}", rate, 0.0, error, PENALTY_SLOPE, n=rungs[-1].n, **fields)


def descriptive(setting: Setting, summaries: Summaries) -> Iterator[Descriptive]:
    """How often each criterion chooses each order, and how often the true one along the ladder."""
    model: Any = setting.model
    measured, chosen = {}, []
    for criterion, by in CRITERIA.items():
        by_order = [_shares(summaries, criterion, place) for place in range(len(model.orders))]
        for rungs in zip(*by_order, strict=True):
            for order, (n, share, error, _) in zip(model.orders, rungs, strict=True):
                quantity = f"share that chooses order {order}"
                chosen.append(Number(criterion, n, quantity, "", share, error))
        true = by_order[_true(setting)]
        if true:
            measured[by] = [rung.n for rung in true], [rung.value for rung in true]
    if chosen:
        yield Descriptive("Share of data sets in which each order is chosen", tuple(chosen))
        title = f"Data sets in which the true order, {model.order}, is chosen"
        yield Descriptive(title, (), Curves(title, "units", "share", measured, {}, "x"))
    rungs = means(usable(summaries, "gap"), 0)
    if len(rungs) > 1:
        yield _line(rungs)


def _line(rungs: Sequence[Rung]) -> Descriptive:
    """The gap along the ladder, and the line through it."""
    units, values = [rung.n for rung in rungs], [rung.value for rung in rungs]
    rate, error = _slope(rungs)
    fitted = np.mean(values) + rate * (np.log(units) - np.mean(np.log(units)))
    title, line = f"{GAP} of the true order, and the fitted line", f"slope {rate:.3f} ± {error:.1g}"
    numbers = tuple(Number("bic", r.n, GAP, "", r.value, r.error) for r in rungs)
    figure = {line: (units, values)}, {line: (units, fitted.tolist())}
    return Descriptive(title, numbers, Curves(title, "units", "nats", *figure, "x"))


def _slope(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Slope of a value against log N, by least squares, and its standard error."""
    n, values, errors, _ = np.array(rungs).T
    return line(np.log(n), values, errors)


def _true(setting: Setting) -> int:
    """Place of the true order among all."""
    model: Any = setting.model
    return list(model.orders).index(model.order)


def _shares(summaries: Summaries, criterion: str, place: int) -> list[Rung]:
    """Shares, with the error of one that has been seen a little less than always."""
    rungs = []
    for n, one in usable(summaries, criterion).items():
        share, count = float(one.mean[place]), one.replicates
        shrunk = (share * count + 1) / (count + 2)
        rungs.append(Rung(n, share, float(np.sqrt(shrunk * (1 - shrunk) / count))))
    return rungs
