"""One Gaussian cannot fit three modes: the divergence left does not vanish with N.

For data from q, the maximum θ̂ of a wrong model tends to θ* = argmin KL(q ‖ p_θ), for a Gaussian the
mean and standard deviation of q.  KL(q ‖ p_θ*) > 0 is what no amount of data removes; above it,

    N (E KL(q ‖ p_θ̂) − KL(q ‖ p_θ*))  →  ½ tr(J⁻¹ B),    J = −E ∇² log p,  B = E ∇log p ∇log pᵀ,

under q at θ*; a right model would have k/2.  (What intervals by J⁻¹ and by the sandwich J⁻¹ B J⁻¹
cover of θ* is shown by the study of the same name.)  Among mixtures of k = 1, …, 4 normal laws,
each further component up to the truth gains log-likelihood in proportion to N, and one more gains
O(1) against its price of 3 log(N)/2 in BIC, which so chooses 3.

References: White (1982), Econometrica 50; Takeuchi (1976); Schwarz (1978), Ann. Statist. 6; Keribin
(2000), Sankhyā A 62.
"""

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.stats import norm

from comparisons.criteria import deviances
from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD, LIMIT_SLOPE
from comparisons.reference import values_at
from comparisons.theory._claims import COUNT, Measured, equal, mean, missing, power
from comparisons.theory._minima import EXACT, minimum
from comparisons.theory.densities import LINE, log_density_at
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.density import density

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
BY_BIC = "BIC chooses the number of modes."


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
    # J = diag(1, 2)/σ², and the scores are z/σ and (z² − 1)/σ
    z = (NODES - mean) / deviation
    return Truth(q, mean, deviation, left, float(weight @ (z**2 + 0.5 * (z**2 - 1) ** 2)))


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """The divergence that is left, and the order that is chosen."""
    at = truth()
    yield from left(rng, effort, at)
    yield from orders(rng, effort, at)


def left(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
    """The limit of the fit, what remains of the divergence there, and what vanishes."""
    weights, mu, sigma = (np.asarray(VALUES[name]) for name in ("weights", "mu", "sigma"))
    location = float(weights @ mu)
    sd = float(np.sqrt(weights @ (sigma**2 + mu**2) - location**2))
    statement = "The nearest Gaussian has the moments of the data's law."
    law = minimum(lambda law: divergence(at.density, law), np.array([FAR, 0.5]))
    for name, found, expected in (("μ", law[0], location), ("σ", np.exp(law[1]), sd)):
        about = f"{name} of least KL(q ‖ p_θ), by optimiser from far / moment of q"
        yield equal(statement, about, found, expected, EXACT)
    yield from remains(rng, effort, at)
    rungs = []
    for n in LADDER:
        sets = _samples(rng, n, FITS * effort)
        mu, sigma = np.hstack([np.stack([y.mean(axis=1), y.std(axis=1)]) for y in sets])
        # KL(q ‖ p_θ̂) − KL(q ‖ p_θ*) is a closed form, since log p is quadratic
        square = (at.deviation**2 + (mu - at.mean) ** 2) / sigma**2
        rungs.append(mean(np.log(sigma / at.deviation) + 0.5 * (square - 1)))
    statement = "Of the divergence of the fit only the excess over its limit vanishes, like 1/N."
    about = "slope of log(E KL(q ‖ p_θ̂) − limit) against log N"
    yield equal(statement, about, power(LADDER, rungs), -1.0, LIMIT_SLOPE)
    n, limit = LADDER[-1], at.divergence
    statement = "The excess is Takeuchi's penalty, not Akaike's k."
    about = f"2N (E KL(q ‖ p_θ̂) − limit) against tr(J⁻¹B), N = {n}; a right model has 2"
    yield equal(statement, about, rungs[-1].per(1 / (2 * n)), at.trace, PENALTY * at.trace)
    fits = {"fits": (LADDER, [limit + rung.value for rung in rungs])}
    theory = {
        "limit": (LADDER, [limit] * len(LADDER)),
        "limit + tr(J⁻¹B)/2N": (LADDER, [limit + at.trace / 2 / n for n in LADDER]),
    }
    title = "Divergence of the fitted Gaussian from three modes"
    yield Curves(title, "units N", "E KL(q ‖ p_θ̂), nats", fits, theory, "x")


def divergence(density: np.ndarray, law: Array) -> Array:
    """KL(q ‖ N) in nats by quadrature, of q on the nodes and of a law (location, log scale)."""
    log_p = jax.scipy.stats.norm.logpdf(NODES, law[0], jnp.exp(law[1]))
    return jnp.sum(density * (np.log(density) - log_p)) * STEP


def remains(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
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


def orders(rng: np.random.Generator, effort: int, at: Truth) -> Exhibits:
    """Mixtures of each order on one data set."""
    n, rows = UNITS * isqrt(effort), []
    data = NATURE.simulate(rng, VALUES, n)
    for order in ORDERS:
        model = GaussianMixture(order)
        fit = MaximumLikelihood(restarts=STARTS).fit(model, data, rng)
        # above the truth the maximum is a ridge without a regular point: any point on it will do
        if order <= MODES and fit.problems:
            yield missing(BY_BIC, f"fit of order {order}", fit.problems)
            return
        log_p = log_density_at(model, values_at(fit), LINE)(jnp.asarray(NODES))
        away = float((at.density * STEP) @ (np.log(at.density) - np.asarray(log_p)))
        k, highest = density(model, data).size, fit.log_likelihood
        rows.append((float(order), float(k), highest, deviances(highest, k, n)["bic"], away))
    columns = ("order", "k", "log-likelihood", "BIC", "KL(q ‖ fit), nats")
    yield Table(f"Mixtures of normal laws fitted to three modes, N = {n}", columns, tuple(rows))
    chosen = min(rows, key=lambda row: row[3])[0]
    yield equal(BY_BIC, f"order chosen by BIC, N = {n}", chosen, MODES, COUNT)
    for order, k, _, _, away in rows:
        if order in (1, MODES):
            limit, trace = (at.divergence, at.trace) if order == 1 else (0.0, k)
            # the excess is about a sum of tr(J⁻¹B) squared standard normals over 2N; the bound is a
            # quarter of what tells the wrong model from the right one
            found = Measured(away, np.sqrt(2 * trace) / (2 * n))
            statement = (
                "A model that contains the truth nears it as N allows; a wrong one does not."
            )
            about = f"KL(q ‖ fit) of order {order:g}, nats, N = {n}"
            yield equal(statement, about, found, limit + trace / (2 * n), at.divergence / 4)
