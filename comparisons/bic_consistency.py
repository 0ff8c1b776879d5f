"""BIC finds the true order as N grows, and stays within O(1) of −2 log evidence.

Among nested models with k_j parameters, the probability that BIC chooses the true order tends to 1,
for Gaussian mixtures too although they are singular above it; AIC, whose penalty does not grow,
chooses at least as much.  For the true order, which is regular, BIC + 2 log Z stays bounded while
both grow like N: its slope against log N vanishes.
References: Schwarz (1978), Ann. Statist. 6; Keribin (2000), Sankhyā A 62; Shibata (1976),
Biometrika 63.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from comparisons._ladder import Rung, left_out, usable
from comparisons._study import Finding
from comparisons._verdict import Verdict
from inference._replicates import posteriors, replicate
from models._density import density
from models._errors import FitError
from models._spec import HasOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._moments import Summaries
    from comparisons._study import Setting

SHARE = 0.05
"""Largest difference of a share that does not matter."""
SLOPE = 0.25
"""Largest slope of BIC + 2 log Z against log N that does not matter; a parameter's penalty is 1."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether each criterion chooses the true order, or at least that; BIC + 2 log Z.

    Raises:
        FitError: the model has no order.
    """
    model = setting.model
    if not isinstance(model, HasOrder):
        raise FitError(f"{model.name} is not one of a family of models ordered by size")
    batch = setting.batch(n, indices)
    fits = {order: replicate(model.with_order(order), batch) for order in model.orders}
    sizes = np.array([density(model.with_order(o), batch.sets[0]).size for o in model.orders])
    deviance = np.stack([-2 * fits[order].log_likelihood for order in model.orders], axis=1)
    orders = np.array(model.orders)
    own = fits[model.order]
    # above the true order a maximum need not be regular, and a lower bound of its height will do
    fine = np.all([fits[o].converged for o in model.orders if o <= model.order], axis=0)
    evidence = posteriors(model, batch, own.u)["posterior"]
    gap = sizes[list(orders).index(model.order)] * np.log(n) - 2 * own.log_likelihood
    gap = np.where(fine & evidence.usable, gap + 2 * evidence.log_evidence, np.nan)
    found = {"gap": gap}
    for criterion, penalty in (("aic", 2.0), ("bic", float(np.log(n)))):
        choice = orders[(deviance + penalty * sizes).argmin(axis=1)]
        columns = np.stack([choice == model.order, choice >= model.order], axis=1)
        found[criterion] = np.where(fine[:, None], columns.astype(float), np.nan)
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Shares of choices by N, and the slope of the gap."""
    yield from left_out(summaries, "bic", "bic")
    ladder = usable(summaries, "bic")
    quantity = "share that chooses the true order"
    rungs = [_share(n, summaries, "bic", 0) for n in ladder]
    for before, rung in pairwise([Rung(0, 0.0, 0.0), *rungs]):
        about = f"{quantity} by BIC, N = {rung.n} against N = {before.n}"
        error = float(np.hypot(rung.error, before.error))
        verdict = Verdict(about, rung.value, before.value, error, SHARE, relation="at_least")
        yield Finding("bic", rung.n, quantity, "", verdict)
    for rung in rungs[-1:]:
        about = f"{quantity} by BIC, N = {rung.n}, against its limit"
        verdict = Verdict(about, rung.value, 1.0, rung.error, SHARE)
        yield Finding("bic", rung.n, f"{quantity}, at the largest N", "", verdict)
    quantity = "share that chooses the true order or more"
    for n in ladder:
        aic, bic = (_share(n, summaries, name, 1) for name in ("aic", "bic"))
        error = float(np.hypot(aic.error, bic.error))
        about = f"{quantity}: AIC against BIC, N = {n}"
        verdict = Verdict(about, aic.value, bic.value, error, SHARE, relation="at_least")
        yield Finding("aic", n, quantity, "", verdict)
    yield from left_out(summaries, "gap", "the evidence")
    ladder = usable(summaries, "gap")
    if len(ladder) > 1:
        x = np.log(ladder)
        weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        mean = np.array([summaries[n]["gap"].mean[0] for n in ladder])
        error = np.array([summaries[n]["gap"].error[0] for n in ladder])
        quantity = "slope of BIC + 2 log Z against log N"
        verdict = Verdict(
            quantity, float(weight @ mean), 0.0, float(np.hypot.reduce(weight * error)), SLOPE
        )
        yield Finding("bic", ladder[-1], quantity, "", verdict)


def _share(n: int, summaries: Summaries, criterion: str, which: int) -> Rung:
    """A share, with the error of one that has been seen a little less than always."""
    moments = summaries[n][criterion]
    share, count = float(moments.mean[which]), moments.replicates
    shrunk = (share * count + 1) / (count + 2)
    return Rung(n, share, float(np.sqrt(shrunk * (1 - shrunk) / count)))
