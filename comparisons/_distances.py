"""Distances between two sets of independent draws, with their Monte Carlo errors.

* Fréchet, the Gaussian W₂²: ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁^½ Σ₂ Σ₁^½)^½).  The symmetric form: Σ₁Σ₂
  is not symmetric, and to decompose it as if it were is wrong unless the two commute.
* MMD²: E k(x, x′) + E k(y, y′) − 2 E k(x, y), by the U-statistic, which is unbiased and may be
  negative, or by the V-statistic, which is neither; with a Gaussian kernel at the median distance
  (CMMD), or (xᵀy/d + 1)³ (KID).
* Wasserstein, one coordinate at a time: ∫ |F − G|.
* C2ST: the share of held-out draws that a classifier attributes to the right set; ½ if none can.

Errors are grouped jackknives, of C2ST binomial.
References: Dowson & Landau (1982), J. Multivariate Analysis 12; Gretton et al. (2012), JMLR 13;
Bińkowski et al. (2018), arXiv:1801.01401; Lopez-Paz & Oquab (2017), arXiv:1610.06545.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import expit
from scipy.stats import wasserstein_distance

from comparisons._scalars import own_draws
from models._errors import FitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference._estimate import Estimate

GROUPS = 20
"""Of a jackknife."""
FOLDS = 5
"""Of the classifier's cross-validation."""
MOST = 1_000
"""Draws of each fit that are compared: kernels cost their square."""


type Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Distance(NamedTuple):
    """A number and its Monte Carlo standard error."""

    value: float
    error: float


def frechet_normal(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    """Squared Wasserstein distance of two normal laws by means (d,) and covariances (d, d)."""
    value, vector = np.linalg.eigh(s1)
    root = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s2 @ root), 0.0)).sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross)


def frechet(x: np.ndarray, y: np.ndarray) -> Distance:
    """Of the normal laws with the moments of two samples, (n, d) and (m, d); biased like 1/n."""

    def plug_in(a: np.ndarray, b: np.ndarray) -> float:
        first = np.atleast_2d(np.cov(a, rowvar=False))
        second = np.atleast_2d(np.cov(b, rowvar=False))
        return frechet_normal(a.mean(axis=0), first, b.mean(axis=0), second)

    return _jackknifed(plug_in, x, y)


def gaussian_kernel(bandwidth: float) -> Kernel:
    """exp(−‖x − y‖² / 2h²)."""
    return lambda x, y: np.exp(-0.5 * cdist(x, y, "sqeuclidean") / bandwidth**2)


def median_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Between all pairs of the pooled draws; the usual bandwidth."""
    pooled = np.concatenate([x, y])
    return float(np.median(cdist(pooled, pooled)[np.triu_indices(len(pooled), 1)]))


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(xᵀy/d + 1)³."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def maximum_mean_discrepancy(
    x: np.ndarray, y: np.ndarray, kernel: Kernel, *, unbiased: bool = True
) -> Distance:
    """MMD² of two samples, (n, d) and (m, d)."""
    within_x, within_y, across = kernel(x, x), kernel(y, y), kernel(x, y)

    def statistic(i: np.ndarray, j: np.ndarray) -> float:
        parts = within_x[np.ix_(i, i)], within_y[np.ix_(j, j)], across[np.ix_(i, j)]
        return mmd_statistic(*parts, unbiased=unbiased)

    return _jackknifed(statistic, np.arange(len(x)), np.arange(len(y)))


def mmd_statistic(
    within_x: np.ndarray, within_y: np.ndarray, across: np.ndarray, *, unbiased: bool
) -> float:
    """MMD² from the kernel's values: the U-statistic, or the V-statistic."""
    total = -2 * float(across.mean())
    for part in (within_x, within_y):
        n = len(part)
        total += float((part.sum() - np.trace(part)) / (n * (n - 1)) if unbiased else part.mean())
    return total


def wasserstein(x: np.ndarray, y: np.ndarray) -> Distance:
    """Of two samples of one coordinate, (n,) and (m,)."""
    return _jackknifed(lambda a, b: float(wasserstein_distance(a, b)), x, y)


