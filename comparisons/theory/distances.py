"""Distances between draws: which are unbiased, how the others fall with N, and what they detect.

* W₂² of normal laws is ‖Δμ‖² + tr(Σ₁ + Σ₂ − 2(Σ₁^½ Σ₂ Σ₁^½)^½).  tr (Σ₁Σ₂)^½ equals the last trace,
  but Σ₁Σ₂ is symmetric only if the two commute: `eigh` of it sees one triangle, and in the plane,
  where tr √P = √(tr P + 2 √det P), takes p₁₁p₂₂ − p₂₁² for the determinant.
* Of equal laws, plug-in Fréchet has mean c/N, c = 2 tr Σ + Σ_ij λ_iλ_j (1 + δ_ij)/(λ_i + λ_j), the
  V-statistic of MMD² has 2(k(x, x) − E k(x, x'))/N, and W₁ falls as (2/√π) ∫ √(F(1 − F))/√N, being
  ∫ E|B − B'|/N with B and B' binomial (N, F); U-statistics have mean MMD² at any N.  Kernel means
  of normal laws are closed forms.
* KL on B bins has mean (B − 1)(1/N + 1/M)/2 if the laws are equal, and Σ p_b log p_b/q_b beside it.
* A classifier of N(0, 1) from N(δ, 1) is at best right with probability Φ(δ/2).
* Against shifts of order 1/√N, N times the U-statistic is in the limit ‖g‖² − tr C, g normal with
  mean √N (μ_q − μ_p) and covariance C = C_p + C_q in feature space, N times Fréchet on the line the
  squares of two normal numbers, √N W₁ an integral over Brownian bridges.  These laws, at the shift
  itself, give the powers.  If its level holds at every pair of equal laws, no test has more power
  against a shift δ than the difference of means, Φ(δ√(N/2) − z).
* A test by permutations of the labels keeps its level whatever the distance, and finds a large
  shift.

References: Dowson & Landau (1982), J. Multivar. Anal. 12; Heusel et al. (2017), NeurIPS; Chong &
Forsyth (2020), CVPR; Bińkowski et al. (2018), ICLR; Jayasumana et al. (2024), CVPR; Gretton et al.
(2012), JMLR 13, thm. 12; del Barrio, Giné & Matrán (1999), Ann. Probab. 27; Lopez-Paz & Oquab
(2017), ICLR.
"""

import numpy as np
from scipy.stats import binom, norm

from comparisons import distances
from comparisons.distances import classifier, discrepancy, divergence, frechet, normal_frechet
from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.theory._claims import at_least, equal, mean, slope
from comparisons.theory._power import BANDWIDTH, accuracy, chunked, kid, permutation_tests, power

ROUNDING = 1e-10  # relative: roots of 3 × 3 matrices of condition below 100 lose six digits at most
BOUND = 0.05  # relative, or of a standard deviation: the project's bound for both
BIAS = 0.2  # of the statistic's own sd: such a bias adds 4 % to its mean squared error
RATE = 0.1
"""Of an exponent that is told from its neighbours −½, −1 and −3⁄2; the next order of W₁, whose
tails beyond 1/N do not count yet, takes 0.03 from its slope."""
ACCURACY = 0.01  # three coefficients learnt from 800 rows lose 3/(4 · 800) of the accuracy or less

REPLICATES, ROWS = 4_000, (16, 32, 64, 128)  # pairs of samples at effort 1, and their sizes N
FRECHET = 3  # times as many for the Fréchet distance, which is cheap and varies most
CLASSIFIED, CLASSIFIERS = 500, 300
BINNED, BINNINGS = 1_000, 3_000  # rows of each sample whose divergence is taken, and repetitions


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Closed forms, means at finite N, accuracy and power."""
    yield from closed_forms(rng)
    yield from at_finite_n(rng, effort)
    yield from means(rng, effort)
    yield from binned(rng, effort)
    yield from best_accuracy(rng, effort)
    yield from unbiased_at_finite_n(rng, effort)
    yield from power(rng, effort)
    yield from permutation_tests(rng, effort)


def _shortcut(one: np.ndarray, other: np.ndarray) -> float:
    """tr(Σ₁ + Σ₂) − 2 tr (Σ₁Σ₂)^½ by `eigh`, which the product is not made for."""
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(one @ other), 0.0))
    return float(np.trace(one + other) - 2 * roots.sum())


def _turned(angle: float) -> np.ndarray:
    """diag(4, ¼) with its axes turned by an angle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([4.0, 0.25]) @ turn.T


def _in_plane(one: np.ndarray, other: np.ndarray, *, symmetric: bool = False) -> float:
    """The distance by tr √P = √(tr P + 2 √(p₁₁p₂₂ − p₁₂p₂₁)), or with p₂₁² for p₁₂p₂₁."""
    p = one @ other
    off = p[1, 0] ** 2 if symmetric else p[0, 1] * p[1, 0]
    root = np.sqrt(np.trace(p) + 2 * np.sqrt(p[0, 0] * p[1, 1] - off))
    return float(np.trace(one + other) - 2 * root)


