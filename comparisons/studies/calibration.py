"""Ranks of prior draws within posterior draws are uniform if the posterior is right.

For θ ~ π, x ~ p(x | θ) and L independent draws θ_l ~ p(θ | x), the rank of any f(θ) among the
f(θ_l) is uniform on 0 … L.  The share of data sets whose rank is below (L + 1)p must be p at every
p; an approximation that is too narrow, too wide or off to one side shows in it.  Here for the
No-U-Turn sampler, for the exact posterior by importance sampling, whose weighted ranks are
continuous, for Laplace's approximation, whose departure vanishes like N^(−½), and for mean-field
variational inference: a normal law of the right mean and r times the right deviation has ranks with
share Φ(r Φ⁻¹(p)) below p, r from the precision at the mode, and what is left vanishes likewise.
All levels and quantities together have a band of exact binomial quantiles (Bonferroni, 0.001): an
exact method whose shares leave it fails, and agrees only if the band itself is near enough.
Approximate methods are held to theirs along the ladder of N.
References: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788; Säilynoja,
Bürkner & Vehtari (2022), Statistics and Computing 32, of bands for ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom, norm

from comparisons.exhibits import Curves
from comparisons.policy import BAND, RANKS, RANKS_FALSE_ALARM, Z
from comparisons.studies._ladder import LAGGED, Rung, dependent, left_out, usable, vanishing
from comparisons.studies._singly import LAPLACE, MEAN_FIELD, NUTS, POSTERIOR, columns, drawn, normal
from comparisons.studies._study import Finding, Number, Unjudged
from comparisons.verdict import Verdict, not_comparable
from inference.replicates.fits import compiled, posteriors, starts
from inference.replicates.gaussian_vi import mean_field, shrinkage
from inference.replicates.nuts import autocorrelation, sample
from inference.replicates.simulated import simulated
from models.programs.density import flatten, quantities
from models.programs.numpyro import numpyro_prior

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons.studies._moments import Moments, Summaries
    from comparisons.studies._study import Setting
    from models.programs.density import Language

LEVELS = np.arange(0.05, 0.99, 0.05)
"""Probabilities at which the share of smaller ranks is held against its expectation."""
TAKES_METHODS = True
THEORY = "shares that theory predicts"
TOGETHER = "all ranks against uniform ones"
WARM_UP, DRAWS, THIN = 300, 99, 5
"""Of each chain; ranks are then 0 … 99, and (L + 1)p is an integer at every level."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether the rank lies below each level, by method, quantity and level."""
    model = setting.model
    template = model.simulate(np.random.default_rng(setting.seed), model.truth, n)
    streams = (np.random.SeedSequence(setting.seed, spawn_key=(n, i, 1)) for i in indices)
    seeds = np.array([stream.generate_state(1)[0] for stream in streams])
    prior = numpyro_prior(model, template, jax.vmap(jax.random.key)(jnp.asarray(seeds)))
    values = [{name: array[i] for name, array in prior.items()} for i in range(len(seeds))]
    batch = simulated(model, values, n, indices, setting.seed)  # pyright: ignore[reportArgumentType]
    prior_draws = np.asarray(jax.vmap(lambda v: flatten(quantities(model, v)))(prior))
    start = starts(model, batch)
    chains = sample(model, batch, start, warm_up=WARM_UP, draws=DRAWS, thin=THIN)
    reported = np.asarray(compiled(model, batch).flat(chains.points))
    ranks = {NUTS: ((reported < prior_draws[:, None]).sum(axis=1), chains.usable)}
    scale = {NUTS: DRAWS + 1}
    for other in drawn(setting, batch, indices, DRAWS):
        ranks[other.column] = (other.draws < prior_draws[:, None]).sum(axis=1), other.usable
        scale[other.column] = DRAWS + 1
    approximate = {MEAN_FIELD: mean_field(model, batch, start)}
    for name, draws in (posteriors(model, batch, start) | approximate).items():
        below = (draws.quantities < prior_draws[:, None]) * draws.weights[:, :, None]
        ranks[name], scale[name] = (below.sum(axis=1), draws.usable), 1
    found = {}
    for name, (rank, fine) in ranks.items():
        under = (rank[:, :, None] < np.round(scale[name] * LEVELS, 9)).astype(float)
        found[name] = np.where(fine[:, None, None], under, np.nan)
    constant = np.ones(prior_draws.shape[1], bool)
    constant[[i for i, _ in setting.varying]] = False
    for language in normal(setting).values():
        if not language or _theory(language) in found:
            continue
        ratio = shrinkage(model, batch, start, language)[:, :, None]
        shares = norm.cdf(ratio * norm.ppf(LEVELS))
        found[_theory(language)] = np.where(constant[:, None], LEVELS, shares)
    found[LAGGED] = np.where(chains.usable[:, None], autocorrelation(reported), np.nan)
    return found


def _theory(language: Language) -> str:
    return f"{THEORY} in the {language} chart"