def classifier_two_sample(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Distance:
    """Held-out accuracy of a logistic regression on the coordinates and their products."""
    count = min(len(x), len(y))
    rows = np.concatenate([x[:count], y[:count]])
    label = np.repeat([0.0, 1.0], count)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    i, j = np.triu_indices(rows.shape[1])
    features = np.column_stack([np.ones(len(rows)), rows, rows[:, i] * rows[:, j]])
    fold = rng.permutation(np.tile(np.arange(FOLDS), -(-len(rows) // FOLDS))[: len(rows)])
    right = np.empty(len(rows))
    for held in range(FOLDS):
        train, test = fold != held, fold == held
        slope = _logistic(features[train], label[train])
        right[test] = (features[test] @ slope > 0) == label[test]
    share = float(right.mean())
    return Distance(share, float(np.sqrt(max(share * (1 - share), 0.25 / len(rows)) / len(rows))))


def _logistic(features: np.ndarray, label: np.ndarray) -> np.ndarray:
    """By Newton's method, with a unit normal prior, which separable sets need."""
    slope = np.zeros(features.shape[1])
    for _ in range(25):
        chance = expit(features @ slope)
        gradient = features.T @ (label - chance) - slope
        weighted = features * (chance * (1 - chance))[:, None]
        step = np.linalg.solve(features.T @ weighted + np.eye(slope.size), gradient)
        slope = slope + step
        if np.abs(step).max() < 1e-8:
            break
    return slope


def _jackknifed(
    statistic: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray
) -> Distance:
    """A statistic, and its error by leaving out one group of draws at a time."""
    parts = []
    for one, without in ((x, 0), (y, 1)):
        group = np.arange(len(one)) * GROUPS // len(one)
        pairs = ((one[group != g], y) if without == 0 else (x, one[group != g])
                 for g in range(GROUPS))  # fmt: skip
        parts.append([statistic(*pair) for pair in pairs])
    variance = sum((GROUPS - 1) * np.var(part) for part in parts)
    return Distance(statistic(x, y), float(np.sqrt(variance)))


class Between(NamedTuple):
    """Distances of two fits by name, each beside that of two halves of the first one's draws."""

    found: dict[str, Distance]
    null: dict[str, Distance]


def between(
    first: Estimate, second: Estimate, names: Sequence[str], rng: np.random.Generator
) -> Between:
    """Every distance between the posterior draws of two fits, in units of the first's deviations.

    Args:
        first: the fit that sets the units and the null.
        second: the other.
        names: flat names of the scalars compared.
        rng: of the classifier's folds.

    Raises:
        FitError: a fit has no draws of them.
    """
    samples = []
    for fit in (first, second):
        draws = own_draws(fit, names)
        if draws is None:
            raise FitError("distances are between draws, and one of the fits has none")
        samples.append(_independent(draws))
    x, y = samples
    center, scale = x.mean(axis=0), x.std(axis=0)
    x, y = (x - center) / scale, (y - center) / scale
    half = len(x) // 2
    return Between(
        _all(x, y, names, rng), _all(x[0 : 2 * half : 2], x[1 : 2 * half : 2], names, rng)
    )


def _independent(draws: np.ndarray) -> np.ndarray:
    """As many evenly spaced draws of (chain, draw, m) as they are worth, at most `MOST`."""
    from arviz_stats.base.array import array_stats

    worth = min(
        array_stats.ess(draws[:, :, i], chain_axis=0, draw_axis=1) for i in range(draws.shape[2])
    )
    flat = draws.reshape(-1, draws.shape[2])
    count = max(GROUPS, min(MOST, int(worth), len(flat)))
    return flat[np.linspace(0, len(flat) - 1, count).round().astype(int)]


def _all(
    x: np.ndarray, y: np.ndarray, names: Sequence[str], rng: np.random.Generator
) -> dict[str, Distance]:
    gaussian = gaussian_kernel(median_distance(x, y))
    return {
        "Fréchet": frechet(x, y),
        "MMD², Gaussian kernel": maximum_mean_discrepancy(x, y, gaussian),
        "MMD², Gaussian kernel, biased": maximum_mean_discrepancy(x, y, gaussian, unbiased=False),
        "MMD², cubic kernel (KID)": maximum_mean_discrepancy(x, y, cubic_kernel),
        "classifier accuracy (C2ST)": classifier_two_sample(x, y, rng),
        **{f"Wasserstein, {name}": wasserstein(x[:, i], y[:, i]) for i, name in enumerate(names)},
    }
