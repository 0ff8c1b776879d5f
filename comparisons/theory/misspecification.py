"""One Gaussian cannot fit three modes: the divergence left does not vanish with N.

For data from q, the maximum θ̂ of a wrong model tends to θ* = argmin KL(q ‖ p_θ), for a Gaussian the
mean and standard deviation of q.  KL(q ‖ p_θ*) > 0 is what no amount of data removes; above it,

    N (E KL(q ‖ p_θ̂) − KL(q ‖ p_θ*))  →  ½ tr(J⁻¹ B),    J = −E ∇² log p,  B = E ∇log p ∇log pᵀ,

under q at θ*; a right model would have k/2.  (What intervals by J⁻¹ and by the sandwich J⁻¹ B J⁻¹
cover of θ* is shown by the study of the same name.)  Among mixtures of k = 1, …, 4 normal laws,
each further component up to the truth gains log-likelihood in proportion to N, and one more gains
O(1) against its price of 3 log(N)/2 in BIC, which so chooses 3.  Leave-one-out cross-validation
estimates the expected log score; it is no dearer to add a component that does nothing, so its
choice is the smallest order that it cannot tell from the best; to first order its sum is
ℓ(θ̂) − tr(J⁻¹B) with the sample's J and B (Stone).  Here it is exact: every unit is left out and EM
refitted, without importance sampling, whose weights have no variance where the larger model is
singular.

References: White (1982), Econometrica 50; Takeuchi (1976); Schwarz (1978), Ann. Statist. 6; Stone
(1977), JRSS B 39; Keribin (2000), Sankhyā A 62; Vehtari, Gelman & Gabry (2017), Stat. Comput. 27.
"""

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from scipy.stats import norm

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD, LIMIT_SLOPE, Z
from comparisons.reference import values_at
from comparisons.theory._claims import Measured, equal, mean, missing, power
from comparisons.theory._minima import EXACT, climbed, nearest
from comparisons.theory.densities import LINE, as_data, log_density_at
from inference.information.matrices import observed, outer_product
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import replicable
from models.spec import Values

MODES = 3
NATURE = GaussianMixture(MODES)
VALUES = {
    "weights": jnp.array([4.0, 3.0, 2.0]) / 9,
    "mu": jnp.array([0.0, 6.0, 12.0]),
    "sigma": jnp.array([1.0, 1.25, 1.5]),
}
"""q: three modes that nobody overlooks, not symmetric."""
NODES = np.linspace(-15.0, 30.0, 4_501)
"""Ten standard deviations beyond the outer modes; the trapezoidal rule is exact there."""
STEP = NODES[1] - NODES[0]
FAR = -10.0  # where the search for the nearest Gaussian begins: left of every mode, and too narrow
FRESH = 400_000  # draws over which a divergence is averaged
LADDER, FITS = (200, 3_200), 18_000  # units, and data sets at each; a normal fit is a formula
JUDGED = 200  # fits to the largest data sets whose divergence is averaged over fresh draws
PENALTY = 0.1  # relative, of a penalty: its own next order is 1/N times a moment of order 6
ORDERS, UNITS = (1, 2, 3, 4), 600
"""What is chosen from, and the units of the data set by which it is chosen."""
STARTS = 12  # of the search for a maximum
STEPS = 60  # EM steps without a unit, from the maximum with it
SETTLED = 2.0
"""Change of the log score of all units in the second half of them, nats, that decides nothing: an
order is ruled out by several tens of nats."""
BY_BIC = "BIC chooses the number of modes."
BY_SCORE = "Cross-validation rules out fewer components than modes, and asks for no more."


class Truth(NamedTuple):
    """q on the nodes and what follows from it for one Gaussian."""

    density: np.ndarray
    mean: float
    deviation: float
    divergence: float  # KL(q ‖ p_θ*)
    trace: float  # tr(J⁻¹ B)


def truth() -> Truth:
    """By quadrature; J and B in (μ, σ) at θ*."""
    q = np.exp(_log_nature(NODES))
    weight = q * STEP
    mean = float(weight @ NODES)
    deviation = float(np.sqrt(weight @ (NODES - mean) ** 2))
    left = float(weight @ (np.log(q) - norm.logpdf(NODES, mean, deviation)))
    z = (NODES - mean) / deviation
    score = np.stack([z, z**2 - 1]) / deviation
    outer = (score * weight) @ score.T
    # E ∂² log p/∂μ∂σ = −2 E z / σ² = 0, and the others by E z² = 1
    inverse = np.diag([1.0, 0.5]) * deviation**2
    return Truth(q, mean, deviation, left, float(np.trace(inverse @ outer)))


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """The divergence that is left, and the order that is chosen."""
    at = truth()
    yield from _left(rng, effort, at)
    yield from _orders(rng, effort, at)


