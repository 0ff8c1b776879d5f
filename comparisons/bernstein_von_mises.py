"""The posterior tends to the normal law about the maximum-likelihood estimate.

In total variation, posterior → N(θ̂, J⁻¹) as N → ∞, whatever the prior, if its density is positive
and continuous at θ₀ (Bernstein and von Mises).  Hence, averaged over data sets and by the exact
posterior of each: its sd over the standard error tends to 1 with a departure of order 1/N, and its
mean tends to θ̂, in standard errors with one of order N^(−½).
Reference: van der Vaart (1998), Asymptotic Statistics, §10.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comparisons._ladder import Rung, ladders, left_out, vanishing
from comparisons._study import Finding
from inference._replicates import posteriors, replicate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._moments import Summaries
    from comparisons._study import Setting

RATIO = 0.05
"""Largest relative difference of a spread that does not matter."""
SHIFT = 0.05
"""Largest shift that does not matter, in standard errors."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Posterior sd over standard error, and posterior mean less the estimate, by replicate."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    draws = posteriors(setting.model, batch, fits.u)["posterior"]
    fine = (fits.converged & draws.usable)[:, None]
    weights = draws.weights[:, :, None]
    mean = (weights * draws.quantities).sum(axis=1)
    variance = (weights * (draws.quantities - mean[:, None]) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no spread, and no row
        ratio = np.sqrt(variance) / fits.standard_error
        shift = (mean - fits.estimate) / fits.standard_error
    return {
        "posterior sd / standard error": np.where(fine, np.nan_to_num(ratio), np.nan),
        "(posterior mean − θ̂) / standard error": np.where(fine, np.nan_to_num(shift), np.nan),
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Both statistics along the ladder, with the law by which they tend to their limits."""
    method = "posterior"
    columns = zip(ladders(setting, summaries), (1.0, 0.0), (RATIO, SHIFT), (1.0, 0.5), strict=True)
    for (column, ladder, varying), limit, bound, power in columns:
        yield from left_out(summaries, column, method)
        for i, name in varying:
            rungs = [
                Rung(n, float(summaries[n][column].mean[i]), float(summaries[n][column].error[i]))
                for n in ladder
            ]
            about = f"mean of {column} of {name}"
            for n, verdict in vanishing(rungs, limit, bound, about, power):
                yield Finding(method, n, column, name, verdict)
