"""Distances between two laws from draws of each, with Monte Carlo errors and null calibration.

Arrays of draws have shape (…, n, d) and (…, m, d): leading axes are replicates, worked on at once.

    Fréchet       ‖Δμ‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)          W₂² of the two normal laws
    kernel        MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y)      by U- and by V-statistics
    Wasserstein   W₁ = ∫ |F − G|                                    of every column
    divergence    KL = Σ_b p_b log p_b/q_b                          the same, on bins
    classifier    accuracy of a logistic regression that tells the two apart, ½ if it cannot

A plug-in distance of equal laws is not 0 at finite n; U-statistics and held-out accuracies are
unbiased.  Errors are first-order: where the two laws are equal the first order vanishes, and the
errors of `frechet` and `wasserstein` are then a scale only, those of U-statistics √2 too large.
References: Dowson & Landau (1982), J. Multivar. Anal. 12; Gretton et al. (2012), JMLR 13;
Bińkowski et al. (2018), ICLR; Lopez-Paz & Oquab (2017), ICLR; Efron & Stein (1981), Ann. Stat. 9.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from inference.estimate import Estimate
from inference.posterior.diagnostics import worst
from models.errors import FitError
from models.programs.density import flat_names
from models.programs.precision import float64

DRAWS = 1_000
"""Most draws of each law that are compared: kernels look at all pairs."""
FEWEST = 50
"""Fewest independent draws of each that make any of these distances worth printing."""
SPLITS = 20
"""Halvings of one method's own draws that calibrate a distance."""
BINS = 20
"""Bins of the divergence, each with the same share of both samples together: a number of draws in
each, and a loss of a few per cent where two normal laws are a standard deviation apart."""
FOLDS = 5
_NEWTON = 12
"""Steps of the logistic regression, which is convex, standardised and penalised."""


class Distance(NamedTuple):
    """An estimate and its Monte Carlo standard error, each of the shape of the leading axes."""

    value: np.ndarray
    error: np.ndarray


def normal_frechet(
    mean_1: np.ndarray, covariance_1: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray
) -> np.ndarray:
    """W₂² of two normal laws.

    Σ₁Σ₂ is not symmetric unless the two commute, so its root is never taken by `eigh`.

    Args:
        mean_1: of the first, shape (…, d).
        covariance_1: shape (…, d, d).
        mean_2: of the second.
        covariance_2: as the first.
    """
    root = _power(covariance_1, 0.5)
    cross = _power(root @ covariance_2 @ root, 0.5)
    apart = np.trace(covariance_1 + covariance_2 - 2 * cross, axis1=-2, axis2=-1)
    return ((mean_1 - mean_2) ** 2).sum(axis=-1) + apart


def frechet(first: np.ndarray, second: np.ndarray) -> Distance:
    """The Fréchet distance of the normal laws with the draws' means and covariances.

    With A the map that takes Σ₁ to Σ₂, the derivative in Σ₁ is I − A: the error is that of the
    mean of 2 Δμᵀ(x − μ₁) + (x − μ₁)ᵀ (I − A) (x − μ₁), and the same of y.
    """
    laws, error = (_moments(first), _moments(second)), np.zeros(first.shape[:-2])
    for x, (mean, own), (its, other) in zip((first, second), laws, laws[::-1], strict=True):
        root, inverse = _power(own, 0.5), _power(own, -0.5)
        change = np.eye(own.shape[-1]) - inverse @ _power(root @ other @ root, 0.5) @ inverse
        away = x - mean[..., None, :]
        linear = 2 * (away * (mean - its)[..., None, :]).sum(axis=-1)
        error += (linear + (away @ change * away).sum(axis=-1)).var(axis=-1) / x.shape[-2]
    return Distance(normal_frechet(*laws[0], *laws[1]), np.sqrt(error))


