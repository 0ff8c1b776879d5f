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

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom, norm

from comparisons.exhibits import Curves
from comparisons.policy import BAND, RANKS, RANKS_FALSE_ALARM, Z
from comparisons.replicated.ladder import Rung, Statistic, vanishing
from comparisons.replicated.moments import Moments
from comparisons.studies._ladder import CLAIM, LAGGED, dependent, left_out, usable, where
from comparisons.studies._study import (
    LAPLACE,
    MEAN_FIELD,
    NUTS,
    POSTERIOR,
    Descriptive,
    Number,
    Setting,
    Summaries,
)
from comparisons.verdict import Verdict, not_comparable
from inference.replicates.fits import starts
from inference.replicates.gaussian_vi import mean_field, shrinkage
from inference.replicates.nuts import autocorrelation, sample
from inference.replicates.posteriors import posteriors
from inference.replicates.simulated import Batch, simulated
from inference.replicates.stages import compiled
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import Language, flatten, quantities
from models.programs.numpyro import numpyro_prior

LEVELS = np.arange(0.05, 0.99, 0.05)
"""Probabilities at which the share of smaller ranks is held against its expectation."""
TAKES_METHODS = True
TOGETHER = "all ranks against uniform ones"
FURTHEST = "largest difference from uniform ranks"
WARM_UP, DRAWS, THIN = 300, 99, 5
"""Of each chain; ranks are then 0 … 99, and (L + 1)p is an integer at every level."""


