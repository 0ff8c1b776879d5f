"""An interval at level 1 − α contains the truth in a share 1 − α of repeated data sets.

Wald intervals θ̂ ± z·SE do so up to order 1/N, whichever information estimator gives the standard
error while the model is right: observed, expected, the outer product of scores, or the sandwich.
The expected one is taken at θ̂ where the model declares it, and else at the truth, where it needs
no closed form.  So do profile-likelihood and bootstrap percentile intervals, and central posterior
intervals, of the exact posterior, of NUTS and of Laplace's, because the prior matters to order 1/N.
Mean-field variational intervals are too short by a known ratio r of standard deviations,
r² = G diag(1/I_jj) Gᵀ / G I⁻¹ Gᵀ in the language's unconstrained space, and cover 2Φ(z r) − 1.
Shares carry binomial errors.
References: van der Vaart (1998), Asymptotic Statistics, §5.5, §10.2; Datta & Mukerjee (2004),
Probability Matching Priors, §2; Efron & Tibshirani (1993), Introduction to the Bootstrap,
§13.3; MacKay (2003), Information Theory, §33.5.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from scipy.stats import chi2

from comparisons.policy import LEVEL, PROBABILITY
from comparisons.replicated.ladder import Statistic, vanishing
from comparisons.studies._ladder import (
    CLAIM,
    LAGGED,
    dependent,
    held_by,
    left_out,
    shares,
    usable,
    wald,
    where,
)
from comparisons.studies._study import MEAN_FIELD, NUTS, Setting, Summaries
from comparisons.verdict import Verdict, not_comparable
from inference.replicates.fits import Replicates, replicate, standard_errors
from inference.replicates.gaussian_vi import mean_field, narrowing
from inference.replicates.intervals import bootstrap, profile_deviances
from inference.replicates.nuts import autocorrelation, sample
from inference.replicates.posteriors import posteriors
from inference.replicates.simulated import Batch
from inference.replicates.stages import compiled
from models.errors import FitError
from models.programs.density import Language, density, units

DRAWS = 39
"""Of NUTS and the bootstrap: of the 40 ranks among them, 0 … 39, the interval holds 36."""
WARM_UP, THIN = 300, 5
SHARE = 5
"""NUTS takes one in so many data sets: it costs more than all of the others together."""
TAKES_METHODS = True
EXPECTED, AT_TRUTH = "wald[expected]", "wald[expected, at the truth]"
BY_UNITS = "wald[opg]", "wald[sandwich]", "bootstrap"
"""They learn the variance of an estimate from the differences between units."""
QUANTITY = f"coverage of the {LEVEL:.0%} interval"


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether each interval contains the truth, by method; NaN without a usable fit."""
    batch = setting.batch(n, indices)
    fits = replicate(setting.model, batch)
    found = _wald(setting, batch, fits)
    approximate = {MEAN_FIELD: mean_field(setting.model, batch, fits.u)}
    for name, draws in (posteriors(setting.model, batch, fits.u) | approximate).items():
        below = ((draws.quantities <= setting.truth) * draws.weights[:, :, None]).sum(axis=1)
        found[name] = where(draws.usable, (np.abs(below - 0.5) <= LEVEL / 2).astype(float))
    if units(setting.model, batch.template) > 1:
        resampled, fine = bootstrap(setting.model, batch, fits, draws=DRAWS)
        found[BY_UNITS[-1]] = where(fine, _inside(resampled, setting.truth))
    found |= _sampled(setting, batch, fits)
    for column, (draws, fine) in setting.drawn(batch, DRAWS).items():
        found[column] = where(fine, _inside(draws, setting.truth))
    deviance = profile_deviances(setting.model, batch, fits, setting.truth)
    inside = np.where(np.isnan(deviance), np.nan, deviance <= chi2.ppf(LEVEL, 1))
    return {**found, "profile likelihood": setting.constants_as(1.0, inside)}