def _moments(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = draws.mean(axis=-2)
    away = draws - mean[..., None, :]
    return mean, np.swapaxes(away, -1, -2) @ away / (draws.shape[-2] - 1)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric matrix without negative eigenvalues; null directions stay null."""
    value, vector = np.linalg.eigh(matrix)
    positive = value > 1e-12 * value[..., -1:]
    scaled = np.where(positive, np.where(positive, value, 1.0) ** exponent, 0.0)
    return (vector * scaled[..., None, :]) @ np.swapaxes(vector, -1, -2)


class Discrepancy(NamedTuple):
    """MMD² of one kernel."""

    unbiased: Distance
    """The U-statistic: of mean MMD², and so below 0 about half the time if the laws are equal."""
    biased: Distance
    """The V-statistic, which is never below 0."""


type Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(…, n, d) and (…, m, d) ↦ (…, n, m)."""


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(xᵀy/d + 1)³, the kernel of KID."""
    linear = x @ np.swapaxes(y, -1, -2) / x.shape[-1] + 1
    return linear * linear * linear


def gaussian(bandwidth: float | np.ndarray) -> Kernel:
    """exp(−‖x − y‖²/(2ℓ²)), the kernel of CMMD."""
    scale = -0.5 / np.asarray(bandwidth)[..., None, None] ** 2
    return lambda x, y: np.exp(scale * _squared_distances(x, y))


def median_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Median of the distances between the pooled draws."""
    pooled = np.concatenate([first, second], axis=-2)
    above = np.triu_indices(pooled.shape[-2], 1)
    return np.sqrt(np.median(_squared_distances(pooled, pooled)[..., *above], axis=-1))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    norms = (x**2).sum(axis=-1)[..., :, None] + (y**2).sum(axis=-1)[..., None, :]
    return np.maximum(norms - 2 * x @ np.swapaxes(y, -1, -2), 0.0)


def discrepancy(kernel: Kernel, first: np.ndarray, second: np.ndarray) -> Discrepancy:
    """MMD² by all pairs; its error is the jackknife's, leaving out one draw."""
    n, m = first.shape[-2], second.shape[-2]
    cross = kernel(first, second)
    unbiased = biased = -2 * cross.sum(axis=(-2, -1)) / (n * m)
    variance = np.zeros(unbiased.shape)
    for draws, size, other, axis in ((first, n, m, -1), (second, m, n, -2)):
        own, across = kernel(draws, draws), cross.sum(axis=axis)
        rows, diagonal = own.sum(axis=-1), np.diagonal(own, axis1=-2, axis2=-1)
        inside, trace = (rows - diagonal).sum(axis=-1), diagonal.sum(axis=-1)
        unbiased = unbiased + inside / (size * (size - 1))
        biased = biased + (inside + trace) / size**2
        left = (inside[..., None] - 2 * (rows - diagonal)) / ((size - 1) * (size - 2))
        left = left + 2 * across / ((size - 1) * other)
        variance += (size - 1) * left.var(axis=-1)
    error = np.sqrt(variance)
    return Discrepancy(Distance(unbiased, error), Distance(biased, error))


def wasserstein(first: np.ndarray, second: np.ndarray) -> Distance:
    """W₁ of every column, shape (…, d).

    Its error is that of the mean of Kantorovich's potential, ψ' = sign(G − F), over both.
    """
    n, m = first.shape[-2], second.shape[-2]
    pooled = np.concatenate([first, second], axis=-2)
    order = np.argsort(pooled, axis=-2, kind="stable")
    steps = np.diff(np.take_along_axis(pooled, order, axis=-2), axis=-2)
    excess = np.cumsum(np.where(order < n, 1 / n, -1 / m), axis=-2)[..., :-1, :]
    value = (np.abs(excess) * steps).sum(axis=-2)
    potential = np.zeros_like(pooled)
    rises = np.cumsum(-np.sign(excess) * steps, axis=-2)
    np.put_along_axis(potential, order[..., 1:, :], rises, axis=-2)
    variance = [part.var(axis=-2) for part in np.split(potential, [n], axis=-2)]
    return Distance(value, np.sqrt(variance[0] / n + variance[1] / m))


def divergence(first: np.ndarray, second: np.ndarray) -> Distance:
    """KL of every column on bins, nats, shape (…, d): a lower bound of that of the laws.

    Half a draw is added to every bin, so that none is empty.  Draws are taken to be continuous.
    The bins move with the draws: with λ = n/(n + m) and ρ the ratio at an edge of the first's
    density to that of both, the first's share P below it moves by (1 − λρ) δF − (1 − λ)ρ δG, and
    the value by g = log p/q + λ/(1 − λ) p/q of the bin below less that of the bin above, times δP.
    With ten draws in a bin the error is a third too large, with a hundred a twentieth.
    """
    n, m = first.shape[-2], second.shape[-2]
    pooled = np.concatenate([first, second], axis=-2)
    owner = np.argsort(pooled, axis=-2, kind="stable") < n
    edges = np.arange(BINS) * (n + m) // BINS
    sizes = np.diff(np.append(edges, n + m))[:, None]
    counts = np.add.reduceat(owner, edges, axis=-2, dtype=float)
    p, q = (counts + 0.5) / (n + BINS / 2), (sizes - counts + 0.5) / (m + BINS / 2)
    share, both = n / (n + m), sizes / (n + m)
    gain = np.log(p / q) + share / (1 - share) * p / q
    density = (p[..., 1:, :] + p[..., :-1, :]) / (both[1:] + both[:-1])
    falls = -np.diff(gain, axis=-2)
    variance = np.zeros(falls.shape[:-2] + falls.shape[-1:])
    for law, size, part in ((p, n, 1 - share * density), (q, m, (1 - share) * density)):
        # of a draw: the sum over all edges above its bin
        above = np.flip(np.cumsum(np.flip(falls * part, axis=-2), axis=-2), axis=-2)
        law, mean = law[..., :-1, :], (law[..., :-1, :] * above).sum(axis=-2)
        variance += ((law * above**2).sum(axis=-2) - mean**2) / size
    return Distance((p * np.log(p / q)).sum(axis=-2), np.sqrt(np.maximum(variance, 0)))


def classifier(first: np.ndarray, second: np.ndarray) -> Distance:
    """Held-out accuracy of logistic regression on linear and quadratic features, five folds.

    Rows are taken to be in random order; the longer array is cut to the shorter one's length.
    """
    n = min(first.shape[-2], second.shape[-2])
    both = np.concatenate([first[..., :n, :], second[..., :n, :]], axis=-2)
    label = np.repeat([0.0, 1.0], n)
    fold = np.tile(np.arange(n) % FOLDS, 2)
    design = _features(both)
    right = np.zeros(both.shape[:-2])
    for left_out in range(FOLDS):
        train, test = fold != left_out, fold == left_out
        slope = _logistic(design[..., train, :], label[train])
        guess = (design[..., test, :] @ slope[..., None])[..., 0] > 0
        right += (guess == (label[test] > 0)).sum(axis=-1)
    accuracy = right / (2 * n)
    return Distance(accuracy, np.sqrt(accuracy * (1 - accuracy) / (2 * n)))


def _features(x: np.ndarray) -> np.ndarray:
    """1, every column and every product of two, standardised."""
    i, j = np.triu_indices(x.shape[-1])
    x = _standard(x)
    columns = _standard(np.concatenate([x, x[..., i] * x[..., j]], axis=-1))
    return np.concatenate([np.ones((*x.shape[:-1], 1)), columns], axis=-1)


def _standard(x: np.ndarray) -> np.ndarray:
    scale = x.std(axis=-2, keepdims=True)
    return (x - x.mean(axis=-2, keepdims=True)) / np.where(scale > 0, scale, 1.0)


def _logistic(design: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Newton's method under a standard normal prior, which keeps it finite on separable data."""
    slope = np.zeros((*design.shape[:-2], design.shape[-1]))
    transposed = np.swapaxes(design, -1, -2)
    for _ in range(_NEWTON):
        p = expit((design @ slope[..., None])[..., 0])
        gradient = (transposed @ (label - p)[..., None])[..., 0] - slope
        hessian = (transposed * (p * (1 - p))[..., None, :]) @ design + np.eye(design.shape[-1])
        slope = slope + np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return slope


class Calibrated(NamedTuple):
    """One distance between two fits, beside what it is between halves of the second's own draws."""

    name: str
    value: float
    error: float
    null: float
    """Mean over the halvings, each half of the size that the two fits are compared at."""
    null_sd: float


@float64
def between(first: Estimate, second: Estimate, rng: np.random.Generator) -> tuple[Calibrated, ...]:
    """Every distance between the draws of two fits, in the second's standard deviations.

    Draws are thinned to their effective number and shuffled first.

    Raises:
        FitError: a fit has no draws, or too few that are independent, or nothing in common.
    """
    names = [str(name) for name in second.location.value if name in first.location.value]
    x, y = (_independent_draws(fit, names, rng) for fit in (first, second))
    n = min(len(x), len(y) // 2, DRAWS)
    if n < FEWEST:
        raise FitError(
            f"{len(x)} and {len(y)} independent draws: "
            f"at least {FEWEST} and {2 * FEWEST} are needed"
        )
    varies = np.ptp(y, axis=0) > 1e-12 * np.abs(y).max(axis=0)
    mean, scale = y[:, varies].mean(axis=0), y[:, varies].std(axis=0)
    x, y = ((draws[:, varies] - mean) / scale for draws in (x, y))
    every = flat_names({name: second.location.value[name] for name in names})
    labels = [label for label, kept in zip(every, varies, strict=True) if kept]
    bandwidth = float(median_distance(x[:n], y[:n]))
    nulls = []
    for _ in range(SPLITS):
        own = y[rng.permutation(len(y))[: 2 * n]]
        nulls.append([one.value for one in _every(own[:n], own[n:], labels, bandwidth).values()])
    null, null_sd = np.mean(nulls, axis=0), np.std(nulls, axis=0, ddof=1)
    found = _every(x[:n], y[:n], labels, bandwidth).items()
    return tuple(
        Calibrated(name, *map(float, (*one, null[i], null_sd[i])))
        for i, (name, one) in enumerate(found)
    )


def _independent_draws(
    estimate: Estimate, names: list[str], rng: np.random.Generator
) -> np.ndarray:
    """Reported scalars of nearly independent draws in random order, shape (n, m)."""
    if estimate.draws is None or not names:
        raise FitError("a distance between draws needs draws of the same quantities on both sides")
    group = estimate.draws["posterior"]
    arrays = [np.asarray(group[name].data) for name in names]
    flat = np.concatenate([x.reshape(*x.shape[:2], -1) for x in arrays], axis=-1)
    # draws that no Markov chain made are independent as they are
    dependent = "sample_stats" in estimate.draws
    effective = worst(flat).get("ess", np.inf) if dependent else np.inf
    kept = flat[:, :: int(np.ceil(max(1.0, flat[..., 0].size / effective)))]
    return rng.permutation(kept.reshape(-1, flat.shape[-1]))


def _every(
    x: np.ndarray, y: np.ndarray, labels: list[str], bandwidth: float
) -> dict[str, Distance]:
    """The distances by name, of draws of shape (n, m) each."""
    rbf, kid = discrepancy(gaussian(bandwidth), x, y), discrepancy(cubic, x, y)
    marginal = {
        f"{name} of {label}": Distance(value, error)
        for name, distance in (("Wasserstein distance", wasserstein), ("divergence", divergence))
        for label, value, error in zip(labels, *distance(x, y), strict=True)
    }
    return {
        "Fréchet distance": frechet(x, y),
        "MMD², normal kernel, unbiased": rbf.unbiased,
        "MMD², normal kernel, biased": rbf.biased,
        "MMD², cubic kernel (KID)": kid.unbiased,
        "classifier accuracy": classifier(x, y),
        **marginal,
    }
