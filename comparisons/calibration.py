"""Ranks of prior draws within posterior draws are uniform if the posterior is right.

For θ ~ π, x ~ p(x | θ) and L independent draws θ_l ~ p(θ | x), the rank of any f(θ) among the
f(θ_l) is uniform on 0 … L.  The share of data sets whose rank is below (L + 1)p must be p at every
p; an approximation that is too narrow, too wide or off to one side shows in it.  Here for the
No-U-Turn sampler, for the exact posterior by importance sampling, whose weighted ranks are
continuous, and for Laplace's approximation, whose departure vanishes like N^(−½).
Reference: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from comparisons._ladder import LAGGED, dependent, ladders, largest_gap, left_out, vanishing
from comparisons._study import Finding
from comparisons._verdict import Verdict, not_comparable
from inference._replicate_nuts import autocorrelation, sample
from inference._replicates import compiled, posteriors, simulated, starts
from models._density import flatten, quantities
from models._programs import numpyro_prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._moments import Summaries
    from comparisons._study import Setting

LEVELS = np.arange(0.05, 0.99, 0.05)
"""Probabilities at which the share of smaller ranks is held against its expectation."""
DISTANCE = 0.08
"""Largest difference of a share that does not matter."""
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
    ranks = {"nuts[numpyro]": ((reported < drawn[:, None]).sum(axis=1), chains.usable)}
    scale = {"nuts[numpyro]": DRAWS + 1}
    for name, draws in posteriors(model, batch, start).items():
        below = (draws.quantities < drawn[:, None]) * draws.weights[:, :, None]
        ranks[name], scale[name] = (below.sum(axis=1), draws.usable), 1
    found = {}
    for name, (rank, fine) in ranks.items():
        under = (rank[:, :, None] < np.round(scale[name] * LEVELS, 9)).astype(float)
        found[name] = np.where(fine[:, None, None], under, np.nan)
    found[LAGGED] = np.where(chains.usable[:, None], autocorrelation(reported), np.nan)
    return found


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """The largest departure from uniform ranks, by method, parameter and N."""
    quantity = "largest difference from uniform ranks"
    for method, ladder, varying in ladders(setting, summaries):
        if method == LAGGED:
            continue
        yield from left_out(summaries, method, method)
        for i, name in varying:
            about = f"{quantity} of {name} by {method}"
            fine = list(ladder)
            if method == "nuts[numpyro]":
                for n, cause in dependent(summaries, ladder, i).items():
                    fine.remove(n)
                    verdict = not_comparable(f"{about}, N = {n}", cause)
                    yield Finding(method, n, quantity, name, verdict)
            rungs = [largest_gap(n, summaries[n][method], i, LEVELS) for n in fine]
            if method == "laplace":
                verdicts = vanishing(rungs, 0.0, DISTANCE, about, 0.5)
            else:
                verdicts = (
                    (r.n, Verdict(f"{about}, N = {r.n}", r.value, 0.0, r.error, DISTANCE))
                    for r in rungs
                )
            for n, verdict in verdicts:
                yield Finding(method, n, quantity, name, verdict)
