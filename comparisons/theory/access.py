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

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.stats import multivariate_normal

import comparisons.theory.densities
from comparisons.exhibits import Exhibits, Table
from comparisons.theory import _plane as plane
from comparisons.theory._claims import Measured, at_least, equal, missing, proportion
from comparisons.theory._plane import APART, NATURE, NEGLIGIBLE, draws, grid, stream
from comparisons.theory.densities import DensityEstimator, Fitted, Pointwise, everywhere, variants
from comparisons.theory.densities.factor_analysis_density import FactorAnalysisDensity
from comparisons.theory.discriminator import FRESH, UPDATES, bound, judged, trained
from comparisons.verdict import Verdict
from models.programs.keys import key_of
from models.registry import subclasses

TRAIN = 2_000
MASS = 1e-3  # mass that may be missing: beyond the frame, or between its coarse cells
HELD_OUT = 100_000
"""Enough that 2z standard errors of a mean of log p/q are below `NEGLIGIBLE` if its standard
deviation is below 0.96, which is 0.9 for the normal law, the furthest from the truth."""
DRAWS = 5_000  # enough that 2z standard errors of a share of them are below `APART`
COMPARED = 2_000  # draws between which energy distances are taken: their cost is quadratic
PAIRS = 20  # pairs of samples of the truth, for the distance that chance makes
WIDE = 0.2  # step of the quadrature of scores, which is a number of the table only
SAMPLES = (1, 100)  # importance samples of the lower bounds in the table
BOUNDED = 2_000  # held-out points at which they are taken
JUDGED = 20_000  # draws of each law that the judge of a law without a density is trained on


class Known(NamedTuple):
    """All that is known of one fitted law; NaN where it does not exist."""

    fitted: Fitted
    seconds: float = np.nan  # of the fit, with compilation
    mass: float = np.nan
    divergence: float = np.nan  # KL(p ‖ q) by quadrature, nats
    shortfall: Measured = Measured(np.nan, np.nan)  # held-out mean of log p − log q, nats
    inside: float = np.nan  # probability of a region by quadrature
    share: float = np.nan  # share of the draws inside it
    energy: float = np.nan
    told: Measured = Measured(np.nan, np.nan)
    """V of a discriminator on fresh draws, where there is no density; nats."""
    bounds: tuple[float, ...] = (np.nan,) * len(SAMPLES)
    """Held-out mean of log p less the lower bound by so many importance samples, nats."""
    fisher: float = np.nan  # E‖∇ log q − ∇ log p‖² relative to E‖∇ log p‖², by quadrature


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """One data set, one held-out set, every estimator."""
    seed = int(rng.integers(2**63))
    train = draws(stream(seed, "train"), TRAIN * effort)
    test = draws(stream(seed, "held out"), HELD_OUT * effort)
    truth = everywhere(plane.log_density(), test)
    other = draws(stream(seed, "compared"), COMPARED)
    pairs = stream(seed, "chance").spawn(PAIRS)
    chance = [energy_distance(draws(r, COMPARED), draws(r, COMPARED)) for r in pairs]
    found: dict[str, Known] = {}
    for cls in subclasses(comparisons.theory.densities, DensityEstimator).values():
        for name, estimator in variants(cls).items():
            own = stream(seed, name)
            began = time.perf_counter()
            fitted = estimator.fit(train, own, effort)
            seconds = time.perf_counter() - began
            one = _measured(fitted, test, truth, other, own)._replace(seconds=seconds)
            found[name] = one
            yield from claims(name, one, float(np.std(chance, ddof=1)))
    yield _gibbs(found)
    yield _normal(found[FactorAnalysisDensity.name], train)
    yield _table(found, truth, max(chance))


