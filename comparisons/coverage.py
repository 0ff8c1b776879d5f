"""An interval at level 1 − α contains the truth in a share 1 − α of repeated data sets.

Wald intervals θ̂ ± z·SE do so up to order 1/N, whichever corner of the information lattice gives the
standard error while the model is right: the observed information, the outer product of scores, or
the sandwich.  So do central posterior intervals, of the exact posterior and of Laplace's, because
the prior matters to order 1/N.  Shares carry binomial errors.
References: van der Vaart (1998), Asymptotic Statistics, §5.5, §10.2; Datta & Mukerjee (2004),
Probability Matching Priors, §2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from comparisons._ladder import Rung, ladders, left_out, vanishing
from comparisons._study import Finding
from inference._replicates import posteriors, replicate, standard_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._moments import Summaries
    from comparisons._study import Setting

LEVEL = 0.9
"""Of the intervals."""
DIFFERENCE = 0.03
"""Largest difference of a share that does not matter."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether each interval contains the truth, by method; NaN without a usable fit."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    half = norm.ppf((1 + LEVEL) / 2)
    away = np.abs(fits.estimate - setting.truth)
    found = {}
    for corner, error in standard_errors(setting.model, batch, fits).items():
        inside = (away <= half * error).astype(float)
        found[f"wald[{corner}]"] = np.where(fits.converged[:, None], inside, np.nan)
    for name, draws in posteriors(setting.model, batch, fits.u).items():
        below = (draws.quantities <= setting.truth) * draws.weights[:, :, None]
        inside = (np.abs(below.sum(axis=1) - 0.5) <= LEVEL / 2).astype(float)
        found[name] = np.where(draws.usable[:, None], inside, np.nan)
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Coverage by method, parameter and N."""
    quantity = f"coverage of the {LEVEL:.0%} interval"
    for method, ladder, varying in ladders(setting, summaries):
        yield from left_out(summaries, method, method)
        for i, name in varying:
            rungs = []
            for n in ladder:
                moments = summaries[n][method]
                error = float(np.sqrt(LEVEL * (1 - LEVEL) / moments.replicates))
                rungs.append(Rung(n, float(moments.mean[i]), error))
            about = f"{quantity} of {name} by {method}"
            for n, verdict in vanishing(rungs, LEVEL, DIFFERENCE, about):
                yield Finding(method, n, quantity, name, verdict)
