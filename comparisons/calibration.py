"""Ranks of prior draws within posterior draws are uniform if the posterior is right.

For θ ~ π, x ~ p(x | θ) and L independent draws θ_l ~ p(θ | x), the rank of any f(θ) among the
f(θ_l) is uniform on 0 … L.  The share of data sets whose rank is below (L + 1)p must be p at every
p; an approximation that is too narrow, too wide or off to one side shows in it.  Here for the
No-U-Turn sampler, for the exact posterior by importance sampling, whose weighted ranks are
continuous, for Laplace's approximation, whose departure vanishes like N^(−½), and for mean-field
variational inference: a normal law of the right mean and r times the right deviation has ranks with
share Φ(r Φ⁻¹(p)) below p, r from the precision at the mode, and what is left vanishes likewise.
Exact methods are also tested: the smallest p-value of a share over all levels and quantities,
times their number (Bonferroni), must not be below 0.001.
References: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788; Säilynoja,
Bürkner & Vehtari (2022), Statistics and Computing 32, of bands for ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom, norm

from comparisons._ladder import LAGGED, dependent, ladders, largest_gap, left_out, vanishing
from comparisons._singly import drawn as further
from comparisons._study import Finding
from comparisons._verdict import Verdict, not_comparable
from comparisons.theory._shown import Curves
from inference._replicate_nuts import autocorrelation, sample
from inference._replicate_svi import mean_field, shrinkage
from inference._replicates import compiled, posteriors, simulated, starts
from models._density import flatten, quantities
from models._programs import numpyro_prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons._ladder import Rung
    from comparisons._moments import Moments, Summaries
    from comparisons._study import Setting

LEVELS = np.arange(0.05, 0.99, 0.05)
"""Probabilities at which the share of smaller ranks is held against its expectation."""
DISTANCE = 0.08
"""Largest difference of a share that does not matter."""
FALSE_ALARM = 0.001
"""Of the test of all ranks of a method together."""
BAND = 0.95
"""Probability that all ranks of a method stay within the band of a figure."""
TAKES_METHODS = True
NUTS, MEAN_FIELD, THEORY = "nuts[numpyro]", "svi[mean_field]", "shares that theory predicts"
APPROXIMATE = ("laplace", MEAN_FIELD)
"""Methods whose ranks are uniform in the limit of many units alone."""
WARM_UP, DRAWS, THIN = 300, 99, 5
"""Of each chain; ranks are then 0 … 99, and (L + 1)p is an integer at every level."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether the rank lies below each level, by method, quantity and level."""
    model = setting.model
    template = model.simulate(np.random.default_rng(setting.seed), model.truth, n)
    streams = (np.random.SeedSequence(setting.seed, spawn_key=(i, 1)) for i in indices)
    seeds = np.array([stream.generate_state(1)[0] for stream in streams])
    prior = numpyro_prior(model, template, jax.vmap(jax.random.key)(jnp.asarray(seeds)))
    values = [{name: array[i] for name, array in prior.items()} for i in range(len(seeds))]
    batch = simulated(model, values, n, indices, setting.seed)  # pyright: ignore[reportArgumentType]
    drawn = np.asarray(jax.vmap(lambda v: flatten(quantities(model, v)))(prior))
    start = starts(model, batch)
    chains = sample(model, batch, start, warm_up=WARM_UP, draws=DRAWS, thin=THIN)
    reported = np.asarray(compiled(model, batch).flat(chains.points))
    ranks = {NUTS: ((reported < drawn[:, None]).sum(axis=1), chains.usable)}
    scale = {NUTS: DRAWS + 1}
    for other in further(setting, batch, indices, DRAWS):
        ranks[other.method] = (other.draws < drawn[:, None]).sum(axis=1), other.usable
        scale[other.method] = DRAWS + 1
    approximate = {MEAN_FIELD: mean_field(model, batch, start)}
    for name, draws in (posteriors(model, batch, start) | approximate).items():
        below = (draws.quantities < drawn[:, None]) * draws.weights[:, :, None]
        ranks[name], scale[name] = (below.sum(axis=1), draws.usable), 1
    found = {}
    for name, (rank, fine) in ranks.items():
        under = (rank[:, :, None] < np.round(scale[name] * LEVELS, 9)).astype(float)
        found[name] = np.where(fine[:, None, None], under, np.nan)
    ratio = shrinkage(model, batch, start)[:, :, None]
    constant = np.ones(ratio.shape[1:], bool)
    constant[[i for i, _ in setting.varying]] = False
    found[THEORY] = np.where(constant, LEVELS, norm.cdf(ratio * norm.ppf(LEVELS)))
    found[LAGGED] = np.where(chains.usable[:, None], autocorrelation(reported), np.nan)
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """The largest departure from uniform ranks, by method, parameter and N."""
    quantity = "largest difference from uniform ranks"
    for method, ladder, varying in ladders(setting, summaries):
        if method in (LAGGED, THEORY):
            continue
        yield from left_out(summaries, method, method)
        for i, name in varying:
            about = f"{quantity} of {name} by {method}"
            fine = list(ladder)
            if method == NUTS:
                for n, cause in dependent(summaries, ladder, i).items():
                    fine.remove(n)
                    verdict = not_comparable(f"{about}, N = {n}", cause)
                    yield Finding(method, n, quantity, name, verdict)
            rungs = [largest_gap(n, summaries[n][method], i, LEVELS) for n in fine]
            if method == MEAN_FIELD:
                about += " beyond that of a law r times as wide"
                rungs = [_beyond(n, summaries[n], i) for n in fine]
            if method in APPROXIMATE:
                verdicts = vanishing(rungs, 0.0, DISTANCE, about, 0.5)
            else:
                verdicts = (
                    (r.n, Verdict(f"{about}, N = {r.n}", r.value, 0.0, r.error, DISTANCE))
                    for r in rungs
                )
            for n, verdict in verdicts:
                yield Finding(method, n, quantity, name, verdict)
        if method not in APPROXIMATE:
            yield from _together(summaries, ladder, method, varying)


