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
from typing import Any

import numpy as np

from comparisons.policy import LEVEL, PROBABILITY
from comparisons.replicated.ladder import Statistic, vanishing
from comparisons.studies._ladder import CLAIM, held_by, left_out, shares, usable, wald
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


@lru_cache(maxsize=8)
def limit(setting: Setting) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """θ*, shape (m,), from one very large data set; its coverage by kind of standard error."""
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
    ratio = errors["observed"][0] / errors["sandwich"][0]
    covered = {"observed": held_by(ratio), "sandwich": np.full_like(ratio, LEVEL)}
    return fits.estimate[0], covered


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether the intervals contain θ*, by kind of standard error."""
    nature, (values, _) = GaussianMixture(MODES), limit(setting)
    batch = simulated(nature, nature.truth, n, indices, setting.seed)
    fits = replicate(setting.model, batch)
    errors = standard_errors(setting.model, batch, fits)
    return wald(fits, {kind: errors[kind] for kind in KINDS}, values)


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """Coverage of θ* by kind of standard error, parameter and N."""
    _, coverage = limit(setting)
    for kind in KINDS:
        fields: dict[str, Any] = {"quantity": QUANTITY, "method": f"wald[{kind}]"}
        yield from left_out(summaries, kind, fields["method"])
        ladder = usable(summaries, kind)
        cause = f"θ* is known from {LARGE:,} units, and so only for N up to {LARGE // KNOWN:,}"
        for n in [n for n in ladder if n * KNOWN > LARGE]:
            del ladder[n]
            yield not_comparable("{quantity} by {method}, N = {n}", cause, n=n, **fields)
        for i, name in setting.varying:
            covered = float(coverage[kind][i])
            rungs = shares(ladder, i, covered)
            fields["parameter"] = name
            if kind == "sandwich":
                yield from vanishing(Statistic(rungs, LEVEL, PROBABILITY), CLAIM, **fields)
                continue
            fields |= {"cause": CAUSE, "predicted": covered, "prediction_error": PROBABILITY}
            for n, share, error, _ in rungs:
                yield Verdict(CLAIM, share, LEVEL, error, PROBABILITY, n=n, **fields)