def _measured(
    fitted: Fitted, test: np.ndarray, truth: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> Known:
    """All that a law's access allows to be known: by held-out points with log p, and draws."""
    one = Known(fitted)
    if fitted.score is not None:
        sparse = grid(WIDE)
        error = ((everywhere(fitted.score, sparse.points) - sparse.score) ** 2).sum(axis=1)
        one = one._replace(fisher=sparse.mean(error) / sparse.mean((sparse.score**2).sum(axis=1)))
    drawn = np.empty((0, 2)) if fitted.sample is None else fitted.sample(rng, DRAWS)
    if drawn.size:
        one = one._replace(energy=energy_distance(drawn[:COMPARED], other))
    if fitted.bound is not None:
        few, mean = jnp.asarray(test[:BOUNDED]), float(truth[:BOUNDED].mean())
        lower = jax.jit(fitted.bound, static_argnums=2)
        short = tuple(mean - float(lower(key_of(rng), few, k).mean()) for k in SAMPLES)
        one = one._replace(bounds=short)
    if fitted.log_density is not None:
        return _with_density(one, fitted.log_density, test, truth, drawn)
    if fitted.sample is None:
        return one
    # on fresh draws V is a lower bound of 2·JSD − log 4 wherever the training stops, so whether it
    # still improved does not matter; NaN is not comparable
    pairs = [(draws(rng, n), fitted.sample(rng, n)) for n in (JUDGED, FRESH)]
    return one._replace(told=judged(trained(*pairs[0], rng, UPDATES)[0], *pairs[1]))


def _with_density(
    one: Known, density: Pointwise, test: np.ndarray, truth: np.ndarray, drawn: np.ndarray
) -> Known:
    """The gain by a density: its mass, its divergence twice, and whether draws follow it."""
    box, (around, area) = grid(), plane.frame()
    log_q = everywhere(density, box.points)
    ratio = truth - everywhere(density, test)
    outside = float(np.exp(everywhere(density, around)).sum() * area)
    one = one._replace(
        mass=box.integral(np.exp(log_q)) + outside,
        divergence=box.mean(box.log_density - log_q),
        shortfall=Measured(float(ratio.mean()), float(ratio.std() / np.sqrt(ratio.size))),
    )
    if not drawn.size:
        return one
    # the region of highest density that holds about half of the mass
    highest = np.sort(log_q)[::-1]
    edge = highest[np.searchsorted(np.exp(highest).cumsum(), 0.5 * np.exp(highest).sum())]
    inside = box.integral(np.exp(log_q) * (log_q >= edge))
    return one._replace(inside=inside, share=float((everywhere(density, drawn) >= edge).mean()))


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ by samples, shape (n, 2); unbiased, so maybe negative."""
    within = sum(cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y))
    return float(2 * cdist(x, y).mean() - within)


def claims(name: str, one: Known, chance: float) -> Exhibits:
    """Claims on every law with a likelihood, close to nature or not, and on one without.

    `chance` is the standard deviation of the energy distance of two samples of the truth.
    """
    if one.fitted.problems:
        problem = "; ".join(one.fitted.problems)
        yield missing(f"the fit of {name} has converged", f"log q: {name}", problem)
    elif one.fitted.log_density is not None:
        yield from _of_density(name, one)
    elif one.fitted.sample is not None:
        box, furthest = grid(), float(pdist(np.asarray(NATURE.truth["mean"])).max())
        statement = f"draws of {name} are no further off than if a tenth of the mass had moved"
        about = f"energy distance of {COMPARED} draws: {name} / 0"
        yield equal(statement, about, Measured(one.energy, chance), 0.0, 2 * APART**2 * furthest)
        normal = box.jensen_shannon(np.exp(box.log_density), _normal_law().pdf(box.points))
        told = Measured(normal - (one.told.value - bound(0.0)), one.told.error)
        statement = f"{name} leaves a new discriminator under half of what a normal law does"
        about = f"half of 2·JSD of the normal law − (V + log 4) of {name} on fresh draws, nats"
        yield at_least(statement, about, told, 0.0)


def _of_density(name: str, one: Known) -> Exhibits:
    statement = f"the density of {name} integrates to one"
    yield equal(statement, f"∫ q by quadrature: {name}", one.mass, 1.0, MASS)
    statement = f"the held-out log-likelihood of {name} falls short of the truth's by KL(p ‖ q)"
    about = f"nats per observation: {name}, held-out / quadrature"
    yield equal(statement, about, one.shortfall, one.divergence, NEGLIGIBLE)
    if name != FactorAnalysisDensity.name:  # which is that normal law
        box = grid()
        normal = box.mean(box.log_density - _normal_law().logpdf(box.points))
        learnt = Measured(normal / 2 - one.shortfall.value, one.shortfall.error)
        statement = f"{name} learns over half of what a normal law of nature's moments leaves"
        about = f"half of KL(p ‖ normal law) − held-out shortfall of {name}, nats"
        yield at_least(statement, about, learnt, 0.0)
    if one.fitted.sample is not None:
        share = Measured(one.share, proportion(one.inside, DRAWS).error)
        about = f"probability of its region of highest density: {name}, draws / quadrature"
        yield equal(f"the draws of {name} follow its density", about, share, one.inside, APART)


def _normal_law() -> Any:
    """The normal law with nature's moments."""
    return multivariate_normal(*plane.moments())  # pyright: ignore[reportArgumentType]


def _gibbs(found: dict[str, Known]) -> Verdict:
    known = {name: one.shortfall for name, one in found.items() if np.isfinite(one.shortfall.value)}
    best = min(known, key=lambda name: known[name].value)
    statement = "on held-out data no fitted law is more likely than the true one"
    about = f"held-out shortfall of the best estimator, {best}, nats per observation / 0"
    return at_least(statement, about, known[best], 0.0, NEGLIGIBLE)


def _normal(one: Known, train: np.ndarray) -> Verdict:
    """The divergence of the normal law from moments alone."""
    mean, covariance = plane.moments()
    away, fitted = train.mean(axis=0) - mean, np.cov(train.T, ddof=0)
    trace = np.trace(np.linalg.solve(fitted, covariance + np.outer(away, away)))
    entropy = -grid().mean(grid().log_density)
    expected = 0.5 * (np.linalg.slogdet(2 * np.pi * fitted)[1] + trace) - entropy
    statement = "a linear latent variable in the plane leaves a normal law of the data's moments"
    about = "KL(p ‖ q), nats: factor analysis, held-out / from the moments"
    return equal(statement, about, one.shortfall, expected, NEGLIGIBLE)


def _table(found: dict[str, Known], truth: np.ndarray, chance: float) -> Table:
    mean, entropy = float(truth.mean()), grid().mean(grid().log_density)
    nothing = (0.0,) * (2 + len(SAMPLES))
    rows = [("the truth", "known", mean, 0.0, 0.0, entropy, 1.0, chance, 0.0, *nothing, "")]
    for name, one in found.items():
        fit, (short, error) = one.fitted, one.shortfall
        likelihood = (mean - short, short, error, entropy - one.divergence, one.mass)
        rest = (one.energy, one.fisher, *one.bounds, float(fit.parameters), one.seconds)
        rows.append((name, fit.access, *likelihood, *rest, "; ".join(fit.problems)))
    columns = (
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
        *("numbers fitted", "fit with compilation, s", "problems"),
    )
    title = "one data set, one held-out set, an estimator for every kind of access"
    return Table(title, columns, tuple(rows))
