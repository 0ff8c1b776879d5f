"""The posterior tends to the normal law about the maximum-likelihood estimate.

In total variation, posterior → N(θ̂, J⁻¹) as N → ∞, whatever the prior, if its density is positive
and continuous at θ₀ (Bernstein and von Mises).  Hence, averaged over data sets and by the exact
posterior of each: its sd over the standard error tends to 1 with a departure of order 1/N, and its
mean tends to θ̂, in standard errors with one of order N^(−½); the divergence of N(θ̂, SE²) from
the normal law with the posterior's moments, of the second order in both, falls like 1/N.  The rate
of the first is fitted too: N^(−½) or faster.
Reference: van der Vaart (1998), Asymptotic Statistics, §10.2.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from comparisons.policy import LIMIT_POWER, LIMIT_SLACK, NORMAL_LAW, POSTERIOR
from comparisons.replicated.ladder import Statistic, vanishing
from comparisons.studies._ladder import departures, left_out, means, powers, rate, usable, where
from comparisons.studies._study import Descriptive, Setting, Summaries
from comparisons.verdict import Verdict
from inference.replicates.fits import replicate
from inference.replicates.posteriors import posteriors

METHOD = "posterior"
SD = "posterior sd / standard error"
SHIFT = "(posterior mean − θ̂) / standard error"
DIVERGENCE = "KL divergence of N(θ̂, SE²) from the posterior's normal law, nats"


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Posterior sd over standard error, mean less the estimate, and divergence, by replicate."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    draws = posteriors(setting.model, batch, fits.u)["posterior"]
    weights = draws.weights[:, :, None]
    mean = (weights * draws.quantities).sum(axis=1)
    square = (draws.quantities - mean[:, None]) ** 2
    variance = (weights * square).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no sd, and no verdict
        ratio = np.sqrt(variance) / fits.standard_error
        shift = (mean - fits.estimate) / fits.standard_error
        sd, divergence = _without_noise(ratio**2, shift**2, weights, square / variance[:, None])
    fine = fits.converged & draws.usable
    columns = {SD: sd, SHIFT: shift, DIVERGENCE: divergence}
    return {name: where(fine, np.nan_to_num(column)) for name, column in columns.items()}


def _without_noise(
    variance: np.ndarray, shift: np.ndarray, weights: np.ndarray, square: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """s and KL(N(m, s²) ‖ N(0, 1)) from m̂² and ŝ² by weighted draws, less the bias of their noise.

    By the delta method for ratios of sums: with z² the squared distances from the mean in units of
    ŝ², E ŝ² = s² (1 − v − c) and E m̂² = m² + v s², where v = Σ w² z² and c = Σ w² (z² − 1), and
    ŝ²/s² has the variance Σ w² (z² − 1)².
    """
    of_mean = (weights**2 * square).sum(axis=1)
    lean = (weights**2 * (square - 1)).sum(axis=1)
    of_variance = (weights**2 * (square - 1) ** 2).sum(axis=1)
    deviation = np.sqrt(variance) * (1 + (of_mean + lean) / 2 + of_variance / 8)
    log = np.log(variance) + of_mean + lean + of_variance / 2
    return deviation, 0.5 * (variance * (1 + lean) + shift - 1 - log)


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """The statistics along the ladder, with the law by which they tend to their limits."""
    laws = (1.0, POSTERIOR, 1.0), (0.0, POSTERIOR, 0.5), (0.0, NORMAL_LAW, 1.0)
    for column, law in zip((SD, SHIFT, DIVERGENCE), laws, strict=True):
        yield from left_out(summaries, column, METHOD)
        for i, name in setting.varying:
            fields: dict[str, Any] = {"quantity": column, "parameter": name, "method": METHOD}
            rungs = means(usable(summaries, column), i)
            claim = "mean of {quantity} of {parameter}, N = {n}"
            yield from vanishing(Statistic(rungs, *law), claim, **fields)
            if column == SD and len(rungs) > 1:
                fields["quantity"] = f"rate at which {SD} tends to 1"
                clear = departures(rungs, 1.0)
                yield rate(clear, LIMIT_POWER, LIMIT_SLACK, n=rungs[-1].n, **fields)


def descriptive(setting: Setting, summaries: Summaries) -> Iterator[Descriptive]:
    """The departures of the sd that are beyond their errors, with the fitted powers of N."""
    at = usable(summaries, SD)
    away = {name: departures(means(at, i), 1.0) for i, name in setting.varying}
    yield from powers(f"{SD}: departures from 1, and the fitted lines", "|ratio − 1|", away)
