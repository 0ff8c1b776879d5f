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

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
from scipy.special import gammaln
from scipy.stats import binom, norm

from comparisons.distances import (
    BINS,
    Distance,
    classifier,
    cubic,
    discrepancy,
    divergence,
    frechet,
    gaussian,
    normal_frechet,
    wasserstein,
)
from comparisons.exhibits import Claim, Curves, Table
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comparisons.exhibits import Shown

ROUNDING = 1e-10
"""Relative: roots of 3 × 3 matrices of condition below 100 lose six digits at most."""
BOUND = 0.05
"""Relative, or of a standard deviation: the project's bound for spreads and locations."""
BIAS = 0.2
"""Of the statistic's own standard deviation: such a bias adds 4 % to its mean squared error."""
RATE = 0.1
"""Of an exponent that is told from its neighbours −½, −1 and −3⁄2; the next order of W₁, whose
tails beyond 1/N do not count yet, takes 0.03 from its slope."""
ACCURACY = 0.01
"""What three coefficients learnt from 800 rows lose is 3/(4 · 800) of the accuracy or less."""
POWER = 0.05
"""Of a probability: what a rejection rate must not be off by at N = 100, the project's bound."""
OFF = 0.5
"""Of its level: what the rejection rate of equal laws must not be off by."""

REPLICATES, ROWS = 4_000, (16, 32, 64, 128)
"""Pairs of samples at effort 1, and their sizes N."""
FRECHET = 3
"""Times as many for the Fréchet distance, which is cheap and varies most."""
BANDWIDTH, LEVEL = 1.5, 0.05
TESTED, TESTS, SHIFTS = 100, 5_000, (0.0, 0.2, 0.35, 0.5)
"""Rows of each sample of a test, repetitions, and the shifts planted, in standard deviations."""
CHEAP, CLASSIFIER_TESTS = 2, 1_000
"""Times as many where no kernel is evaluated, and repetitions where classifiers are trained."""
LIMIT = 100_000
"""Draws of a limit law."""
CLASSIFIED, CLASSIFIERS = 500, 300
BINNED, BINNINGS = 1_000, 3_000
"""Rows of each sample whose divergence is taken, and repetitions."""
PERMUTED, ORDERS, LARGE = 40, 19, 1.5
"""Rows of a test by permutations, how many it makes, and the shift that each finds; 1 in 20 is
`LEVEL`."""
PERMUTATIONS = {0.0: 3_000, LARGE: 200}
"""Tests by shift: rates near 1 vary less."""
AT_ONCE = 30_000
"""Kernel entries at a time: they stay in the cache."""


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Closed forms, means at finite N, accuracy and power."""
    yield from closed_forms(rng)
    yield from at_finite_n(rng, effort)
    yield from means(rng, effort)
    yield from binned(rng, effort)
    yield from accuracy(rng, effort)
    yield from unbiased_at_finite_n(rng, effort)
    yield from power(rng, effort)
    yield from permutation_tests(rng, effort)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Of independent replicates."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


# --- Fréchet of known laws ------------------------------------------------------------------------


def shortcut(covariance_1: np.ndarray, covariance_2: np.ndarray) -> float:
    """tr(Σ₁ + Σ₂) − 2 tr (Σ₁Σ₂)^½ by `eigh`, which the product is not made for."""
    eigenvalues = np.linalg.eigvalsh(covariance_1 @ covariance_2)
    roots = np.sqrt(np.maximum(eigenvalues, 0.0))
    return float(np.trace(covariance_1 + covariance_2) - 2 * roots.sum())


def turned(angle: float) -> np.ndarray:
    """diag(4, ¼) with its axes turned by an angle."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([4.0, 0.25]) @ turn.T


def _of_plane(covariance_1: np.ndarray, covariance_2: np.ndarray, off: float) -> float:
    """By tr √P = √(tr P + 2 √(p₁₁p₂₂ − off)), which is right with off = p₁₂p₂₁."""
    product = covariance_1 @ covariance_2
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(product[0, 0] * product[1, 1] - off))
    return float(np.trace(covariance_1 + covariance_2) - 2 * root)