def closed_forms(rng: np.random.Generator) -> Exhibits:
    """The distance of known laws, right and wrong."""
    zero, shift = np.zeros(3), np.array([1.0, -0.5, 0.25])
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    first, second = np.array([0.5, 1.0, 4.0]), np.array([2.0, 1.5, 0.25])
    one, other = (basis @ np.diag(values) @ basis.T for values in (first, second))
    expected = shift @ shift + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    found = float(normal_frechet(zero, one, shift, other))
    statement = "where covariances commute, the Fréchet distance is ‖Δμ‖² + Σ (√λ₁ − √λ₂)²"
    yield equal(statement, "Fréchet distance, same axes", found, expected, ROUNDING * expected)
    location, root = rng.normal(size=(100, 3, 3)), rng.normal(size=(100, 3, 3, 6))
    covariance = root @ np.swapaxes(root, -1, -2)
    sides = [
        np.sqrt(normal_frechet(location[:, i], covariance[:, i], location[:, j], covariance[:, j]))
        for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    slack = (sides[0] + sides[1] - sides[2]).min()
    statement = "its square root obeys the triangle inequality"
    yield at_least(statement, "least slack of 100 triangles", slack, 0.0, ROUNDING)
    # axes turned against each other in the plane, and the shortcut's number
    origin, one, other = np.zeros(2), _turned(0.0), _turned(np.pi / 6)
    true, found = _in_plane(one, other), float(normal_frechet(origin, one, origin, other))
    statement = "the symmetric form is right where covariances do not commute"
    yield equal(statement, "Fréchet distance, axes 30° apart", found, true, ROUNDING * true)
    statement = "the root of Σ₁Σ₂, as if it were symmetric, has p₂₁² for p₁₂p₂₁ in its determinant"
    about = "shortcut's Fréchet distance, axes 30° apart"
    short, wrong = _shortcut(one, other), _in_plane(one, other, symmetric=True)
    yield equal(statement, about, short, wrong, ROUNDING * true)
    statement = "the shortcut's number is not the Fréchet distance where covariances do not commute"
    about = "relative error of the shortcut, axes 30° apart, against what would not matter"
    yield at_least(statement, about, abs(short / true - 1), BOUND)
    angles = np.linspace(0.0, np.pi / 2, 46)
    turned, degrees = [_turned(angle) for angle in angles], np.degrees(angles)
    found = [float(normal_frechet(origin, one, origin, other)) for other in turned]
    shortcut = [_shortcut(one, other) for other in turned]
    closed = [_in_plane(one, other) for other in turned]
    title = "Fréchet distance of two normal laws whose axes are turned against each other"
    lines = {"symmetric form": (degrees, found), "shortcut": (degrees, shortcut)}
    yield Curves(title, "angle, degrees", "distance", lines, {"closed form": (degrees, closed)})


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


def unbiased_at_finite_n(rng: np.random.Generator, effort: int) -> Exhibits:
    """Means and standard deviations of what has mean 0, or ½, at every N, of a law from itself."""
    ladder = np.array(ROWS)
    # of a degenerate U-statistic: pairs within and across
    pairs = np.sqrt(4 / (ladder * (ladder - 1.0)) + 4 / ladder**2)
    for name, statistic, replicates, expected, sds in (
        ("KID", kid, REPLICATES * 3, 0.0, pairs),
        ("classifier accuracy", accuracy, CLASSIFIERS * 3, 0.5, ladder**-0.5),
    ):
        samples = [rng.normal(size=(2, replicates * effort, n, 1)) for n in ROWS]
        found = [chunked(statistic, *pair) for pair in samples]
        statement = f"{name} of a law from itself has the same mean at every N"
        for n, values in zip(ROWS, found, strict=True):
            about = f"mean, N = {n}: {name}"
            yield equal(statement, about, mean(values), expected, BIAS * values.std())
        sd = np.array([values.std(ddof=1) for values in found])
        away = [(values - values.mean()) / values.std() for values in found]
        tails = np.array([(one**4).mean() for one in away])
        error = np.sqrt((tails - 1) / (4 * replicates * effort))
        rate = slope(np.log(ladder), np.log(sd), error)
        exponent = slope(np.log(ladder), np.log(sds)).value
        statement = f"the sd of {name} of a law from itself falls as a power of N"
        yield equal(statement, f"slope of log sd in log N: {name}", rate, exponent, RATE)


def kernel_mean(difference: np.ndarray, covariance: np.ndarray) -> float:
    """E k(x, y) of the normal kernel where x − y ~ N(difference, covariance)."""
    total = covariance / BANDWIDTH**2 + np.eye(difference.size)
    quadratic = difference @ np.linalg.solve(total, difference) / BANDWIDTH**2
    return float(np.exp(-quadratic / 2) / np.sqrt(np.linalg.det(total)))


type Normal = tuple[np.ndarray, np.ndarray]
"""Mean and covariance, shapes (d,) and (d, d)."""


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
    n, d = 64, 2
    zero, unit = standard = np.zeros(d), np.eye(d)
    plants: dict[str, Normal] = {
        "equal laws": standard,
        "shift of 0.5": (np.array([0.5, 0.0]), unit),
        "sd × 1.5": (zero, 2.25 * unit),
    }

    def both(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = discrepancy(distances.gaussian(BANDWIDTH), x, y)
        return np.stack([found.unbiased.value, found.biased.value], axis=-1)

    rows = []
    for plant, law in plants.items():
        location, covariance = law
        x = rng.normal(size=(REPLICATES * effort, n, d))
        y = location + rng.normal(size=x.shape) @ np.linalg.cholesky(covariance).T
        within = kernel_mean(zero, 2 * unit) + kernel_mean(zero, 2 * covariance)
        normal = within - 2 * kernel_mean(location, unit + covariance)
        third = cubic_mean(standard, standard) - 2 * cubic_mean(standard, law)
        third += cubic_mean(law, law)
        unbiased, biased = chunked(both, x, y).T
        cubes = chunked(lambda x, y: discrepancy(distances.cubic, x, y).unbiased.value, x, y)
        for name, values, expected in (
            ("MMD² of the normal kernel, U-statistic", unbiased, normal),
            ("MMD² of the normal kernel, V-statistic", biased, normal + (2 - within) / n),
            ("KID", cubes, third),
        ):
            found, sd = mean(values), float(values.std(ddof=1))
            rows.append((name, plant, found.value, expected, sd))
            statement = f"{name} has the mean that theory gives"
            yield equal(statement, f"mean, {plant}, N = {n}: {name}", found, expected, BIAS * sd)
    pair = (rng.normal(location, size=(100 * effort, 2_000, 1)) for location in (0.0, 1.0))
    statement = "the Wasserstein distance of a law from a shifted one is the shift"
    found = mean(distances.wasserstein(*pair).value)
    yield equal(statement, "mean W₁, shift of 1, N = 2000", found, 1.0, BOUND)
    columns = ("distance", "planted", "mean", "by theory", "standard deviation")
    yield Table(f"kernel distances of {n} rows in {d} dimensions", columns, tuple(rows))


def _on_bins(shift: float) -> float:
    """KL of N(0, 1) from N(shift, 1) on bins of equal probability under their mean."""
    x = np.linspace(-9.0, 9.0 + shift, 200_001)
    below = norm.cdf(x), norm.cdf(x - shift)
    edges = np.interp(np.arange(1, distances.BINS) / distances.BINS, sum(below) / 2, x)
    p, q = (np.diff(norm.cdf(edges - s), prepend=0.0, append=1.0) for s in (0.0, shift))
    return float((p * np.log(p / q)).sum())


def binned(rng: np.random.Generator, effort: int) -> Exhibits:
    """Divergences on bins of equal laws and of shifted ones."""
    shape, noise = (BINNINGS * effort, BINNED, 1), (distances.BINS - 1) / BINNED
    statement = "the divergence on bins has the mean that theory gives"
    for shift, bound in ((0.0, BOUND * noise), (0.5, BOUND * _on_bins(0.5) + noise)):
        x, y = rng.normal(size=shape), rng.normal(shift, size=shape)
        found = mean(chunked(lambda x, y: divergence(x, y).value[:, 0], x, y))
        about = f"mean KL, shift of {shift:g}, N = {BINNED}"
        yield equal(statement, about, found, _on_bins(shift) if shift else noise, bound)


def best_accuracy(rng: np.random.Generator, effort: int) -> Exhibits:
    """Held-out accuracy against the best possible."""
    edge = 2.0 * np.sqrt(2 * np.log(2.0) / 3)  # where N(0, 1) and N(0, 4) have the same density
    best = {
        "shift of 0": (0.0, 1.0, 0.5),
        "shift of 0.5": (0.5, 1.0, norm.cdf(0.25)),
        "shift of 1": (1.0, 1.0, norm.cdf(0.5)),
        "sd × 2": (0.0, 2.0, norm.cdf(edge) - 0.5 + norm.sf(edge / 2)),
    }
    shape = CLASSIFIERS * effort, CLASSIFIED, 1
    statement = "a logistic regression tells two normal laws apart as often as can be"
    for plant, (location, sd, expected) in best.items():
        found = classifier(rng.normal(size=shape), rng.normal(location, sd, size=shape))
        about = f"held-out accuracy, {plant}"
        yield equal(statement, about, mean(found.value), expected, ACCURACY)