def _left(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
    weights, mu, sigma = (np.asarray(VALUES[name]) for name in ("weights", "mu", "sigma"))
    location = float(weights @ mu)
    sd = float(np.sqrt(weights @ (sigma**2 + mu**2) - location**2))
    statement = "The nearest Gaussian has the moments of the data's law."
    law = nearest(lambda law: divergence(at.density, law), FAR)
    for name, found, expected in (("μ", law[0], location), ("σ", np.exp(law[1]), sd)):
        about = f"{name} of least KL(q ‖ p_θ), by optimiser from far / moment of q"
        yield equal(statement, about, found, expected, EXACT)
    yield from _remains(rng, effort, at)
    rungs = []
    for n in LADDER:
        sets = _samples(rng, n, FITS * effort)
        mu, sigma = np.hstack([np.stack([y.mean(axis=1), y.std(axis=1)]) for y in sets])
        # KL(q ‖ p_θ̂) − KL(q ‖ p_θ*) is a closed form, since log p is quadratic
        square = (at.deviation**2 + (mu - at.mean) ** 2) / sigma**2
        excess = np.log(sigma / at.deviation) + 0.5 * (square - 1)
        rungs.append(Measured(excess.mean(), excess.std() / np.sqrt(excess.size)))
    statement = "Of the divergence of the fit only the excess over its limit vanishes, like 1/N."
    about = "slope of log(E KL(q ‖ p_θ̂) − limit) against log N"
    yield equal(statement, about, power(LADDER, rungs), -1.0, LIMIT_SLOPE)
    n, left = LADDER[-1], at.divergence
    statement = "The excess is Takeuchi's penalty, not Akaike's k."
    about = f"2N (E KL(q ‖ p_θ̂) − limit) against tr(J⁻¹B), N = {n}; a right model has 2"
    yield equal(statement, about, rungs[-1].per(1 / (2 * n)), at.trace, PENALTY * at.trace)
    fits = {"fits": (LADDER, [left + rung.value for rung in rungs])}
    theory = {
        "limit": (LADDER, [left] * len(LADDER)),
        "limit + tr(J⁻¹B)/2N": (LADDER, [left + at.trace / 2 / n for n in LADDER]),
    }
    title = "Divergence of the fitted Gaussian from three modes"
    yield Curves(title, "units N", "E KL(q ‖ p_θ̂), nats", fits, theory, "x")


def divergence(density: np.ndarray, law: Array) -> Array:
    """KL(q ‖ N) in nats by quadrature, of q on the nodes and of a law (location, log scale)."""
    log_p = jax.scipy.stats.norm.logpdf(NODES, law[0], jnp.exp(law[1]))
    return jnp.sum(density * (np.log(density) - log_p)) * STEP


def _remains(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
    """The divergence at the largest N, each fit judged on draws of its own."""
    n, count = LADDER[-1], JUDGED * effort
    fresh = np.asarray(NATURE.simulate(rng, VALUES, FRESH * effort)["y"].data).reshape(count, -1)
    log_q = _log_nature(fresh)
    sets = np.concatenate([*_samples(rng, n, count)])
    log_p = norm.logpdf(fresh, sets.mean(axis=1)[:, None], sets.std(axis=1)[:, None])
    found = mean((log_q - log_p).mean(axis=1))
    statement = "The divergence of one Gaussian from three modes does not vanish with N."
    about = f"KL(q ‖ p_θ̂) by fresh draws, nats, N = {n} / its limit by quadrature"
    yield equal(statement, about, found, at.divergence, LIMIT_SD * at.divergence)


def _log_nature(y: np.ndarray) -> np.ndarray:
    """log q of each number, read off the program of the mixture."""
    log_density = log_density_at(NATURE, VALUES, LINE)
    return np.asarray(log_density(jnp.asarray(y).ravel())).reshape(y.shape)


def _samples(rng: np.random.Generator, n: int, count: int) -> Iterator[np.ndarray]:
    """Data sets of n units, `count` of them, some at a time, each of shape (some, n)."""
    chunk = max(1, 1_000_000 // n)
    for first in range(0, count, chunk):
        size = min(chunk, count - first)
        yield np.asarray(NATURE.simulate(rng, VALUES, size * n)["y"].data).reshape(size, n)


class _Fit(NamedTuple):
    """One order on one data set."""

    k: int
    log_likelihood: float
    bic: float
    problems: tuple[str, ...]
    score: np.ndarray  # leave-one-out log score of each unit, nats, shape (N,)
    settled: float  # how much its sum still moved in the second half of the EM steps
    divergence: float  # KL(q ‖ fit)
    optimism: float  # tr(J⁻¹ Σ s sᵀ) at the maximum


def _orders(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
    n = UNITS * isqrt(effort)  # leaving each unit out costs N²
    data = NATURE.simulate(rng, VALUES, n)
    fits: dict[int, _Fit] = {}
    for order in ORDERS:
        fits[order] = fit = _fitted(GaussianMixture(order), data, rng, at)
        # above the truth the maximum is a ridge without a regular point: any point on it will do
        if order <= MODES and fit.problems:
            yield missing(BY_BIC, "order chosen", f"order {order}: {fit.problems[0]}")
            return
    columns = ("order", "k", "log-likelihood", "BIC", "leave-one-out log score", "KL(q ‖ fit)")
    rows = tuple(
        (float(o), float(f.k), f.log_likelihood, f.bic, float(f.score.sum()), f.divergence)
        for o, f in fits.items()
    )
    yield Table(f"Mixtures of normal laws fitted to three modes, N = {n}", columns, rows)
    by_bic = min(fits, key=lambda order: fits[order].bic)
    yield equal(BY_BIC, "order chosen by BIC", by_bic, MODES, 0.0)
    about = "order chosen by leave-one-out cross-validation"
    restless = [order for order, fit in fits.items() if not fit.settled < SETTLED]
    if restless:
        yield missing(BY_SCORE, about, f"EM without a unit has not settled at orders {restless}")
    else:
        by_score = chosen({order: fit.score for order, fit in fits.items()})
        yield equal(BY_SCORE, about, by_score, MODES, 0.0)
    for order in (1, 3):
        fit = fits[order]
        statement = "To leave units out takes their pull on the fit from the score: tr(J⁻¹ Σ s sᵀ)."
        about = f"ℓ(θ̂) − leave-one-out log score of order {order}, nats, N = {n}"
        pull = fit.log_likelihood - float(fit.score.sum())
        yield equal(statement, about, pull, fit.optimism, LIMIT_SD * fit.optimism)
        limit, trace = (at.divergence, at.trace) if order == 1 else (0.0, float(fit.k))
        # the excess is about a sum of tr(J⁻¹B) squared standard normals over 2N; the bound is a
        # quarter of what tells the wrong model from the right one
        found = Measured(fit.divergence, np.sqrt(2 * trace) / (2 * n))
        statement = "A model that contains the truth nears it as N allows; a wrong one does not."
        about = f"KL(q ‖ fit) of order {order}, nats, N = {n}"
        yield equal(statement, about, found, limit + trace / (2 * n), at.divergence / 4)


def chosen(scores: dict[int, np.ndarray]) -> int:
    """The smallest order whose score is within Z standard errors of the best one's."""
    best = max(scores, key=lambda order: scores[order].sum())
    for order in sorted(scores):
        behind = scores[best] - scores[order]
        if behind.sum() <= Z * np.sqrt(behind.size) * behind.std():
            return order
    return best


def _fitted(model: GaussianMixture, data: xr.Dataset, rng: np.random.Generator, at: Truth) -> _Fit:
    """The maximum, and the ends of EM without each unit from there."""
    n, y = data.sizes["obs"], jnp.asarray(data["y"].data)
    estimate = MaximumLikelihood(restarts=STARTS).fit(model, data, rng)
    best, highest = values_at(estimate), estimate.log_likelihood
    program, terms = replicable(model, data)

    def log_density(values: Values, rows: Array) -> Array:
        return terms(as_data(rows), program.unconstrain(values))

    @jax.jit
    def without(rows: Array, left: Array) -> Array:
        halfway = climbed(model, best, rows, STEPS // 2)
        end = climbed(model, halfway, rows, STEPS // 2)
        return jnp.stack([log_density(now, left[None])[0] for now in (halfway, end)])

    # row i has every unit but i
    others = y[np.arange(n - 1) + (np.arange(n - 1) >= np.arange(n)[:, None])]
    score = np.asarray(jax.lax.map(lambda pair: without(*pair), (others, y), batch_size=50))
    log_p, u = np.asarray(log_density(best, jnp.asarray(NODES))), program.unconstrain(best)
    return _Fit(
        program.size,
        highest,
        -2 * highest + program.size * float(np.log(n)),
        estimate.problems,
        score[:, 1],
        float(abs(np.diff(score.sum(axis=0))[0])),
        float((at.density * STEP) @ (np.log(at.density) - log_p)),
        float(np.trace(np.linalg.solve(observed(program, u), outer_product(program, u)))),
    )
