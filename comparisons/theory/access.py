"""How the likelihood is reached decides what can be known of a fitted law.

With data from p, a fitted q with a likelihood has expected held-out log-likelihood

    E_p log q = E_p log p − KL(p ‖ q) ≤ E_p log p    (Gibbs),

so one held-out set ranks all of them, and the shortfall from the truth, paired point by point, is
the divergence itself.  That needs ∫ q = 1, which holds for mixtures, marginalised latent variables
and changes of variables alike, and is checked for each; draws of each are a simple law pushed
forward by a map, and must follow q.  Where only the score is known it is held against nature's.
Where only samples exist there is a distance between samples: 2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖,
zero only for equal laws, and a² times that of μ and ν where a share a of the mass, with law μ, has
been moved to the law ν.
References: Cover & Thomas (2006), Elements of Information Theory, §2.6; Mohamed & Lakshminarayanan
(2016), arXiv:1610.03483; Székely & Rizzo (2013), J. Stat. Plan. Inference 143.
"""

import numpy as np
from scipy.spatial.distance import cdist, pdist

from comparisons.exhibits import Exhibits, Table
from comparisons.theory import _plane as plane
from comparisons.theory import densities
from comparisons.theory._claims import SHARE, Measured, at_least, equal, mean, missing
from comparisons.theory._plane import APART, NATURE, NEGLIGIBLE, draws, grid, stream
from comparisons.theory.densities import Fitted, Pointwise, everywhere
from comparisons.theory.score import LEARNT, accounted
from comparisons.verdict import Verdict
from models.registry import entries

TRAIN = 2_000
MASS = 1e-3  # mass that may be missing: beyond the box
HELD_OUT = 100_000
"""Enough that 2z standard errors of a mean of log p/q are below `NEGLIGIBLE` if its standard
deviation is below 0.96, which is 0.9 for the normal law, the furthest from the truth."""
DRAWS = 5_000  # enough that 2z standard errors of a share of them are below `APART`
PARTS = 20  # of the draws, among which an energy distance is taken: its cost is quadratic
NORMAL = "factor_analysis_density"  # in the plane the normal law with the moments of the data


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """One data set, one held-out set, every estimator."""
    seed = int(rng.integers(2**63))
    train = draws(stream(seed, "train"), TRAIN * effort)
    test = draws(stream(seed, "held out"), HELD_OUT * effort)
    truth = everywhere(plane.log_density(), test)
    short: dict[str, Measured] = {}
    rows = []
    for name, estimator in entries(densities).items():
        own = stream(seed, name)
        fitted: Fitted = estimator.fit(train, own, effort)
        if fitted.log_density is not None:
            short[name] = mean(truth - everywhere(fitted.log_density, test))
        rows.append((name, fitted.access, *short.get(name, (np.nan, np.nan))))
        yield from claims(name, fitted, short.get(name), own)
    yield gibbs(short)
    columns = ("estimator", "access to the likelihood", "short of the truth, nats per observation")
    title = f"{len(rows)} estimators, one held-out set; log p of the truth is {truth.mean():.4f}"
    yield Table(title, (*columns, "its standard error"), tuple(rows))


def claims(
    name: str, fitted: Fitted, shortfall: Measured | None, rng: np.random.Generator
) -> Exhibits:
    """Claims on a law, by what its access allows to be known.

    Args:
        name: of the estimator.
        fitted: the law.
        shortfall: held-out mean of log p − log q, nats; None without a density.
        rng: of its draws.
    """
    if fitted.problems:
        yield missing(f"the fit of {name} has converged", f"log q: {name}", fitted.problems)
    elif fitted.log_density is not None and shortfall is not None:
        yield from _of_density(name, fitted, fitted.log_density, shortfall, rng)
    elif fitted.score is not None:
        share, _ = accounted(fitted.score, NATURE.truth)
        statement = f"the score of {name} is known, though its density is not"
        about = f"1 − E‖s − ∇log p‖²/I(p) by quadrature: {name}"
        yield at_least(statement, about, share, LEARNT, SHARE)
    elif fitted.sample is not None:
        found = energy_distance(fitted.sample(rng, DRAWS), draws(rng, DRAWS))
        furthest = float(pdist(np.asarray(NATURE.truth["mean"])).max())
        statement = f"draws of {name} are no further off than if a tenth of the mass had moved"
        about = f"energy distance of draws: {name} / 0"
        yield equal(statement, about, found, 0.0, 2 * APART**2 * furthest)


def energy_distance(x: np.ndarray, y: np.ndarray) -> Measured:
    """2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖ by parts of samples, shape (n, 2); unbiased."""
    parts = zip(np.split(x, PARTS), np.split(y, PARTS), strict=True)
    found = [2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean() for a, b in parts]
    return mean(np.array(found))


def _of_density(
    name: str, fitted: Fitted, density: Pointwise, shortfall: Measured, rng: np.random.Generator
) -> Exhibits:
    box = grid()
    log_q = everywhere(density, box.points)
    q = np.exp(log_q)
    statement = f"the density of {name} integrates to one"
    yield equal(statement, f"∫ q by quadrature: {name}", box.integral(q), 1.0, MASS)
    divergence = box.mean(box.log_density - log_q)
    statement = f"the held-out log-likelihood of {name} falls short of the truth's by KL(p ‖ q)"
    about = f"nats per observation: {name}, held-out / quadrature"
    yield equal(statement, about, shortfall, divergence, NEGLIGIBLE)
    if name != NORMAL:
        statement = f"{name} learns over half of what a normal law of nature's moments leaves"
        about = f"half of KL(p ‖ normal law) − held-out shortfall of {name}, nats"
        learnt = Measured(normal_divergence() / 2 - shortfall.value, shortfall.error)
        yield at_least(statement, about, learnt, 0.0, NEGLIGIBLE)
    if fitted.sample is not None:
        # the region of highest density that holds about half of the mass
        highest = np.sort(log_q)[::-1]
        edge = highest[np.searchsorted(np.exp(highest).cumsum(), 0.5 * q.sum())]
        inside = (everywhere(density, fitted.sample(rng, DRAWS)) >= edge).astype(float)
        about = f"probability of its region of highest density: {name}, draws / quadrature"
        expected = box.integral(q * (log_q >= edge))
        statement = f"the draws of {name}, pushed forward by its map, follow its density"
        yield equal(statement, about, mean(inside), expected, APART)


def normal_divergence() -> float:
    """KL of nature from the normal law with its moments, nats: ½ log |2πeΣ| less its entropy."""
    box = grid()
    covariance = np.cov(box.points.T, aweights=np.exp(box.log_density), ddof=0)
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1] + box.mean(box.log_density)


def gibbs(short: dict[str, Measured]) -> Verdict:
    """The claim that no held-out shortfall, by estimator, is below 0."""
    best = min(short, key=lambda name: short[name].value)
    statement = "on held-out data no fitted law is more likely than the true one"
    about = f"held-out shortfall of the best estimator, {best}, nats per observation / 0"
    return at_least(statement, about, short[best], 0.0, NEGLIGIBLE)
