"""No estimator has a smaller variance than the inverse Fisher information allows at its bias.

The maximum-likelihood estimate, EM alone, the maximum of likelihood times prior, and the means of
the exact and of the mean-field posterior, at a known θ₀ and any N: variance and mean squared error
over the bound B = (N·I)⁻¹, bias, and the smallest eigenvalue of B^(−½) Var B^(−½), which must be at
least 1.  Departures shrink like 1/N: what the other N show predicts each.  An estimator T with bias
is also held to the bound that allows for it, with score s, Var T ≥ C (N·I)⁻¹ Cᵀ, C = Cov(T, s) =
1 + b′(θ) in one dimension.
References: Lehmann & Casella (1998), Theory of Point Estimation, §2.5-2.6, §6.3; van der Vaart
(1998), Asymptotic Statistics, §8.2.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from comparisons.policy import BIAS, EFFICIENCY
from comparisons.replicated.ladder import Rung, Statistic, vanishing
from comparisons.replicated.sampling import SMALLEST, Sampling, at_least
from comparisons.studies._ladder import CLAIM, left_out, usable, where
from comparisons.studies._study import Setting, Summaries
from comparisons.verdict import Verdict
from inference.replicates.fits import (
    climbed,
    expectation_maximised,
    flat_quantities,
    replicate,
    scores,
)
from inference.replicates.gaussian_vi import mean_field
from inference.replicates.posteriors import posteriors
from models.capabilities import HasEM


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Errors of the estimators, each followed by the score at the truth, by replicate."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    mode, _, found = climbed(setting.model, batch, fits.u, "joint")
    at_mode = flat_quantities(setting.model, batch, mode)
    estimates = {
        "maximum_likelihood": (fits.estimate, fits.converged),
        "maximum_a_posteriori": (at_mode, found),
    }
    if isinstance(setting.model, HasEM):
        estimates["expectation_maximisation"] = expectation_maximised(setting.model, batch)
    for name, draws in (
        ("posterior_mean", posteriors(setting.model, batch, fits.u)["posterior"]),
        ("gaussian_vi_mean", mean_field(setting.model, batch, fits.u)),
    ):
        mean = (draws.weights[:, :, None] * draws.quantities).sum(axis=1)
        estimates[name] = mean, draws.usable
    score = scores(setting.model, batch, setting.model.truth)
    # side by side, so that their covariance is kept too
    return {
        name: where(fine, np.hstack([estimate - setting.truth, score]))
        for name, (estimate, fine) in estimates.items()
    }


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """Variance, squared error and bias by estimator and parameter, and the matrix inequality."""
    laws = {
        "variance / Cramér–Rao bound": (Sampling.variance, 1.0, EFFICIENCY),
        "mean squared error / Cramér–Rao bound": (_squared_error, 1.0, EFFICIENCY),
        "bias / sd": (Sampling.bias, 0.0, BIAS, 0.5),
    }
    for method in next(iter(summaries.values())):
        yield from left_out(summaries, method, method)
        usable_at = usable(summaries, method).items()
        ladder = [Sampling(n, errors, setting.bound(n)) for n, errors in usable_at]
        for i, name in setting.varying:
            fields: dict[str, Any] = {"method": method, "parameter": name}
            for quantity, (measured, *law) in laws.items():
                statistic = Statistic([measured(one, i) for one in ladder], *law)
                yield from vanishing(statistic, CLAIM, quantity=quantity, **fields)
            fields["quantity"] = "variance / bound at its bias"
            for rung in [_over_bound_at_bias(one, i) for one in ladder]:
                yield at_least(CLAIM, rung, 1.0, **fields)
        for sampling in ladder[-1:]:
            claim, rung = "{quantity} by {method}, N = {n}", sampling.smallest()
            yield at_least(claim, *rung, method=method, quantity=SMALLEST)


def _squared_error(sampling: Sampling, i: int) -> Rung:
    """The mean squared error over the bound."""
    n, ratio, error, fixed = sampling.variance(i)
    _, away, uncertain, _ = sampling.bias(i)
    error = float(np.hypot(error, 2 * ratio * away * uncertain))
    return Rung(n, ratio * (1 + away**2), error, fixed * (1 + away**2))


def _over_bound_at_bias(sampling: Sampling, i: int) -> Rung:
    """The variance over C (N·I)⁻¹ Cᵀ, the bound at the estimator's bias."""
    slope = sampling.errors.covariance[i, len(sampling.bound.covariance) :]
    least = float(slope @ np.linalg.solve(sampling.bound.information, slope))
    n, ratio, error, fixed = sampling.variance(i)
    scale = float(sampling.bound.covariance[i, i]) / least
    return Rung(n, ratio * scale, error * scale, fixed * scale)