def _beyond(n: int, columns: Mapping[str, Moments], which: int) -> Rung:
    """Where the shares by mean-field inference are furthest from those predicted."""
    shares, theory = columns[MEAN_FIELD], columns[THEORY]
    levels = np.tile(LEVELS, len(theory.mean) // LEVELS.size)
    return largest_gap(n, shares._replace(mean=shares.mean - theory.mean + levels), which, LEVELS)


def _together(
    summaries: Summaries, ladder: Sequence[int], method: str, varying: Sequence[tuple[int, str]]
) -> Iterator[Finding]:
    """The test of all quantities and levels at once, at every N."""
    quantity = "family-wise p-value of uniform ranks"
    lagged = [dependent(summaries, ladder, i) for i, _ in varying] if method == NUTS else []
    causes = {n: cause for found in lagged for n, cause in found.items()}
    for n in ladder:
        about = f"{quantity} by {method}, N = {n}"
        if n in causes:
            yield Finding(method, n, quantity, "", not_comparable(about, causes[n]))
            continue
        below = summaries[n][method]
        counts = np.round(below.mean.reshape(-1, LEVELS.size) * below.replicates).astype(int)
        counts = counts[[i for i, _ in varying]]
        tail = np.minimum(
            binom.cdf(counts, below.replicates, LEVELS),
            binom.sf(counts - 1, below.replicates, LEVELS),
        )
        value = min(1.0, 2.0 * float(tail.min()) * counts.size)
        verdict = Verdict(about, value, FALSE_ALARM, 0.0, 0.0, relation="at_least")
        yield Finding(method, n, quantity, "", verdict)


def curves(setting: Setting, summaries: Summaries) -> Iterator[Curves]:
    """Shares below each level, less the level, with a band for all of them together."""
    x = LEVELS.tolist()
    for method, ladder, varying in ladders(setting, summaries):
        if method in (LAGGED, THEORY):
            continue
        for n in ladder:
            below = summaries[n][method]
            gaps = below.mean.reshape(-1, LEVELS.size) - LEVELS
            tests = LEVELS.size * len(varying)
            half = norm.ppf(1 - (1 - BAND) / (2 * tests))
            half *= np.sqrt(LEVELS * (1 - LEVELS) / below.replicates)
            theory = {"band": (x, half.tolist()), "band, below": (x, (-half).tolist())}
            if method == MEAN_FIELD:
                predicted = summaries[n][THEORY].mean.reshape(-1, LEVELS.size) - LEVELS
                theory |= {name: (x, predicted[i].tolist()) for i, name in varying}
            measured = {name: (x, gaps[i].tolist()) for i, name in varying}
            title = f"{method}, N = {n}: ranks against uniform ones, and their {BAND:.0%} band"
            yield Curves(title, "p", "share of ranks below p, less p", measured, theory)
