"""Distances between draws: FID, KID, CMMD and others at finite N, against closed forms.

* W₂² of normal laws (FID) is ‖Δμ‖² + tr(Σ₁ + Σ₂ − 2(Σ₁^½ Σ₂ Σ₁^½)^½).  tr (Σ₁Σ₂)^½ equals the last
  trace, but Σ₁Σ₂ is symmetric only if the two commute.  In the plane tr √P = √(tr P + 2 √det P).
* Of equal laws, plug-in Fréchet has mean c/N, c = 2 tr Σ + Σ_ij λ_iλ_j (1 + δ_ij)/(λ_i + λ_j), the
  V-statistic of MMD² has 2(k(x, x) − E k(x, x'))/N, and W₁ falls as (2/√π) ∫ √(F(1 − F))/√N, being
  ∫ E|B − B'|/N with B and B' binomial (N, F).
* U-statistics of MMD², by a cubic kernel (KID) or a normal one (CMMD), have mean MMD² at any N.
  Kernel means of normal laws are closed forms.
* KL on B bins has mean (B − 1)(1/N + 1/M)/2 if the laws are equal, and Σ p_b log p_b/q_b beside it.
* A classifier of N(0, 1) from N(δ, 1) is at best right with probability Φ(δ/2).

What halves of one method's own draws make of each, `distances.between` says beside it.
References: Dowson & Landau (1982), J. Multivar. Anal. 12; Heusel et al. (2017), NeurIPS; Chong &
Forsyth (2020), CVPR; Bińkowski et al. (2018), ICLR; Jayasumana et al. (2024), CVPR; Gretton et al.
(2012), JMLR 13; del Barrio, Giné & Matrán (1999), Ann. Probab. 27; Lopez-Paz & Oquab (2017), ICLR.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import binom, norm

from comparisons import distances
from comparisons.distances import classifier, discrepancy, divergence, frechet, normal_frechet
from comparisons.exhibits import Curves, Exhibits
from comparisons.theory._claims import equal, mean, slope

ROUNDING = 1e-10  # relative: roots of 3 × 3 matrices of condition below 100 lose six digits at most
BOUND = 0.05  # relative, or of a standard deviation: the project's bound for both
BIAS = 0.2  # of the statistic's own sd: such a bias adds 4 % to its mean squared error
RATE = 0.1
"""Of an exponent that is told from its neighbours −½, −1 and −3⁄2; the next order of W₁, whose
tails beyond 1/N do not count yet, takes 0.03 from its slope."""
ACCURACY = 0.01  # three coefficients learnt from 800 rows lose 3/(4 · 800) of the accuracy or less

BANDWIDTH = 1.5  # of the normal kernel
REPLICATES, ROWS = 4_000, (16, 32, 64, 128)  # pairs of samples at effort 1, and their sizes N
FRECHET = 3  # times as many for the Fréchet distance, which is cheap and varies most
SMALL = 64  # rows of the samples by which kernels are held to their means
CLASSIFIED, CLASSIFIERS = 500, 300
BINNED, BINNINGS = 1_000, 3_000  # rows of each sample whose divergence is taken, and repetitions
AT_ONCE = 30_000  # kernel entries at a time: they stay in the cache

type Normal = tuple[np.ndarray, np.ndarray]
"""Mean and covariance, shapes (d,) and (d, d)."""
type Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x, y) ↦ a number for each pair of samples, shapes (R, N, d)."""


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Closed forms, means at finite N, and what can be told apart."""
    yield from closed_forms(rng)
    yield from at_finite_n(rng, effort)
    yield from means(rng, effort)
    yield from told_apart(rng, effort)


def chunked(statistic: Statistic, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A function of replicates, few enough at a time for all pairs of rows to fit in memory."""
    step = max(1, AT_ONCE // x.shape[-2] ** 2)
    parts = [statistic(x[i : i + step], y[i : i + step]) for i in range(0, len(x), step)]
    return np.concatenate(parts)


def closed_forms(rng: np.random.Generator) -> Exhibits:
    """The Fréchet distance of known laws."""
    shift, basis = np.array([1.0, -0.5, 0.25]), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    first, second = np.array([0.5, 1.0, 4.0]), np.array([2.0, 1.5, 0.25])
    one, other = (basis @ np.diag(values) @ basis.T for values in (first, second))
    expected = shift @ shift + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    found = normal_frechet(np.zeros(3), one, shift, other)
    statement = "where covariances commute, the Fréchet distance is ‖Δμ‖² + Σ (√λ₁ − √λ₂)²"
    yield equal(statement, "Fréchet distance, same axes", found, expected, ROUNDING * expected)
    turn = np.array([[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]])
    one, origin = np.diag([4.0, 0.25]), np.zeros(2)
    other = turn @ one @ turn.T
    root = np.sqrt(np.trace(one @ other) + 2 * np.sqrt(np.linalg.det(one @ other)))
    true = float(np.trace(one + other) - 2 * root)
    found = normal_frechet(origin, one, origin, other)
    statement = "the symmetric form is right where covariances do not commute"
    yield equal(statement, "Fréchet distance, axes 30° apart", found, true, ROUNDING * true)


def wasserstein_bias(n: int) -> float:
    """∫ E|B − B'|/n dx for the standard normal law, with E|B − B'| = 2 Σ_k P(B ≤ k) P(B > k)."""
    x = np.linspace(-7.0, 7.0, 561)
    below = binom.cdf(np.arange(n), n, norm.cdf(x)[:, None])
    return float(2 / n * (below * (1 - below)).sum() * (x[1] - x[0]))


def at_finite_n(rng: np.random.Generator, effort: int) -> Exhibits:
    """Plug-in distances of a law from itself along a ladder of N."""
    eigenvalues, ladder = np.array([1.0, 2.0, 4.0]), np.array(ROWS)
    i, j, sd = eigenvalues[:, None], eigenvalues, np.sqrt(eigenvalues)
    # c of the head of this file
    c = 2 * eigenvalues.sum() + (i * j * (1 + np.eye(3)) / (i + j)).sum()
    within = kernel_mean(np.zeros(3), 2 * np.diag(eigenvalues))
    theories = {
        "Fréchet": (float(c) / ladder, -1.0),
        "MMD², V-statistic": (2 * (1 - within) / ladder, -1.0),
        "Wasserstein": (np.array([wasserstein_bias(n) for n in ROWS]), -0.5),
    }
    rungs, kernel = [], distances.gaussian(BANDWIDTH)
    for n in ROWS:
        pairs = (rng.normal(size=(2, REPLICATES, n, 3)) * sd for _ in range(FRECHET * effort))
        plugged = np.concatenate([frechet(*pair).value for pair in pairs])
        x, y = rng.normal(size=(2, REPLICATES * effort, n, 3)) * sd
        biased = chunked(lambda x, y: discrepancy(kernel, x, y).biased.value, x, y)
        along = distances.wasserstein(x[..., :1], y[..., :1]).value
        rungs.append([mean(values) for values in (plugged, biased, along)])
    measured, theory = {}, {}
    for (name, (expected, exponent)), found in zip(
        theories.items(), zip(*rungs, strict=True), strict=True
    ):
        values, errors = np.array(found).T
        measured[name], theory[name] = (ROWS, values), (ROWS, expected)
        statement = f"the {name} distance of a law from itself has the mean that theory gives"
        about = f"mean over that of theory: {name}, N = {ROWS[-1]}"
        yield equal(statement, about, found[-1].per(expected[-1]), 1.0, BOUND)
        rate = slope(np.log(ladder), np.log(values), errors / values)
        statement = f"the {name} distance of a law from itself falls as a power of N"
        yield equal(statement, f"slope of log mean in log N: {name}", rate, exponent, RATE)
    title = "distances of a law from itself"
    yield Curves(title, "rows N of each sample", "mean distance", measured, theory, "xy")


def kernel_mean(difference: np.ndarray, covariance: np.ndarray) -> float:
    """E k(x, y) of the normal kernel where x − y ~ N(difference, covariance)."""
    total = covariance / BANDWIDTH**2 + np.eye(difference.size)
    quadratic = difference @ np.linalg.solve(total, difference) / BANDWIDTH**2
    return float(np.exp(-quadratic / 2) / np.sqrt(np.linalg.det(total)))


def cubic_mean(p: Normal, q: Normal) -> float:
    """E (xᵀy/d + 1)³ of independent x ~ p and y ~ q, by their moments up to the third."""
    d = p[0].size

    def moments(m: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, ...]:
        third = np.einsum("i,jk->ijk", m, s)
        third = third + third.transpose(1, 0, 2) + third.transpose(1, 2, 0)
        return m, s + np.outer(m, m), third + np.einsum("i,j,k->ijk", m, m, m)

    parts = zip(moments(*p), moments(*q), strict=True)
    first, second, third = (float((a * b).sum()) for a, b in parts)
    return 1 + 3 * first / d + 3 * second / d**2 + third / d**3


def means(rng: np.random.Generator, effort: int) -> Exhibits:
    """U- and V-statistics against MMD² in closed form, at a small N and for three plants."""
    zero, unit = standard = np.zeros(2), np.eye(2)
    plants: dict[str, Normal] = {
        "equal laws": standard,
        "shift of 0.5": (np.array([0.5, 0.0]), unit),
        "sd × 1.5": (zero, 2.25 * unit),
    }

    def all_three(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = discrepancy(distances.gaussian(BANDWIDTH), x, y)
        cubic = discrepancy(distances.cubic, x, y).unbiased
        return np.stack([found.unbiased.value, found.biased.value, cubic.value], axis=-1)

    names = "CMMD, U-statistic", "CMMD, V-statistic", "KID"
    for plant, law in plants.items():
        location, covariance = law
        x = rng.normal(size=(REPLICATES * effort, SMALL, 2))
        y = location + rng.normal(size=x.shape) @ np.linalg.cholesky(covariance).T
        within = kernel_mean(zero, 2 * unit) + kernel_mean(zero, 2 * covariance)
        normal = within - 2 * kernel_mean(location, unit + covariance)
        third = cubic_mean(standard, standard) - 2 * cubic_mean(standard, law)
        expected = normal, normal + (2 - within) / SMALL, third + cubic_mean(law, law)
        found = chunked(all_three, x, y).T
        for name, values, theory in zip(names, found, expected, strict=True):
            statement, about = f"{name} has the mean that theory gives", f"mean, {plant}: {name}"
            bound = BIAS * float(values.std())
            yield equal(statement, f"{about}, N = {SMALL}", mean(values), theory, bound)


def _on_bins(shift: float, noise: float) -> float:
    """Mean KL of N(0, 1) from N(shift, 1) on bins of equal probability under their mean.

    To first order in 1/N, that of equal laws being the noise: half of it is of the first sample,
    and the other half is (Σ p²/q − 1)/(B − 1) times as large.
    """
    x = np.linspace(-9.0, 9.0 + shift, 200_001)
    below = norm.cdf(x), norm.cdf(x - shift)
    edges = np.interp(np.arange(1, distances.BINS) / distances.BINS, sum(below) / 2, x)
    p, q = (np.diff(norm.cdf(edges - s), prepend=0.0, append=1.0) for s in (0.0, shift))
    second = ((p / q).sum() - 1) / (distances.BINS - 1)
    return float((p * np.log(p / q)).sum()) + noise * (1 + second) / 2


def told_apart(rng: np.random.Generator, effort: int) -> Exhibits:
    """Distances on the line of a law from itself and from shifted ones."""
    shape, noise = (BINNINGS * effort, BINNED, 1), (distances.BINS - 1) / BINNED
    statement = "the divergence on bins has the mean that theory gives"
    for shift in (0.0, 0.5):
        x, y = rng.normal(size=shape), rng.normal(shift, size=shape)
        found = mean(chunked(lambda x, y: divergence(x, y).value[:, 0], x, y))
        about = f"mean KL, shift of {shift:g}, N = {BINNED}"
        expected = _on_bins(shift, noise)
        yield equal(statement, about, found, expected, BOUND * expected)
    shape = CLASSIFIERS * effort, CLASSIFIED, 1
    statement = "a logistic regression tells two normal laws apart as often as can be"
    for shift in (0.0, 1.0):
        found = classifier(rng.normal(size=shape), rng.normal(shift, size=shape))
        about, best = f"held-out accuracy, shift of {shift:g}", float(norm.cdf(shift / 2))
        yield equal(statement, about, mean(found.value), best, ACCURACY)
