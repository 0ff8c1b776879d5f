"""How the likelihood is reached decides what can be known of a fitted law.

With data from p, a fitted q with a likelihood has expected held-out log-likelihood

    E_p log q = E_p log p − KL(p ‖ q) ≤ E_p log p    (Gibbs),

so one held-out set ranks all of them, and the shortfall from the truth, paired point by point, is
the divergence itself.  That needs ∫ q = 1, which holds for mixtures, marginalised latent variables,
changes of variables, products of conditionals and kernels alike, and is checked for each.  A
normal law fitted to anything keeps its moments m, S alone: with μ, Σ the moments of p and H its
entropy, KL(p ‖ q) = ½ log |2πS| + ½ tr S⁻¹(Σ + (m − μ)(m − μ)ᵀ) − H.  Where only samples exist
there is a distance between samples: 2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖, zero only for equal laws,
and a² times that of μ and ν where a share a of the mass, with law μ, has been moved to the law ν.
And there is what a discriminator, trained on fresh draws, can tell: at most V = 2·JSD − log 4.
References: Cover & Thomas (2006), Elements of Information Theory, §2.6; Mohamed & Lakshminarayanan
(2016), arXiv:1610.03483; Székely & Rizzo (2013), J. Stat. Plan. Inference 143; Lin (1991), IEEE
Trans. Inf. Theory 37.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.special import rel_entr
from scipy.stats import multivariate_normal

import comparisons.theory.densities
from comparisons.exhibits import Claim, Table
from comparisons.theory._plane import (
    APART,
    NATURE,
    NEGLIGIBLE,
    draws,
    frame,
    grid,
    log_density,
    stream,
)
from comparisons.theory.densities._fitted import DensityEstimator, Fitted, everywhere, variants
from comparisons.theory.densities.factor_analysis_density import FactorAnalysisDensity
from comparisons.theory.discriminator import FRESH, UPDATES, bound, judged, trained
from comparisons.verdict import Verdict, not_comparable
from models.programs.keys import key_of
from models.registry import subclasses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown
    from comparisons.theory.densities._fitted import Sampler

TRAIN = 2_000
MASS = 1e-3
"""Mass that may be missing: beyond the frame, or between its coarse cells."""
HELD_OUT = 100_000
"""Enough that 2z standard errors of a mean of log p/q are below `NEGLIGIBLE` if its standard
deviation is below 0.96, which is 0.9 for the normal law, the furthest from the truth."""
DRAWS = 5_000
"""Enough that 2z standard errors of a share of them are below `APART`."""
COMPARED = 2_000
"""Draws between which energy distances are taken: their cost is quadratic."""
PAIRS = 20
"""Pairs of samples of the truth, for the distance that chance makes."""
WIDE = 0.2
"""Step of the quadrature of scores, which is a number of the table only."""
SAMPLES = (1, 100)
"""Importance samples of the lower bounds in the table."""
BOUNDED = 2_000
"""Held-out points at which they are taken."""
JUDGED = 20_000
"""Draws of each law that the judge of a law without a density is trained on."""


@final
class Measured(NamedTuple):
    """What is known of one fitted law; NaN where it does not exist."""

    fitted: Fitted
    mass: float = np.nan
    divergence: float = np.nan
    """KL(p ‖ q) by quadrature, nats."""
    shortfall: float = np.nan
    """Held-out mean of log p − log q, nats."""
    shortfall_error: float = np.nan
    inside: float = np.nan
    """Probability of a region by quadrature."""
    share: float = np.nan
    """Share of the draws inside it."""
    energy: float = np.nan
    told: float = np.nan
    """V of a discriminator on fresh draws, where there is no density; nats."""
    told_error: float = np.nan
    bounds: tuple[float, ...] = (np.nan,) * len(SAMPLES)
    """Held-out mean of log p less the lower bound by so many importance samples, nats."""
    fisher: float = np.nan
    """E‖∇ log q − ∇ log p‖² relative to E‖∇ log p‖², by quadrature."""


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """One data set, one held-out set, every estimator."""
    seed = int(rng.integers(2**63))
    train = draws(stream(seed, "train"), TRAIN * effort)
    test = draws(stream(seed, "held out"), HELD_OUT * effort)
    truth = everywhere(log_density(), test)
    other = draws(stream(seed, "compared"), COMPARED)
    chance = np.array([
        energy_distance(draws(pair, COMPARED), draws(pair, COMPARED))
        for pair in stream(seed, "chance").spawn(PAIRS)
    ])  # fmt: skip
    found: dict[str, Measured] = {}
    for cls in subclasses(comparisons.theory.densities, DensityEstimator).values():
        for name, estimator in variants(cls).items():
            own = stream(seed, name)
            fitted = estimator.fit(train, own, effort)
            found[name] = one = measure(fitted, test, truth, other, own)
            yield from claims(name, one, float(chance.std(ddof=1)))
    yield _gibbs(found)
    yield _normal(found[FactorAnalysisDensity.name], train)
    yield _table(found, truth, float(chance.max()))


def measure(
    fitted: Fitted,
    test: np.ndarray,
    truth: np.ndarray,
    other: np.ndarray,
    rng: np.random.Generator,
) -> Measured:
    """All that a fitted law's access allows to be known of it.

    Args:
        fitted: the law.
        test: held-out points, shape (M, 2).
        truth: log p there, shape (M,).
        other: draws of nature, of which the distance is taken, shape (n, 2).
        rng: of the draws.
    """
    box, one = grid(), Measured(fitted)
    if fitted.score is not None:
        sparse = grid(WIDE)
        error = ((everywhere(fitted.score, sparse.points) - sparse.score) ** 2).sum(axis=1)
        one = one._replace(fisher=sparse.mean(error) / sparse.mean((sparse.score**2).sum(axis=1)))
    drawn = np.empty((0, 2)) if fitted.sample is None else fitted.sample(rng, DRAWS)
    if drawn.size:
        one = one._replace(energy=energy_distance(drawn[:COMPARED], other))
    if fitted.bound is not None:
        few = test[:BOUNDED]
        lower = jax.jit(fitted.bound, static_argnums=2)
        below = [float(lower(key_of(rng), jnp.asarray(few), k).mean()) for k in SAMPLES]
        one = one._replace(bounds=tuple(float(truth[:BOUNDED].mean()) - height for height in below))
    if fitted.log_density is None:
        return one if fitted.sample is None else _told(one, fitted.sample, rng)
    log_q = everywhere(fitted.log_density, box.points)
    ratio = truth - everywhere(fitted.log_density, test)
    around, area = frame()
    outside = float(np.exp(everywhere(fitted.log_density, around)).sum() * area)
    one = one._replace(
        mass=box.integral(np.exp(log_q)) + outside,
        divergence=box.mean(box.log_density - log_q),
        shortfall=float(ratio.mean()),
        shortfall_error=float(ratio.std() / np.sqrt(ratio.size)),
    )
    if not drawn.size:
        return one
    # the region of highest density that holds about half of the mass
    height = np.sort(log_q)[::-1]
    edge = height[np.searchsorted(np.exp(height).cumsum(), 0.5 * np.exp(height).sum())]
    inside = box.integral(np.exp(log_q) * (log_q >= edge))
    share = float((everywhere(fitted.log_density, drawn) >= edge).mean())
    return one._replace(inside=inside, share=share)


def _told(one: Measured, sample: Sampler, rng: np.random.Generator) -> Measured:
    """What a new discriminator finds to tell between a law's draws and nature's.

    On fresh draws V is a lower bound of 2·JSD − log 4 wherever the training stops, so whether it
    still improved does not matter; NaN is not comparable.
    """
    pairs = [(draws(rng, n), sample(rng, n)) for n in (JUDGED, FRESH)]
    value, error = judged(trained(*pairs[0], rng, UPDATES)[0], *pairs[1])
    return one._replace(told=value, told_error=error)


def claims(name: str, one: Measured, chance: float) -> Iterator[Claim]:
    """What holds for every law with a likelihood, close to nature or not, and of one without.

    `chance` is the standard deviation of the energy distance of two samples of the truth.
    """
    if one.fitted.problems:
        problem = "; ".join(one.fitted.problems)
        yield Claim(f"the fit of {name} has converged", not_comparable(f"log q: {name}", problem))
        return
    if one.fitted.log_density is None:
        if one.fitted.sample is not None:
            yield from _of_draws(name, one, chance)
        return
    yield Claim(
        f"the density of {name} integrates to one",
        Verdict(f"∫ q by quadrature: {name}", one.mass, 1.0, 0.0, MASS),
    )
    yield Claim(
        f"the held-out log-likelihood of {name} falls short of the truth's by KL(p ‖ q)",
        Verdict(
            f"nats per observation: {name}, held-out / quadrature",
            one.shortfall, one.divergence, one.shortfall_error, NEGLIGIBLE,
        ),
    )  # fmt: skip
    if name != FactorAnalysisDensity.name:  # which is that normal law
        yield Claim(
            f"{name} learns more than half of what a normal law with nature's moments leaves",
            Verdict(
                f"half of KL(p ‖ normal law) − held-out shortfall of {name}, nats",
                _kullback_of_normal() / 2 - one.shortfall, 0.0, one.shortfall_error, 0.0,
                relation="at_least",
            ),
        )  # fmt: skip
    if one.fitted.sample is not None:
        error = float(np.sqrt(one.inside * (1 - one.inside) / DRAWS))
        yield Claim(
            f"the draws of {name} follow its density",
            Verdict(
                f"probability of its region of highest density: {name}, draws / quadrature",
                one.share, one.inside, error, APART,
            ),
        )  # fmt: skip


def _of_draws(name: str, one: Measured, chance: float) -> Iterator[Claim]:
    means = np.asarray(NATURE.truth["mean"])
    yield Claim(
        f"the draws of {name} are no further from nature than if a tenth of the mass had moved",
        Verdict(
            f"energy distance of {COMPARED} draws: {name} / 0",
            one.energy, 0.0, chance, 2 * APART**2 * float(pdist(means).max()),
        ),
    )  # fmt: skip
    yield Claim(
        f"draws of {name} leave a new discriminator less than half of what those of the normal law "
        "with nature's moments do",
        Verdict(
            f"half of 2·JSD of the normal law − (V + log 4) of {name} on fresh draws, nats",
            _divergence_of_normal() - (one.told - bound(0.0)), 0.0, one.told_error, 0.0,
            relation="at_least",
        ),
    )  # fmt: skip


def _divergence_of_normal() -> float:
    """The Jensen–Shannon divergence of nature from the normal law with its moments, nats."""
    box, p = grid(), np.exp(grid().log_density)
    q = multivariate_normal(*_moments()).pdf(box.points)  # pyright: ignore[reportArgumentType]
    m = (p + q) / 2
    return 0.5 * box.integral(rel_entr(p, m) + rel_entr(q, m))


def _kullback_of_normal() -> float:
    """KL of nature from the normal law with its moments, nats."""
    box = grid()
    q = multivariate_normal(*_moments())  # pyright: ignore[reportArgumentType]
    return box.mean(box.log_density - q.logpdf(box.points))


def _moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of nature, those of a mixture."""
    weights, means = np.asarray(NATURE.truth["weights"]), np.asarray(NATURE.truth["mean"])
    centre = weights @ means
    variance = float(NATURE.truth["scale"]) ** 2 * np.eye(2)
    return centre, variance + (means - centre).T @ ((means - centre) * weights[:, None])


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ between two samples, shapes (n, 2) and (m, 2).

    Unbiased, so that it may be negative.
    """
    within = sum(cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y))
    return float(2 * cdist(x, y).mean() - within)


def _gibbs(found: dict[str, Measured]) -> Claim:
    known = {name: one for name, one in found.items() if np.isfinite(one.shortfall)}
    best = min(known, key=lambda name: known[name].shortfall)
    one = known[best]
    about = f"held-out shortfall of the best estimator, {best}, nats per observation / 0"
    error = one.shortfall_error
    return Claim(
        "on held-out data no fitted law is more likely than the true one",
        Verdict(about, one.shortfall, 0.0, error, NEGLIGIBLE, relation="at_least"),
    )


def _normal(one: Measured, train: np.ndarray) -> Claim:
    """The divergence of the normal law from moments alone."""
    centre, spread = _moments()
    away, fitted = train.mean(axis=0) - centre, np.cov(train.T, ddof=0)
    trace = np.trace(np.linalg.solve(fitted, spread + np.outer(away, away)))
    entropy = -grid().mean(grid().log_density)
    expected = 0.5 * (np.linalg.slogdet(2 * np.pi * fitted)[1] + trace) - entropy
    return Claim(
        "a linear latent variable in the plane leaves a normal law with the moments of the data",
        Verdict(
            "KL(p ‖ q), nats: factor analysis, held-out / from the moments",
            one.shortfall, float(expected), one.shortfall_error, NEGLIGIBLE,
        ),
    )  # fmt: skip


def _table(found: dict[str, Measured], truth: np.ndarray, chance: float) -> Table:
    mean, entropy = float(truth.mean()), grid().mean(grid().log_density)
    rows: list[tuple[str | float, ...]] = [
        (
            "the truth",
            "known",
            mean,
            0.0,
            0.0,
            entropy,
            1.0,
            chance,
            0.0,
            *(4 + len(SAMPLES)) * (0.0,),
            "",
        )
    ]
    rows += [
        (
            name,
            one.fitted.access,
            mean - one.shortfall,
            one.shortfall,
            one.shortfall_error,
            entropy - one.divergence,
            one.mass,
            one.energy,
            one.fisher,
            *one.bounds,
            float(one.fitted.parameters),
            float(one.fitted.updates),
            one.fitted.compile,
            one.fitted.run,
            "; ".join(one.fitted.problems),
        )
        for name, one in found.items()
    ]
    return Table(
        "one data set, one held-out set, an estimator for every kind of access",
        (
            "estimator",
            "access to the likelihood",
            "held-out log-likelihood, nats per observation",
            "short of the truth, nats",
            "its standard error, nats",
            "expected log-likelihood by quadrature, nats",
            "∫ q",
            f"energy distance of {COMPARED} draws (the truth: largest of {PAIRS})",
            "error of the score, relative",
            *(f"bound by {k} importance samples: short of the truth, nats" for k in SAMPLES),
            "numbers fitted",
            "updates",
            "compilation, s",
            "fit, s",
            "problems",
        ),
        tuple(rows),
    )