def measure(setting: Setting, n: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """Whether the rank lies below each level, by method, quantity and level."""
    model = setting.model
    batch, prior_draws = _from_the_prior(setting, n, indices)
    start = starts(model, batch)
    chains = sample(model, batch, start, warm_up=WARM_UP, draws=DRAWS, thin=THIN)
    reported = np.asarray(compiled(model, batch).flat(chains.points))
    sampled = {NUTS: (reported, chains.usable), **setting.drawn(batch, DRAWS)}
    found = {
        name: _below((draws < prior_draws[:, None]).sum(axis=1), DRAWS + 1, fine)
        for name, (draws, fine) in sampled.items()
    }
    approximate = {MEAN_FIELD: mean_field(model, batch, start)}
    for name, draws in (posteriors(model, batch, start) | approximate).items():
        below = (draws.quantities < prior_draws[:, None]) * draws.weights[:, :, None]
        found[name] = _below(below.sum(axis=1), 1, draws.usable)
    for language in filter(None, dict.fromkeys(setting.normal.values())):
        ratio = shrinkage(model, batch, start, language)[:, :, None]
        shares = norm.cdf(ratio * norm.ppf(LEVELS))
        found[_theory(language)] = setting.constants_as(LEVELS, shares)
    found[LAGGED] = where(chains.usable, autocorrelation(reported))
    return found


def _from_the_prior(setting: Setting, n: int, indices: Sequence[int]) -> tuple[Batch, np.ndarray]:
    """Data sets at draws of the prior, and the quantities at these, shape (R, m)."""
    model = setting.model
    streams = (np.random.SeedSequence(setting.seed, spawn_key=(n, i, 1)) for i in indices)
    seeds = np.array([stream.generate_state(1)[0] for stream in streams])
    if isinstance(model, AdoptedModel):
        if problem := model.prior_problem:
            raise FitError(
                f"calibration draws parameters from their prior, and {problem}: give it a proper "
                "one, or study coverage, which needs none"
            )
        prior = model.prior_draws(seeds, len(seeds))
    else:
        template = model.simulate(np.random.default_rng(setting.seed), model.truth, n)
        prior = numpyro_prior(model, template, jax.vmap(jax.random.key)(jnp.asarray(seeds)))
    values: list[Any] = [
        {name: array[i] for name, array in prior.items()} for i in range(len(seeds))
    ]
    batch = simulated(model, values, n, indices, setting.seed)
    return batch, np.asarray(jax.vmap(lambda v: flatten(quantities(model, v)))(prior))


def _below(rank: np.ndarray, scale: int, fine: np.ndarray) -> np.ndarray:
    """Whether ranks, shape (R, m), lie below each level of their scale."""
    return where(fine, (rank[:, :, None] < np.round(scale * LEVELS, 9)).astype(float))


def _theory(language: Language) -> str:
    return f"shares that theory predicts in the unconstrained space of {language}"


def judge(setting: Setting, summaries: Summaries) -> Iterator[Verdict]:
    """The largest departure from uniform ranks, by method, parameter and N, and of all together."""
    for method, language in _methods(setting).items():
        yield from left_out(summaries, method, method)
        at = usable(summaries, method)
        shares = {n: _shares(setting, summaries[n], method, language) for n in at}
        beyond = " beyond that of a law r times as wide" if language else ""
        limited, refused = method in setting.normal, dict[int, Verdict]()
        fields: dict[str, Any] = {"quantity": FURTHEST, "method": method}
        fields["claim"] = CLAIM.replace("{method}", f"{{method}}{beyond}")
        for place, (i, name) in enumerate(setting.varying):
            fields["parameter"], here = name, dict[int, Verdict]()
            if method == NUTS:
                here = dependent({n: summaries[n][LAGGED] for n in at}, i, **fields)
                refused |= here
                yield from here.values()
            rungs = [one.furthest(n, place) for n, one in shares.items() if n not in here]
            if limited:
                yield from vanishing(Statistic(rungs, 0.0, RANKS, 0.5, first=0.0), **fields)
                continue
            for n, gap, error, _ in rungs:
                yield Verdict(observed=gap, expected=0.0, error=error, bound=RANKS, n=n, **fields)
        fields = {"quantity": TOGETHER, "method": method}
        fields["claim"] = f"{TOGETHER}, by {{method}}{beyond}, N = {{n}}"
        for n, verdict in refused.items():
            yield not_comparable(cause=verdict.cause, n=n, **fields)
        if limited:
            rungs = [one.together(n)[0] for n, one in shares.items()]
            yield from vanishing(Statistic(rungs, 0.0, RANKS, 0.5, first=0.0), **fields)
            continue
        for n in (n for n in at if n not in refused):
            yield _uniform(shares[n], n, **fields)


def _methods(setting: Setting) -> dict[str, Language | None]:
    """Every method, and in whose unconstrained space its coordinates are independent, if any."""
    own = (NUTS, *setting.columns, POSTERIOR, LAPLACE, MEAN_FIELD)
    return {method: setting.normal.get(method) for method in own}


class _Shares(NamedTuple):
    """Shares of ranks below the levels at one N, of the quantities that vary."""

    found: np.ndarray
    """Shape (quantities, levels)."""
    theory: np.ndarray
    replicates: int

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


def _shares(
    setting: Setting, columns: Mapping[str, Moments], method: str, language: Language | None
) -> _Shares:
    """The shares of a method, whose coordinates are independent in a language's space, if any."""
    places = [i for i, _ in setting.varying]
    names = [method, _theory(language)] if language else [method]
    found, *known = (columns[name].mean.reshape(-1, LEVELS.size)[places] for name in names)
    theory = known[0] if known else np.broadcast_to(LEVELS, found.shape)
    return _Shares(found, theory, columns[method].replicates)


def _uniform(shares: _Shares, n: int, claim: str, **fields: Any) -> Verdict:
    """All ranks of an exact method: no departure may be proven, and a small one leaves it open."""
    rung, outside = shares.together(n)
    bound = 0.0 if outside else RANKS
    return Verdict(claim, rung.value, 0.0, rung.error, bound, n=n, **fields)


def descriptive(setting: Setting, summaries: Summaries) -> Iterator[Descriptive]:
    """Shares below each level, drawn less the level, with a band for all of them together."""
    x = LEVELS.tolist()
    for method, language in _methods(setting).items():
        for n in usable(summaries, method):
            shares = _shares(setting, summaries[n], method, language)
            half = norm.ppf(1 - (1 - BAND) / (2 * shares.gap.size))
            half *= np.sqrt(LEVELS * (1 - LEVELS) / shares.replicates)
            measured, numbers = {}, []
            theory = {"band": (x, half.tolist()), "band, below": (x, (-half).tolist())}
            for place, (_, name) in enumerate(setting.varying):
                found, predicted = shares.found[place], shares.theory[place]
                measured[name] = x, (found - LEVELS).tolist()
                if language:
                    theory[name] = x, (predicted - LEVELS).tolist()
                rows = np.stack([found, shares.error[place], predicted], axis=1).tolist()
                for level, row in zip(x, rows, strict=True):
                    quantity = f"share of ranks below {level:.2f}"
                    numbers.append(Number(method, n, quantity, name, *row))
            for level, width in zip(x, half.tolist(), strict=True):
                quantity = f"half-width of the {BAND:.0%} band at {level:.2f}"
                numbers.append(Number(method, n, quantity, "", width, 0.0))
            title = f"{method}, N = {n}: ranks against uniform ones, and their {BAND:.0%} band"
            label = "share of ranks below p, less p"
            yield Descriptive(title, tuple(numbers), Curves(title, "p", label, measured, theory))