def closed_forms(rng: np.random.Generator) -> Iterator[Shown]:
    """The distance of known laws, right and wrong."""
    zero, shift = np.zeros(3), np.array([1.0, -0.5, 0.25])
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    first, second = np.array([0.5, 1.0, 4.0]), np.array([2.0, 1.5, 0.25])
    same_axes = (basis @ np.diag(values) @ basis.T for values in (first, second))
    expected = float(shift @ shift + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum())
    found = float(normal_frechet(zero, next(same_axes), shift, next(same_axes)))
    yield Claim(
        "where covariances commute, the Fréchet distance is ‖Δμ‖² + Σ (√λ₁ − √λ₂)²",
        Verdict("Fréchet distance, same axes", found, expected, 0.0, ROUNDING * expected),
    )
    laws = rng.normal(size=(100, 3, 3)), rng.normal(size=(100, 3, 3, 6))
    mean, covariance = laws[0], laws[1] @ np.swapaxes(laws[1], -1, -2)
    sides = [
        np.sqrt(normal_frechet(mean[:, i], covariance[:, i], mean[:, j], covariance[:, j]))
        for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    slack = float((sides[0] + sides[1] - sides[2]).min())
    yield Claim(
        "its square root obeys the triangle inequality",
        Verdict("least slack of 100 triangles", slack, 0.0, 0.0, ROUNDING, relation="at_least"),
    )
    origin, one, angle = np.zeros(2), turned(0.0), np.pi / 6
    other = turned(angle)
    product = one @ other
    true = _of_plane(one, other, product[0, 1] * product[1, 0])
    yield Claim(
        "the symmetric form is right where covariances do not commute",
        Verdict(
            "Fréchet distance, axes 30° apart",
            float(normal_frechet(origin, one, origin, other)), true, 0.0, ROUNDING * true,
        ),
    )  # fmt: skip
    yield Claim(
        "taking the root of Σ₁Σ₂ as if it were symmetric puts p₂₁² for p₁₂p₂₁ in its determinant",
        Verdict(
            "shortcut's Fréchet distance, axes 30° apart",
            shortcut(one, other), _of_plane(one, other, product[1, 0] ** 2), 0.0, ROUNDING * true,
        ),
    )  # fmt: skip
    yield Claim(
        "the shortcut's number is not the Fréchet distance where covariances do not commute",
        Verdict(
            "relative error of the shortcut, axes 30° apart, against what would not matter",
            abs(shortcut(one, other) / true - 1), BOUND, 0.0, 0.0, relation="at_least",
        ),
    )  # fmt: skip
    angles = np.linspace(0.0, np.pi / 2, 46)
    pairs = [(one, turned(a)) for a in angles]
    degrees = np.degrees(angles).tolist()
    yield Curves(
        "Fréchet distance of two normal laws whose axes are turned against each other",
        "angle, degrees",
        "distance",
        {
            "symmetric form": (
                degrees, [float(normal_frechet(origin, a, origin, b)) for a, b in pairs],
            ),
            "shortcut": (degrees, [shortcut(a, b) for a, b in pairs]),
        },
        {
            "closed form": (
                degrees, [_of_plane(a, b, (a @ b)[0, 1] * (a @ b)[1, 0]) for a, b in pairs],
            ),
        },
    )  # fmt: skip


# --- dependence on N ------------------------------------------------------------------------------


def frechet_bias(eigenvalues: np.ndarray) -> float:
    """c of the head of this file: the second-order term of W₂² in two sample covariances."""
    i, j = eigenvalues[:, None], eigenvalues
    return float(2 * eigenvalues.sum() + (i * j * (1 + np.eye(j.size)) / (i + j)).sum())


def wasserstein_bias(n: int) -> float:
    """∫ E|B − B'|/n dx for the standard normal law, with E|B − B'| = 2 Σ_k P(B ≤ k) P(B > k)."""
    x = np.linspace(-7.0, 7.0, 561)
    below = binom.cdf(np.arange(n), n, norm.cdf(x)[:, None])
    return float(2 / n * (below * (1 - below)).sum() * (x[1] - x[0]))


def at_finite_n(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Plug-in distances of a law from itself along a ladder of N."""
    eigenvalues = np.array([1.0, 2.0, 4.0])
    ladder, sd = np.array(ROWS), np.sqrt(eigenvalues)
    found = {"Fréchet": [], "MMD², V-statistic": [], "Wasserstein": []}
    within = kernel_mean(np.zeros(3), 2 * np.diag(eigenvalues))
    theories = {
        "Fréchet": (frechet_bias(eigenvalues) / ladder, -1.0),
        "MMD², V-statistic": (2 * (1 - within) / ladder, -1.0),
        "Wasserstein": (np.array([wasserstein_bias(n) for n in ROWS]), -0.5),
    }
    for n in ROWS:
        shape = REPLICATES * effort, n
        plugged = []
        for _ in range(FRECHET * effort):
            x, y = (rng.normal(size=(REPLICATES, n, 3)) * sd for _ in range(2))
            plugged.append(frechet(x, y).value)
        found["Fréchet"].append(mean_and_error(np.concatenate(plugged)))
        x, y = (rng.normal(size=(*shape, 3)) * sd for _ in range(2))
        biased = chunked(lambda x, y: discrepancy(gaussian(BANDWIDTH), x, y).biased.value, x, y)
        found["MMD², V-statistic"].append(mean_and_error(biased))
        first, second = (part[..., :1] for part in (x, y))
        found["Wasserstein"].append(mean_and_error(wasserstein(first, second).value))
    measured, theory = {}, {}
    for name, points in found.items():
        expected, exponent = theories[name]
        values, errors = np.array(points).T
        measured[name] = list(ROWS), values.tolist()
        theory[name] = list(ROWS), expected.tolist()
        yield Claim(
            f"the {name} distance of a law from itself has the mean that theory gives",
            Verdict(
                f"mean over that of theory: {name}, N = {ROWS[-1]}",
                values[-1] / expected[-1], 1.0, errors[-1] / expected[-1], BOUND,
            ),
        )  # fmt: skip
        slope, error = _slope(np.log(ladder), np.log(values), errors / values)
        yield Claim(
            f"the {name} distance of a law from itself falls as a power of N",
            Verdict(f"slope of log mean in log N: {name}", slope, exponent, error, RATE),
        )
    yield Curves(
        "distances of a law from itself", "rows N of each sample", "mean distance",
        measured, theory, "xy",
    )  # fmt: skip


def unbiased_at_finite_n(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Means and spreads of what has mean 0, or ½, at every N, of a law from itself."""
    ladder = np.array(ROWS)
    # of a degenerate U-statistic: pairs within and across
    pairs = np.sqrt(4 / (ladder * (ladder - 1.0)) + 4 / ladder**2)
    kinds = (
        ("KID", _kid, REPLICATES * 3, 0.0, pairs),
        ("classifier accuracy", _accuracy, CLASSIFIERS * 3, 0.5, ladder**-0.5),
    )
    for name, of, replicates, center, spread in kinds:
        samples = [rng.normal(size=(2, replicates * effort, n, 1)) for n in ROWS]
        found = [chunked(of, *pair) for pair in samples]
        for n, values in zip(ROWS, found, strict=True):
            value, error = mean_and_error(values)
            yield Claim(
                f"{name} of a law from itself has the same mean at every N",
                Verdict(f"mean, N = {n}: {name}", value, center, error, BIAS * float(values.std())),
            )
        sd = np.array([values.std(ddof=1) for values in found])
        away = [(values - values.mean()) / values.std() for values in found]
        tails = np.array([float((one**4).mean()) for one in away])
        error = np.sqrt((tails - 1) / (4 * replicates * effort))
        rate, uncertain = _slope(np.log(ladder), np.log(sd), error)
        expected = _slope(np.log(ladder), np.log(spread), error)[0]
        yield Claim(
            f"the spread of {name} of a law from itself falls as a power of N",
            Verdict(f"slope of log sd in log N: {name}", rate, expected, uncertain, RATE),
        )


def _kid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return discrepancy(cubic, x, y).unbiased.value


def _accuracy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return classifier(x, y).value


def _slope(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Of a straight line, and its standard error."""
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return float(weight @ y), float(np.sqrt(weight**2 @ error**2))


def chunked(
    of: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A function of replicates, few enough at a time for all pairs of rows to fit in memory."""
    step = max(1, AT_ONCE // x.shape[-2] ** 2)
    return np.concatenate([of(x[i : i + step], y[i : i + step]) for i in range(0, len(x), step)])


# --- kernels --------------------------------------------------------------------------------------


def kernel_mean(difference: np.ndarray, covariance: np.ndarray) -> float:
    """E k(x, y) of the normal kernel where x − y ~ N(difference, covariance)."""
    total = covariance / BANDWIDTH**2 + np.eye(difference.size)
    quadratic = difference @ np.linalg.solve(total, difference) / BANDWIDTH**2
    return float(np.exp(-quadratic / 2) / np.sqrt(np.linalg.det(total)))


def cubic_mean(
    mean_1: np.ndarray, covariance_1: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray
) -> float:
    """E (xᵀy/d + 1)³ of independent normal x and y, by their moments up to the third."""
    d = mean_1.size

    def moments(m: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, ...]:
        third = np.einsum("i,jk->ijk", m, s)
        third = third + third.transpose(1, 0, 2) + third.transpose(1, 2, 0)
        return m, s + np.outer(m, m), third + np.einsum("i,j,k->ijk", m, m, m)

    parts = zip(moments(mean_1, covariance_1), moments(mean_2, covariance_2), strict=True)
    first, second, third = (float((a * b).sum()) for a, b in parts)
    return 1 + 3 * first / d + 3 * second / d**2 + third / d**3


def means(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """U- and V-statistics against MMD² in closed form, at a small N and for three plants."""
    n, d = 64, 2
    zero, unit = np.zeros(d), np.eye(d)
    plants = {
        "equal laws": (zero, unit),
        "shift of 0.5": (np.array([0.5, 0.0]), unit),
        "spread × 1.5": (zero, 2.25 * unit),
    }
    rows = []
    for plant, (mean, covariance) in plants.items():
        shape = REPLICATES * effort, n, d
        x = rng.normal(size=shape)
        y = mean + rng.normal(size=shape) @ np.linalg.cholesky(covariance).T
        within = kernel_mean(zero, 2 * unit), kernel_mean(zero, 2 * covariance)
        normal = sum(within) - 2 * kernel_mean(mean, unit + covariance)
        third = (
            cubic_mean(zero, unit, zero, unit)
            + cubic_mean(mean, covariance, mean, covariance)
            - 2 * cubic_mean(zero, unit, mean, covariance)
        )
        rbf = chunked(lambda x, y: np.stack(_both(gaussian(BANDWIDTH), x, y), axis=-1), x, y)
        kid = chunked(lambda x, y: discrepancy(cubic, x, y).unbiased.value, x, y)
        for name, values, expected in (
            ("MMD² of the normal kernel, U-statistic", rbf[:, 0], normal),
            ("MMD² of the normal kernel, V-statistic", rbf[:, 1], normal + (2 - sum(within)) / n),
            ("KID", kid, third),
        ):
            value, error = mean_and_error(values)
            sd = float(values.std(ddof=1))
            rows.append((name, plant, value, expected, sd))
            yield Claim(
                f"{name} has the mean that theory gives",
                Verdict(f"mean, {plant}, N = {n}: {name}", value, expected, error, BIAS * sd),
            )
    value, error = mean_and_error(
        wasserstein(*(rng.normal(mean, size=(100 * effort, 2_000, 1)) for mean in (0.0, 1.0))).value
    )
    yield Claim(
        "the Wasserstein distance of a law from a shifted one is the shift",
        Verdict("mean W₁, shift of 1, N = 2000", value, 1.0, error, BOUND),
    )
    yield Table(
        f"kernel distances of {n} rows in {d} dimensions",
        ("distance", "planted", "mean", "by theory", "standard deviation"),
        tuple(rows),
    )


def _both(
    kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found = discrepancy(kernel, x, y)
    return found.unbiased.value, found.biased.value


# --- divergence -----------------------------------------------------------------------------------


def on_bins(shift: float) -> float:
    """KL of N(0, 1) from N(shift, 1) on bins of equal probability under their mean."""
    x = np.linspace(-9.0, 9.0 + shift, 200_001)
    below = norm.cdf(x), norm.cdf(x - shift)
    edges = np.interp(np.arange(1, BINS) / BINS, sum(below) / 2, x)
    p, q = (np.diff(norm.cdf(edges - s), prepend=0.0, append=1.0) for s in (0.0, shift))
    return float((p * np.log(p / q)).sum())


def binned(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Divergences on bins of equal laws and of shifted ones."""
    shape, noise = (BINNINGS * effort, BINNED, 1), (BINS - 1) / BINNED
    for shift, bound in ((0.0, BOUND * noise), (0.5, BOUND * on_bins(0.5) + noise)):
        x, y = rng.normal(size=shape), rng.normal(shift, size=shape)
        value, error = mean_and_error(chunked(lambda x, y: divergence(x, y).value[:, 0], x, y))
        expected = on_bins(shift) if shift else noise
        yield Claim(
            "the divergence on bins has the mean that theory gives",
            Verdict(f"mean KL, shift of {shift:g}, N = {BINNED}", value, expected, error, bound),
        )


# --- classifier -----------------------------------------------------------------------------------


def accuracy(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Held-out accuracy against the best possible."""
    edge = 2.0 * np.sqrt(2 * np.log(2.0) / 3)  # where N(0, 1) and N(0, 4) have the same density
    best = {
        "shift of 0": (0.0, 1.0, 0.5),
        "shift of 0.5": (0.5, 1.0, float(norm.cdf(0.25))),
        "shift of 1": (1.0, 1.0, float(norm.cdf(0.5))),
        "spread × 2": (0.0, 2.0, float(norm.cdf(edge) - 0.5 + norm.sf(edge / 2))),
    }
    for plant, (mean, sd, expected) in best.items():
        shape = CLASSIFIERS * effort, CLASSIFIED, 1
        found = classifier(rng.normal(size=shape), rng.normal(mean, sd, size=shape))
        value, error = mean_and_error(found.value)
        yield Claim(
            "a logistic regression tells two normal laws apart as often as can be",
            Verdict(f"held-out accuracy, {plant}", value, expected, error, ACCURACY),
        )


# --- power ----------------------------------------------------------------------------------------


type Features = Callable[[np.ndarray], np.ndarray]
"""(n,) ↦ (n, F): the a with k(x, y) = a(x)ᵀ a(y)."""


def normal_features(x: np.ndarray) -> np.ndarray:
    """a_l(x) = e^(−x²/(2ℓ²)) (x/ℓ)^l / √l! of the normal kernel, by the series of exp(xy/ℓ²)."""
    order = np.arange(120)
    log_size = order * np.log(np.abs(x[:, None]) / BANDWIDTH + 1e-300)
    log_size = log_size - (x[:, None] / BANDWIDTH) ** 2 / 2 - gammaln(order + 1) / 2
    return np.sign(x[:, None]) ** order * np.exp(log_size)


def cubic_features(x: np.ndarray) -> np.ndarray:
    """Of (xy + 1)³; the constant tells nothing apart."""
    return np.stack([np.sqrt(3) * x, np.sqrt(3) * x**2, x**3], axis=1)


def feature_moments(of: Features, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a(x), x ~ N(shift, 1), by quadrature."""
    nodes = np.linspace(-9.0, 9.0, 721) + shift
    mass = norm.pdf(nodes - shift) * (nodes[1] - nodes[0])
    features = of(nodes)
    mean = mass @ features
    away = features - mean
    return mean, (away * mass[:, None]).T @ away


def kernel_limit(of: Features, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draws of N times the U-statistic in the limit: ‖g‖² − tr C."""
    (mean_1, covariance_1), (mean_2, covariance_2) = (feature_moments(of, s) for s in (0.0, shift))
    value, vector = np.linalg.eigh(covariance_1 + covariance_2)
    large = value > 1e-8 * value[-1]
    center = np.sqrt(TESTED) * (mean_2 - mean_1) @ vector[:, large]
    g = center + np.sqrt(value[large]) * rng.normal(size=(LIMIT, int(large.sum())))
    return (g**2).sum(axis=1) - value[large].sum()


def frechet_limit(shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draws of N times the distance in the limit, (x̄ − ȳ)² + (s_x − s_y)²."""
    means, deviations = rng.normal(size=(2, LIMIT))
    return (np.sqrt(2) * means + np.sqrt(TESTED) * shift) ** 2 + deviations**2


def wasserstein_limit(shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draws of √N W₁ in the limit: ∫ |B(F) − B'(G) + √N (F − G)|, B and B' Brownian bridges."""
    x = np.arange(-5.0, 5.0 + shift, 0.1)
    below = norm.cdf(x), norm.cdf(x - shift)
    covariance = sum(np.minimum.outer(f, f) - np.outer(f, f) for f in below)
    value, vector = np.linalg.eigh(covariance)
    root = vector * np.sqrt(np.maximum(value, 0.0))
    drift = np.sqrt(TESTED) * (below[0] - below[1])
    parts = (rng.normal(size=(LIMIT // 10, x.size)) @ root.T + drift for _ in range(10))
    return np.concatenate([np.abs(part).sum(axis=1) for part in parts]) * (x[1] - x[0])


@final
class Test(NamedTuple):
    """A distance as a test of equal laws."""

    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Of pairs of samples, in the units of the limit."""
    repetitions: int
    limit: Callable[[float, np.random.Generator], np.ndarray] | None = None
    """Draws of its limit law at a shift; where none is known, equal laws are simulated instead."""
    invariant: bool = True
    """Whether a shift of both samples changes nothing, so that the level holds at every law."""


def tests() -> dict[str, Test]:
    """By name of the distance."""
    return {
        "MMD": Test(
            lambda x, y: TESTED * discrepancy(gaussian(BANDWIDTH), x, y).unbiased.value,
            TESTS, partial(kernel_limit, normal_features),
        ),
        "KID": Test(
            lambda x, y: TESTED * _kid(x, y),
            TESTS, partial(kernel_limit, cubic_features), invariant=False,
        ),
        "Fréchet": Test(
            lambda x, y: TESTED * frechet(x, y).value, CHEAP * TESTS, frechet_limit
        ),
        "Wasserstein": Test(
            lambda x, y: np.sqrt(TESTED) * wasserstein(x, y).value[..., 0],
            CHEAP * TESTS, wasserstein_limit,
        ),
        "classifier": Test(_accuracy, CLASSIFIER_TESTS),
    }  # fmt: skip


def power(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """How often each distance rejects equal laws when one is shifted, beside its limit law."""
    measured, theory = {}, {"most powerful": (list(SHIFTS), [most_powerful(s) for s in SHIFTS])}
    for name, test in tests().items():
        rates, predictions = [], []
        for shift, rate, predicted, error in rejections(test, rng, effort):
            rates.append(rate)
            predictions.append(predicted)
            yield from _of_test(name, test, shift, rate, predicted, error)
        measured[name] = list(SHIFTS), rates
        if test.limit:
            theory[name] = list(SHIFTS), predictions
    yield Curves(
        f"power against a shift, N = {TESTED}", "shift, standard deviations", "rejection rate",
        measured, theory,
    )  # fmt: skip


def most_powerful(shift: float) -> float:
    """Power of the difference of means, the best of a test whose level holds at every law."""
    return float(norm.sf(norm.isf(LEVEL) - shift * np.sqrt(TESTED / 2)))


def rejections(
    test: Test, rng: np.random.Generator, effort: int
) -> Iterator[tuple[float, float, float, float]]:
    """By shift: the rejection rate, that of the limit law, and the error of their difference."""
    count = test.repetitions * effort
    null = test.limit(0.0, rng) if test.limit else _statistics(test.statistic, 0.0, count, rng)
    # the critical value, and those a standard error of its level beside it
    step = np.sqrt(LEVEL * (1 - LEVEL) / null.size) * np.array([0, 1, -1])
    critical = np.quantile(null, 1 - LEVEL + step)
    for shift in SHIFTS:
        found = _statistics(test.statistic, shift, count, rng)
        rate, fewer, more = ((found[:, None] > critical).mean(axis=0)).tolist()
        predicted, noise = float("nan"), 0.0
        if test.limit:
            predicted = float((test.limit(shift, rng) > critical[0]).mean())
            noise = predicted * (1 - predicted) / LIMIT
        shrunk = (rate * count + 1) / (count + 2)  # never quite 0 or 1
        parts = np.sqrt(shrunk * (1 - shrunk) / count), (more - fewer) / 2, np.sqrt(noise)
        yield shift, rate, predicted, float(np.hypot.reduce(parts))


def _of_test(
    name: str, test: Test, shift: float, rate: float, predicted: float, error: float
) -> Iterator[Claim]:
    about = f"rejection rate at level {LEVEL:g}, shift of {shift:g}, N = {TESTED}: {name}"
    if test.limit:
        yield Claim(
            f"the {name} test rejects equal laws as often as its limit law says",
            Verdict(about, rate, predicted, error, POWER if shift else OFF * LEVEL),
        )
    if shift and test.invariant:
        yield Claim(
            f"the {name} test, whose level holds at every law, has no more power than the best",
            Verdict(
                f"power of the difference of means − {about}",
                most_powerful(shift) - rate, 0.0, error, POWER, relation="at_least",
            ),
        )  # fmt: skip
    if shift == SHIFTS[-1] and not test.limit:
        half = most_powerful(shift) / 2
        yield Claim(
            f"the {name} test has at least half of the power that a test can have",
            Verdict(f"{about} − half of the best", rate - half, 0.0, error, 0.0, "at_least"),
        )


def _statistics(
    of: Callable[..., np.ndarray], shift: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Of pairs of samples of N(0, 1) and N(shift, 1)."""
    x = rng.normal(size=(count, TESTED, 1))
    values = chunked(of, x, rng.normal(shift, 1.0, size=x.shape))
    # ties, as of accuracies, are broken at random: else the level is not kept
    return values + 1e-9 * rng.random(values.shape)


def permutation_tests(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """How often each distance, against those of relabelled rows, rejects equal and shifted laws."""
    tests: dict[str, Callable[[np.ndarray, np.ndarray], Distance]] = {
        "Fréchet": frechet,
        "KID": lambda x, y: discrepancy(cubic, x, y).unbiased,
        "Wasserstein": lambda x, y: Distance(*(part[..., 0] for part in wasserstein(x, y))),
        "classifier": classifier,
    }
    for shift, replicates in PERMUTATIONS.items():
        rejected: dict[str, list[np.ndarray]] = {name: [] for name in tests}
        for _ in range(replicates * effort // 100):
            rows = rng.normal(size=(100, 1, 2 * PERMUTED, 1))
            rows[:, :, PERMUTED:] += shift
            order = np.tile(np.arange(2 * PERMUTED)[:, None], (100, ORDERS + 1, 1, 1))
            order[:, 1:] = rng.permuted(order[:, 1:], axis=-2)
            parts = np.split(np.take_along_axis(rows, order, axis=-2), 2, axis=-2)
            for name, of in tests.items():
                values = of(*parts).value
                # ties, as of accuracies, are broken at random: else the level is not kept
                values = values + 1e-9 * rng.random(values.shape)
                rejected[name].append(values.argmax(axis=1) == 0)
        for name, found in rejected.items():
            rate, error = mean_and_error(np.concatenate(found).astype(float))
            yield Claim(
                f"a test by permutations of {name} finds a large shift"
                if shift
                else f"a test by permutations of {name} keeps its level",
                Verdict(
                    f"rejection rate, shift of {shift:g}, N = {PERMUTED}: {name} by permutations",
                    rate, 1.0 if shift else LEVEL, error, POWER if shift else OFF * LEVEL,
                ),
            )  # fmt: skip
