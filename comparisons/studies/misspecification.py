"""A wrong model's maximum tends to the nearest law it has, and the sandwich tells its sd.

For data from q, θ̂ tends to θ* = argmin KL(q ‖ p_θ), and √N (θ̂ − θ*) to N(0, I⁻¹ B I⁻¹) with
I = −E ∇² log p and B = E ∇log p ∇log pᵀ under q, which differ.  Wald intervals by the sandwich keep
their level for θ*; those by I⁻¹ cover 2Φ(z r) − 1 instead, r the ratio of the two standard errors.
Here the model is fitted to three well separated normal modes; θ* is its maximum on one very large
data set.
References: White (1982), Econometrica 50; van der Vaart (1998), Asymptotic Statistics, §5.2-5.3.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from comparisons.policy import LEVEL, PROBABILITY
from comparisons.replicated.ladder import Statistic, vanishing
from comparisons.studies._ladder import CLAIM, left_out, shares, usable, where
from comparisons.studies._study import Setting, Summaries
from comparisons.verdict import Verdict, not_comparable
from inference.replicates.fits import replicate, standard_errors
from inference.replicates.simulated import simulated
from models.catalogue.gaussian_mixture import GaussianMixture
from models.errors import FitError

LARGE = 200_000
"""Units of the data set that stands for q."""
KNOWN = 50
"""How many times N the large set must be: θ* is then known to 1/√50 of a standard error, which
changes a coverage by less than 0.005."""
MODES = 3
KINDS = ("observed", "sandwich")
QUANTITY = f"coverage of θ* by the {LEVEL:.0%} interval"
CAUSE = "misspecification: 2Φ(z r) − 1, r of the observed SE over the sandwich"


class Limit(NamedTuple):
    """Where the wrong model's maximum tends, and what its intervals cover there."""

    values: np.ndarray
    """θ*, shape (m,)."""
    coverage: dict[str, np.ndarray]
    """In the limit, by kind of standard error, shape (m,)."""


@lru_cache(maxsize=8)
def limit(setting: Setting) -> Limit:
    """The pseudo-true values, from one very large data set.

    Raises:
        FitError: the model is not one of single columns `y`, or has no maximum there.
    """
    nature = GaussianMixture(MODES)
    ours = setting.model.simulate(np.random.default_rng(0), setting.model.truth, 10)
    theirs = nature.simulate(np.random.default_rng(0), nature.truth, 10)
    if {n: a.dims for n, a in ours.items()} != {n: a.dims for n, a in theirs.items()}:
        raise FitError(f"misspecification is studied on one column y; {setting.model.name} differs")
    batch = simulated(nature, nature.truth, LARGE, [2**31], setting.seed)
    fits = replicate(setting.model, batch)
    if not fits.converged.all():
        raise FitError(f"{setting.model.name} has no regular maximum on three modes")
    errors = standard_errors(setting.model, batch, fits)
    half = norm.ppf((1 + LEVEL) / 2)
    ratio = errors["observed"][0] / errors["sandwich"][0]
    covered = {"observed": 2 * norm.cdf(half * ratio) - 1, "sandwich": np.full_like(ratio, LEVEL)}
    return Limit(fits.estimate[0], covered)


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether the intervals contain θ*, by kind of standard error."""
    nature, values = GaussianMixture(MODES), limit(setting).values
    batch = simulated(nature, nature.truth, n, indices, setting.seed)
    fits = replicate(setting.model, batch)
    errors = standard_errors(setting.model, batch, fits)
    away, half = np.abs(fits.estimate - values), norm.ppf((1 + LEVEL) / 2)
    return {
        kind: where(fits.converged, (away <= half * errors[kind]).astype(float)) for kind in KINDS
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """Coverage of θ* by kind of standard error, parameter and N."""
    theory = limit(setting)
    for kind in KINDS:
        fields: dict[str, Any] = {"quantity": QUANTITY, "method": f"wald[{kind}]"}
        yield from left_out(summaries, kind, fields["method"])
        ladder = usable(summaries, kind)
        known = [n for n in ladder if n * KNOWN <= LARGE]
        cause = f"θ* is known from {LARGE:,} units, and so only for N up to {LARGE // KNOWN:,}"
        for n in ladder[len(known) :]:
            yield not_comparable("{quantity} by {method}, N = {n}", cause, n=n, **fields)
        for i, name in setting.varying:
            covered = float(theory.coverage[kind][i])
            rungs = shares(summaries, kind, i, covered, known)
            fields["parameter"] = name
            if kind == "sandwich":
                yield from vanishing(Statistic(rungs, LEVEL, PROBABILITY), CLAIM, **fields)
                continue
            fields |= {"cause": CAUSE, "predicted": covered, "prediction_error": PROBABILITY}
            for n, share, error, _ in rungs:
                numbers = share, LEVEL, error, PROBABILITY
                yield Verdict(CLAIM, *numbers, n=n, **fields)
