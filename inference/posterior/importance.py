"""Laplace's approximation, corrected: the posterior's moments by importance sampling at its modes.

Draws come from a mixture g of Student's t laws at the modes of f = p(x | θ) π(θ) |∂θ/∂u|, with the
inverse Hessians as scales and the modes' Laplace evidence as weights.  Their weights f/g are
smoothed by a Pareto law, whose shape k̂ tells whether a mean under them can be trusted: below 0.5
their variance is finite.  Where it is not, one t law more, with the weighted moments of the draws
so far, joins the mixture.  Where signs or labels make equal modes, f is taken as 0 outside of one
fold.  The mean of the raw weights is that fold's evidence, ∫ f du.
References: Tierney & Kadane (1986), JASA 81; Cappé, Douc, Guillin, Marin & Robert (2008), Stat.
Comput. 18; Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, final

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from inference.posterior.labels import one_fold
from inference.posterior.points import terms
from inference.threads import one_blas_thread
from models.programs.density import Density, units

DRAWS = 20_000
_FREEDOM = 5.0  # degrees of freedom of the t laws: tails that are heavier than most posteriors'
_REFITS, _WANTED = 3, 0.5
"""Most refits of the proposal, and the shape k̂ above which it is refitted."""
_JUDGED, _TERMS = (4_000, 40_000), 20_000_000
"""Draws by which a Gaussian is judged, least and most, and log-likelihoods of single units then."""


class Mode(NamedTuple):
    """A maximum of the log posterior in the unconstrained space."""

    u: np.ndarray
    value: float
    covariance: np.ndarray  # the inverse of minus the Hessian


@final
class Importance(NamedTuple):
    """Weighted draws that stand for the posterior.

    Attributes:
        points: unconstrained, shape (s, k).
        weights: theirs, smoothed, of sum 1.
        ratio: the logarithms of the raw ones; −∞ outside of the fold.
        khat: the Pareto shape of the raw weights; infinite where none is finite.
        outside: the share of the posterior near these modes that is outside of the fold.
        proposals: the t laws, by which the weight anywhere else is known.
    """

    points: np.ndarray
    weights: np.ndarray
    ratio: np.ndarray
    khat: float
    outside: float
    proposals: Mixture

    def moments(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean, its Monte Carlo error, sd and its error under the weights, each of shape (m,).

        Of functions of the points, whose values have shape (s, m).
        """
        w = self.weights[:, None]
        mean = (w * values).sum(axis=0)
        square = (values - mean) ** 2
        variance = (w * square).sum(axis=0)
        sd, error = np.sqrt(variance), np.sqrt((w**2 * square).sum(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            sd_error = np.sqrt((w**2 * (square - variance) ** 2).sum(axis=0)) / (2 * sd)
        return mean, error, sd, np.where(sd > 0, sd_error, 0.0)

    def uncovered(self, log_density: np.ndarray, points: np.ndarray) -> float:
        """Share of posterior draws, shape (n, k), whose weight would exceed all that were seen."""
        return float(np.mean(log_density - self.proposals.log(points) > self.ratio.max()))

    def evidence(self) -> tuple[float, float]:
        """Logarithm of the evidence of the fold, and its Monte Carlo error, nats."""
        largest = self.ratio.max()
        raw = np.exp(self.ratio - largest)
        return float(largest + np.log(raw.mean())), float(raw.std() / raw.mean() / raw.size**0.5)


class _Student:
    """A multivariate t law, its scale in units of its own so that none is singular for size."""

    def __init__(self, location: np.ndarray, scale: np.ndarray) -> None:
        self._location, self._unit = location, np.sqrt(np.diag(scale))
        self._factor = np.linalg.cholesky(scale / np.outer(self._unit, self._unit))
        k = location.size
        self._constant = gammaln((_FREEDOM + k) / 2) - gammaln(_FREEDOM / 2)
        self._constant -= k / 2 * np.log(_FREEDOM * np.pi)
        self._constant -= np.log(np.diag(self._factor)).sum() + np.log(self._unit).sum()

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        normal = rng.standard_normal((count, self._location.size)) @ self._factor.T
        tail = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, count))
        return self._location + self._unit * normal * tail[:, None]

    def log(self, points: np.ndarray) -> np.ndarray:
        standard = ((points - self._location) / self._unit).T
        standard = solve_triangular(self._factor, standard, lower=True)
        square = (standard**2).sum(axis=0)
        power = (_FREEDOM + self._location.size) / 2
        return self._constant - power * np.log1p(square / _FREEDOM)