def judge(setting: Setting, summaries: Summaries) -> Iterator[Finding]:
    """The largest departure from uniform ranks, by method, parameter and N, and of all together."""
    quantity = "largest difference from uniform ranks"
    varying = setting.varying
    for method, language in _methods(setting).items():
        yield from left_out(summaries, method, method)
        ladder = usable(summaries, method)
        shares = {n: _Shares.of(summaries[n], method, language, varying) for n in ladder}
        beyond = " beyond that of a law r times as wide" if language else ""
        refused: dict[int, str] = {}
        for place, (i, name) in enumerate(varying):
            about, fine = f"{quantity} of {name} by {method}{beyond}", list(ladder)
            if method == NUTS:
                for n, cause in dependent(summaries, ladder, i).items():
                    fine.remove(n)
                    refused[n] = cause
                    verdict = not_comparable(f"{about}, N = {n}", cause)
                    yield Finding(method, n, quantity, name, verdict)
            rungs = [shares[n].furthest(n, place) for n in fine]
            if method in normal(setting):
                verdicts = vanishing(rungs, 0.0, RANKS, about, 0.5)
            else:
                verdicts = (
                    (r.n, Verdict(f"{about}, N = {r.n}", r.value, 0.0, r.error, RANKS))
                    for r in rungs
                )
            for n, verdict in verdicts:
                yield Finding(method, n, quantity, name, verdict)
        about = f"{TOGETHER}, by {method}{beyond}"
        for n, cause in refused.items():
            yield Finding(method, n, TOGETHER, "", not_comparable(f"{about}, N = {n}", cause))
        if method in normal(setting):
            rungs = [shares[n].together(n)[0] for n in ladder]
            verdicts = vanishing(rungs, 0.0, RANKS, about, 0.5)
        else:
            fine = [n for n in ladder if n not in refused]
            verdicts = ((n, _uniform(shares[n], n, about)) for n in fine)
        for n, verdict in verdicts:
            yield Finding(method, n, TOGETHER, "", verdict)


def _methods(setting: Setting) -> dict[str, Language | None]:
    """Every method, and in whose chart its coordinates are independent, if they are."""
    own = (NUTS, *columns(setting), POSTERIOR, LAPLACE, MEAN_FIELD)
    return {method: normal(setting).get(method) for method in own}


class _Shares(NamedTuple):
    """Shares of ranks below the levels at one N, of the quantities that vary."""

    found: np.ndarray
    """Shape (quantities, levels)."""
    theory: np.ndarray
    replicates: int

    @classmethod
    def of(
        cls,
        at: Mapping[str, Moments],
        method: str,
        language: Language | None,
        varying: Sequence[tuple[int, str]],
    ) -> _Shares:
        places = [i for i, _ in varying]
        found = at[method].mean.reshape(-1, LEVELS.size)[places]
        theory = np.broadcast_to(LEVELS, found.shape)
        if language:
            theory = at[_theory(language)].mean.reshape(-1, LEVELS.size)[places]
        return cls(found, theory, at[method].replicates)

    @property
    def gap(self) -> np.ndarray:
        return (self.found - self.theory).round(12)  # equal ones differ by rounding

    @property
    def error(self) -> np.ndarray:
        """Binomial standard errors if theory is right, of one count at least."""
        p = np.clip(self.theory, 0.5 / self.replicates, 1 - 0.5 / self.replicates)
        return np.sqrt(p * (1 - p) / self.replicates)

    def furthest(self, n: int, place: int) -> Rung:
        """Where one quantity is furthest from theory, and by how much."""
        worst = int(np.abs(self.gap[place]).argmax())
        return Rung(n, float(self.gap[place, worst]), float(self.error[place, worst]))

    def together(self, n: int) -> tuple[Rung, bool]:
        """Where the band of all shares is furthest from theory, and whether a share is beyond it.

        The band is one of exact binomial quantiles, with the false-alarm rate of all together; the
        error is such that Z times it is the half-width there.  If a share is beyond its band, the
        one that is most so.
        """
        tail, counts = RANKS_FALSE_ALARM / (2 * self.gap.size), self.replicates
        high = binom.isf(tail, counts, self.theory) / counts - self.theory
        low = self.theory - binom.ppf(tail, counts, self.theory) / counts
        half = np.maximum(np.where(self.gap > 0, high, low), 0.5 / counts)
        size = np.abs(self.gap)
        outside = bool((size > half + 1e-9).any())
        worst = (size / half).argmax() if outside else (size + half).argmax()
        return Rung(n, float(size.flat[worst]), float(half.flat[worst]) / Z), outside


def _uniform(shares: _Shares, n: int, about: str) -> Verdict:
    """Of an exact method, which no departure may be proven of, and of which a small one is open."""
    rung, outside = shares.together(n)
    bound = 0.0 if outside else RANKS
    return Verdict(f"{about}, N = {n}", rung.value, 0.0, rung.error, bound)


def unjudged(setting: Setting, summaries: Summaries) -> Iterator[Unjudged]:
    """Shares below each level, drawn less the level, with a band for all of them together."""
    x = LEVELS.tolist()
    varying = setting.varying
    for method, language in _methods(setting).items():
        for n in usable(summaries, method):
            shares = _Shares.of(summaries[n], method, language, varying)
            half = norm.ppf(1 - (1 - BAND) / (2 * shares.gap.size))
            half *= np.sqrt(LEVELS * (1 - LEVELS) / shares.replicates)
            theory = {"band": (x, half.tolist()), "band, below": (x, (-half).tolist())}
            measured, numbers = {}, []
            for (_, name), found, predicted, error in zip(
                varying, shares.found, shares.theory, shares.error, strict=True
            ):
                measured[name] = x, (found - LEVELS).tolist()
                if language:
                    theory[name] = x, (predicted - LEVELS).tolist()
                rows = zip(LEVELS, found, error, predicted, strict=True)
                numbers += [
                    Number(method, n, f"share of ranks below {level:.2f}", name, *map(float, row))
                    for level, *row in rows
                ]
            numbers += [
                Number(method, n, f"half-width of the {BAND:.0%} band at {level:.2f}", "",
                       float(width), 0.0, float("nan"))
                for level, width in zip(LEVELS, half, strict=True)
            ]  # fmt: skip
            title = f"{method}, N = {n}: ranks against uniform ones, and their {BAND:.0%} band"
            label = "share of ranks below p, less p"
            yield Unjudged(title, tuple(numbers), Curves(title, "p", label, measured, theory))