def _wald(setting: Setting, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
    """Wald intervals by information estimator."""
    errors = standard_errors(setting.model, batch, fits)
    by_method = {f"wald[{estimator}]": error for estimator, error in errors.items()}
    if units(setting.model, batch.template) == 1:
        by_method = {name: error for name, error in by_method.items() if name not in BY_UNITS}
    if EXPECTED not in by_method:
        with suppress(FitError):  # of which `judge` tells
            by_method[AT_TRUTH] = setting.bound(batch.n).deviation
    return wald(fits, by_method, setting.truth)


def _sampled(setting: Setting, batch: Batch, fits: Replicates) -> dict[str, np.ndarray]:
    """Intervals by NUTS and the autocorrelations of its draws, of some data sets."""
    asked = np.array([index % SHARE == 0 for index in batch.indices])
    inside, lagged = np.full((2, *fits.estimate.shape), np.inf)
    if asked.any():
        few = setting.batch(batch.n, [index for index in batch.indices if index % SHARE == 0])
        settings = {"warm_up": WARM_UP, "draws": DRAWS, "thin": THIN}
        chains = sample(setting.model, few, fits.u[asked], **settings)
        reported = np.asarray(compiled(setting.model, batch).flat(chains.points))
        inside[asked] = where(chains.usable, _inside(reported, setting.truth))
        lagged[asked] = where(chains.usable, autocorrelation(reported))
    return {NUTS: inside, LAGGED: lagged}


def _inside(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether the truth lies between the outer ranks of equally likely draws, shape (R, m)."""
    rank = (draws <= truth).sum(axis=1)
    cut = round((1 - LEVEL) / 2 * (DRAWS + 1))
    return ((rank >= cut) & (rank <= DRAWS - cut)).astype(float)


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """Coverage by method, parameter and N."""
    columns, largest = next(iter(summaries.values())), max(summaries)
    if not {EXPECTED, AT_TRUTH} & {*columns}:
        try:
            setting.bound(largest)
        except FitError as error:
            yield _refused(EXPECTED, largest, str(error))
    for method in [one for one in BY_UNITS if one not in columns]:
        yield _refused(method, largest, "all data are one unit: use wald[observed] instead")
    for method in columns:
        if method != LAGGED:
            yield from left_out(summaries, method, method)
            yield from _covered(setting, summaries, method)


def _refused(method: str, n: int, cause: str) -> Verdict:
    fields: dict[str, Any] = {"quantity": QUANTITY, "method": method}
    return not_comparable("{quantity} by {method}", cause, n=n, **fields)


def _covered(setting: Setting, summaries: Summaries, method: str) -> Iterator[Verdict]:
    """Coverage of every quantity along the ladder, by a method."""
    ladder, language = usable(summaries, method), setting.normal.get(method)
    ratios = np.ones(len(setting.names))
    if language and ladder:
        try:
            ratios = _ratios(setting, max(ladder), language)
        except FitError as error:
            cause = f"its coverage cannot be predicted: {error}"
            yield _refused(method, max(ladder), cause)
            return
    for i, name in setting.varying:
        claim, limit, at = CLAIM, LEVEL, ladder
        if language:
            limit = float(held_by(ratios[i]))
            theory = f", theory {limit:.4f} for an sd {ratios[i]:.3f} times the right one"
            claim = CLAIM.replace(", N", f"{theory}, N")
        fields: dict[str, Any] = {"quantity": QUANTITY, "parameter": name, "method": method}
        fields["claim"] = claim
        if method == NUTS:
            refused = dependent({n: summaries[n][LAGGED] for n in ladder}, i, **fields)
            yield from refused.values()
            at = {n: one for n, one in ladder.items() if n not in refused}
        yield from vanishing(Statistic(shares(at, i, limit), limit, PROBABILITY), **fields)


def _ratios(setting: Setting, n: int, language: Language) -> np.ndarray:
    """Mean-field standard deviations over the right ones at the truth, shape (m,)."""
    model, data = setting.model, setting.batch(n, [0]).sets[0]
    u = np.asarray(density(model, data).unconstrain(model.truth))
    information = setting.bound(n).information
    return narrowing(model, data, u[None], information[None], language)[0]
