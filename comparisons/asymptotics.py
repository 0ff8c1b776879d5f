"""The maximum-likelihood estimator is consistent, asymptotically normal and efficient.

For N iid observations at a regular θ₀, √N (θ̂ − θ₀) → N(0, I(θ₀)⁻¹) in law.  Hence along a ladder
of N: the standard deviation of θ̂ falls like N^(−½); over that of the Cramér–Rao bound it tends to
1, and so does the mean standard error over it, both with departures of order 1/N; and the law of θ̂
in units of the bound is normal up to order N^(−½) (Berry and Esseen).  Where the law of θ̂ is known
at every N (a normal sample's), its mean and standard deviation are held to that as well.
References: van der Vaart (1998), Asymptotic Statistics, §5.3-5.5; Lehmann & Casella (1998), Theory
of Point Estimation, §6.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from comparisons._ladder import Rung, largest_gap, left_out, slope, usable, vanishing
from comparisons._study import Finding
from comparisons._verdict import Verdict
from inference._replicates import replicate
from models._density import flatten
from models._spec import HasSamplingLaw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._moments import Summaries
    from comparisons._study import Setting

LEVELS = np.arange(0.1, 0.95, 0.1)
"""Probabilities at which laws are compared."""
RATIO = 0.05
"""Largest relative difference of standard deviations that does not matter."""
DISTANCE = 0.03
"""Largest difference of probabilities that does not matter."""
SHIFT = 0.1
"""Largest difference of a mean that does not matter, in standard deviations: it changes the
coverage of a 90 % interval by 0.002."""
METHOD = "maximum_likelihood"


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Error, standard error, and on which side of normal quantiles the error lies."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    bad = ~fits.converged[:, None]
    error = np.where(bad, np.nan, fits.estimate - setting.truth)
    deviation = setting.bound(n).deviation
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant has no spread
        standard = error / deviation
    below = (standard[:, :, None] <= norm.ppf(LEVELS)).astype(float)
    return {
        "error": error,
        "standard error": np.where(bad, np.nan, fits.standard_error),
        "below": np.where(bad[:, :, None], np.nan, below),
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """The ladder of N, one set of rows per parameter."""
    yield from left_out(summaries, "error", METHOD)
    ladder = usable(summaries, "error")
    if not ladder:
        return
    bounds = {n: setting.bound(n) for n in ladder}
    yield from _exact(setting, summaries, ladder)
    for i, name in setting.varying:
        spread, ratio, own, normal = [], [], [], []
        for n in ladder:
            error, standard = summaries[n]["error"], summaries[n]["standard error"]
            sd, relative = float(error.deviation[i]), float(error.relative[i]) / 2
            spread.append(Rung(n, sd, sd * relative))
            over, uncertain = sd / bounds[n].deviation[i], float(bounds[n].uncertain[i]) / 2
            ratio.append(Rung(n, over, over * float(np.hypot(relative, uncertain))))
            mean = float(standard.mean[i]) / sd
            own.append(Rung(n, mean, mean * relative))
            normal.append(largest_gap(n, summaries[n]["below"], i, LEVELS))
        for quantity, rungs, limit, bound, power in (
            ("sd / Cramér–Rao bound", ratio, 1.0, RATIO, 1.0),
            ("mean standard error / sd", own, 1.0, RATIO, 1.0),
            ("largest difference from the normal law", normal, 0.0, DISTANCE, 0.5),
        ):
            about = f"{quantity} of {name}"
            for n, verdict in vanishing(rungs, limit, bound, about, power):
                yield Finding(METHOD, n, quantity, name, verdict)
        if len(ladder) > 1:
            rate, error = slope(spread)
            yield Finding(
                METHOD,
                ladder[-1],
                "slope of log sd against log N",
                name,
                Verdict(f"slope of log sd of {name} against log N", rate, -0.5, error, 0.05),
            )


def _exact(setting: Setting, summaries: Summaries, ladder: Sequence[int]) -> Iterator[Finding]:
    """Mean and standard deviation against their law at each N, where the model knows it."""
    model = setting.model
    if not isinstance(model, HasSamplingLaw):
        return
    for n in ladder:
        law = model.sampling_moments(model.truth, n)
        center, scale = (np.asarray(flatten(part)) for part in law)
        error = summaries[n]["error"]
        for i, name in setting.varying:
            shift = float(error.mean[i] + setting.truth[i] - center[i]) / scale[i]
            ratio = float(error.deviation[i]) / scale[i]
            for quantity, value, expected, uncertain, bound in (
                (
                    "mean − its exact value, in sd",
                    shift,
                    0.0,
                    float(error.error[i]) / scale[i],
                    SHIFT,
                ),
                ("sd / its exact value", ratio, 1.0, ratio * float(error.relative[i]) / 2, RATIO),
            ):
                about = f"{quantity}, of {name}, N = {n}"
                verdict = Verdict(about, value, expected, uncertain, bound)
                yield Finding(METHOD, n, quantity, name, verdict)