@final
class Mixture:
    """A mixture of multivariate t laws, in the unconstrained space."""

    def __init__(self, modes: Iterable[Mode]) -> None:
        """One law for each mode, one at least, its share by Laplace's evidence."""
        self._modes = list(modes)
        self._logs = [m.value + 0.5 * np.linalg.slogdet(m.covariance)[1] for m in self._modes]
        # no mode gets less than a tenth of an equal share: Laplace may misjudge its weight
        share = np.exp(np.asarray(self._logs) - logsumexp(self._logs))
        self._share = 0.9 * share + 0.1 / len(self._logs)
        self._laws = [_Student(m.u, m.covariance) for m in self._modes]

    def with_moments(self, mean: np.ndarray, covariance: np.ndarray) -> Mixture:
        """One more law, of positive definite covariance, with the share of all others together."""
        scale = covariance * (_FREEDOM - 2) / _FREEDOM
        value = logsumexp(self._logs) - 0.5 * np.linalg.slogdet(scale)[1]
        return Mixture([*self._modes, Mode(mean, float(value), scale)])

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Independent draws, shape (count, k)."""
        which = rng.choice(len(self._laws), count, p=self._share)
        points = np.empty((count, self._modes[0].u.size))
        for i, law in enumerate(self._laws):
            points[which == i] = law.draw(rng, int((which == i).sum()))
        return points

    def log(self, points: np.ndarray) -> np.ndarray:
        """Log density at points of shape (s, k), shape (s,), nats."""
        logs = [law.log(points) for law in self._laws]
        return logsumexp(np.stack(logs, axis=1), axis=1, b=self._share)


def importance(target: Density, at: list[Mode], rng: np.random.Generator) -> Importance:
    """Weighted draws for the posterior, of the t laws whose weights have the lightest tail.

    Args:
        target: the density of a model on the data.
        at: the modes, one at least.
        rng: the stream of the draws.
    """
    mixture, best = Mixture(at), None
    for refit in range(_REFITS + 1):
        found = _weighted(target, mixture, at[0].u, rng)
        if best is None or found.khat < best.khat:
            best = found
        if found.khat < _WANTED or refit == _REFITS or not np.isfinite(found.khat):
            break
        w = found.weights[:, None]
        mean = (w * found.points).sum(axis=0)
        covariance = (w * (found.points - mean)).T @ (found.points - mean)
        if np.linalg.eigvalsh(covariance)[0] <= 0:
            break
        mixture = mixture.with_moments(mean, covariance)
    assert best is not None
    return best


def _weighted(
    target: Density, mixture: Mixture, pivot: np.ndarray, rng: np.random.Generator
) -> Importance:
    points = mixture.draw(rng, DRAWS)
    log_density = log_posterior_at(target, points)
    possible = np.isfinite(log_density)
    inside = one_fold(target, points, pivot)[1] & possible
    every = np.where(possible, log_density - mixture.log(points), -np.inf)
    ratio = np.where(inside, every, -np.inf)
    if not inside.any():
        same = np.full(len(points), 1 / len(points))
        return Importance(points, same, ratio, np.inf, 1.0, mixture)
    smooth, khat = smoothed(ratio)
    weights = np.exp(smooth - logsumexp(smooth))
    outside = 1 - float(np.exp(logsumexp(ratio) - logsumexp(every)))
    return Importance(points, weights, ratio, khat, outside, mixture)


def smoothed(ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Log weights, shape (s,), with the tail of a Pareto law, and its shape k̂."""
    from arviz_stats.base.array import array_stats

    # ArviZ takes log-likelihoods, of which the weights are the inverse, and no infinite ones
    finite = np.where(np.isfinite(ratio), ratio, ratio.max() - 700)
    try:
        log, khat = array_stats.psislw(-finite)
    except ValueError:
        if np.ptp(np.sort(finite)[-5:]):  # else its largest weights are all alike: no tail
            raise
        return finite - logsumexp(finite), 0.0
    return np.asarray(log), float(khat)


def log_posterior_at(target: Density, points: np.ndarray) -> np.ndarray:
    """Log posterior density, up to its constant, at points of shape (s, k); −∞ if not finite."""
    with one_blas_thread():
        total = sum(terms(target).totals(points))
    return np.where(np.isfinite(total), total, -np.inf)


def over_gaussian(
    target: Density, mean: np.ndarray, covariance: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Log of posterior over approximation at draws of a Gaussian, nats, and Pareto's k̂ of it.

    Few draws do not reach the tail: of 4,000 from a law that fits well k̂ may be 3, of 40,000 0.3.

    Args:
        target: the density of a model, in whose space the law is Gaussian.
        mean: of the law, shape (k,).
        covariance: of the law, shape (k, k).
        rng: the stream of the draws.

    Returns:
        The logarithms, shape (s,), and k̂; NaN and infinite where the law is degenerate.
    """
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return np.full(2, np.nan), np.inf
    count = int(np.clip(_TERMS // units(target.model, target.data), *_JUDGED))
    noise = rng.standard_normal((count, mean.size))
    normal = 0.5 * (noise**2).sum(axis=1) + 0.5 * mean.size * np.log(2 * np.pi)
    log_q = -normal - np.log(np.abs(np.diag(factor))).sum()
    ratio = log_posterior_at(target, mean + noise @ factor.T) - log_q
    if not np.isfinite(ratio).any():
        return ratio, np.inf
    return ratio, smoothed(np.maximum(ratio, ratio.max() - 700))[1]
