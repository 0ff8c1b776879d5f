"""An interval at level 1 − α contains the truth in a share 1 − α of repeated data sets.

Wald intervals θ̂ ± z·SE do so up to order 1/N, whichever corner of the information lattice gives the
standard error while the model is right: observed, expected, the outer product of scores, or the
sandwich.  The expected one is taken at θ̂ where the model declares it, and else at the truth, where
it needs no closed form.  So do profile-likelihood and bootstrap percentile intervals, and central
posterior intervals, of the exact posterior, of NUTS and of Laplace's, because the prior matters to
order 1/N.  Mean-field variational intervals are too short by a known ratio r of standard
deviations, r² = G diag(1/I_jj) Gᵀ / G I⁻¹ Gᵀ in the language's chart, and cover 2Φ(z r) − 1.
Shares carry binomial errors.
References: van der Vaart (1998), Asymptotic Statistics, §5.5, §10.2; Datta & Mukerjee (2004),
Probability Matching Priors, §2; Efron & Tibshirani (1993), Introduction to the Bootstrap,
§13.3; MacKay (2003), Information Theory, §33.5.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2, norm

from comparisons.policy import LEVEL, PROBABILITY
from comparisons.studies._ladder import LAGGED, Rung, dependent, ladders, left_out, vanishing
from comparisons.studies._singly import MEAN_FIELD, NUTS, drawn, normal
from comparisons.studies._study import Finding
from comparisons.verdict import not_comparable
from inference.replicates.fits import compiled, posteriors, replicate, standard_errors
from inference.replicates.gaussian_vi import mean_field, narrowing
from inference.replicates.intervals import bootstrap, profile_deviances
from inference.replicates.nuts import autocorrelation, sample
from models.errors import FitError
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.studies._moments import Summaries
    from comparisons.studies._study import Setting
    from models.programs.density import Language

DRAWS = 39
"""Of NUTS and the bootstrap: of the 40 ranks among them, 0 … 39, the interval holds 36."""
WARM_UP, THIN = 300, 5
SHARE = 5
"""NUTS takes one in so many data sets: it costs more than all of the others together."""
TAKES_METHODS = True
EXPECTED, AT_TRUTH = "wald[expected]", "wald[expected, at the truth]"


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
    if EXPECTED not in found:
        with suppress(FitError):  # of which `judge` tells
            inside = (away <= half * setting.bound(n).deviation).astype(float)
            found[AT_TRUTH] = np.where(fits.converged[:, None], inside, np.nan)
    approximate = {MEAN_FIELD: mean_field(setting.model, batch, fits.u)}
    for name, draws in (posteriors(setting.model, batch, fits.u) | approximate).items():
        below = (draws.quantities <= setting.truth) * draws.weights[:, :, None]
        inside = (np.abs(below.sum(axis=1) - 0.5) <= LEVEL / 2).astype(float)
        found[name] = np.where(draws.usable[:, None], inside, np.nan)
    resampled, fine = bootstrap(setting.model, batch, fits, draws=DRAWS)
    found["bootstrap"] = np.where(fine[:, None], _inside(resampled, setting.truth), np.nan)
    asked = np.array([index % SHARE == 0 for index in indices])
    found[NUTS], found[LAGGED] = np.full((2, *fits.estimate.shape), np.inf)
    if asked.any():
        few = setting.batch(n, [index for index in indices if index % SHARE == 0])
        start = fits.u[asked]
        chains = sample(setting.model, few, start, warm_up=WARM_UP, draws=DRAWS, thin=THIN)
        reported = np.asarray(compiled(setting.model, batch).flat(chains.points))
        fine = chains.usable[:, None]
        found[NUTS][asked] = np.where(fine, _inside(reported, setting.truth), np.nan)
        found[LAGGED][asked] = np.where(fine, autocorrelation(reported), np.nan)
    for further in drawn(setting, setting.batch(n, indices), indices, DRAWS):
        inside = _inside(further.draws, setting.truth)
        found[further.column] = np.where(further.usable[:, None], inside, np.nan)
    deviance = profile_deviances(setting.model, batch, fits, setting.truth)
    inside = np.where(np.isnan(deviance), np.nan, deviance <= chi2.ppf(LEVEL, 1))
    constant = np.ones(inside.shape[1], bool)
    constant[[i for i, _ in setting.varying]] = False
    found["profile likelihood"] = np.where(constant, 1.0, inside)
    return found


def _inside(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether the truth lies between the outer ranks of equally likely draws, shape (R, m)."""
    rank = (draws <= truth).sum(axis=1)
    cut = round((1 - LEVEL) / 2 * (DRAWS + 1))
    return ((rank >= cut) & (rank <= DRAWS - cut)).astype(float)


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """Coverage by method, parameter and N."""
    quantity = f"coverage of the {LEVEL:.0%} interval"
    if not {EXPECTED, AT_TRUTH} & {*next(iter(summaries.values()))}:
        n = max(summaries)
        try:
            setting.bound(n)
        except FitError as error:
            verdict = not_comparable(f"{quantity} by {EXPECTED}", str(error))
            yield Finding(EXPECTED, n, quantity, "", verdict)
    for method, ladder, varying in ladders(setting, summaries):
        if method == LAGGED:
            continue
        yield from left_out(summaries, method, method)
        ratios, language = None, normal(setting).get(method)
        if language and ladder:
            try:
                ratios = _ratios(setting, ladder[-1], language)
            except FitError as error:
                cause = f"its coverage cannot be predicted: {error}"
                verdict = not_comparable(f"{quantity} by {method}", cause)
                yield Finding(method, ladder[-1], quantity, "", verdict)
                continue
        for i, name in varying:
            about, limit = f"{quantity} of {name} by {method}", LEVEL
            if ratios is not None:
                limit = float(2 * norm.cdf(norm.ppf((1 + LEVEL) / 2) * ratios[i]) - 1)
                about += f", theory {limit:.4f} for an sd {ratios[i]:.3f} times the right one"
            rungs = []
            refused = dependent(summaries, ladder, i) if method == NUTS else {}
            for n in ladder:
                if n in refused:
                    verdict = not_comparable(f"{about}, N = {n}", refused[n])
                    yield Finding(method, n, quantity, name, verdict)
                    continue
                moments = summaries[n][method]
                rungs.append(Rung(n, float(moments.mean[i]), binomial(limit, moments.replicates)))
            for n, verdict in vanishing(rungs, limit, PROBABILITY, about):
                yield Finding(method, n, quantity, name, verdict)


def binomial(share: float, replicates: int) -> float:
    """Standard error of a share that is `share` in truth, of one count in all at least."""
    within = min(max(share, 1 / replicates), 1 - 1 / replicates)
    return float(np.sqrt(within * (1 - within) / replicates))


def _ratios(setting: Setting, n: int, language: Language) -> np.ndarray:
    """Mean-field standard deviations over the right ones at the truth, shape (m,).

    Raises:
        FitError: the expected information is not known, or it is singular there.
    """
    model, data = setting.model, setting.batch(n, [0]).sets[0]
    u = np.asarray(density(model, data).unconstrain(model.truth))
    information = setting.bound(n).information
    return narrowing(model, data, u[None], information[None], language)[0]
