"""Distances between laws from samples: what they estimate, how biased they are, what they detect.

* Between normal laws the squared Wasserstein distance is
  ‖Δμ‖² + tr(Σ₁ + Σ₂) − 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½; for 2 × 2 matrices tr M^½ = √(tr M + 2 √det M) for
  any M with positive eigenvalues, so also for Σ₁Σ₂.  An eigendecomposition that reads one triangle
  of Σ₁Σ₂ as a symmetric matrix [[a, c], [c, b]] takes the roots of its eigenvalues instead: wrong
  unless Σ₁ and Σ₂ commute.
* From samples of N(0, I_d) its plug-in has mean (2d + d(d + 1)/2)/n + O(n⁻²), not zero.
* The U-statistic of MMD² has mean E k(x, x′) + E k(y, y′) − 2 E k(x, y) at every n, closed forms
  for normal laws; the V-statistic exceeds it by Σ (E k(x, x) − E k(x, x′))/n over both samples.
* The Wasserstein distance of laws that differ by a shift is the shift.
* The best classifier of N(0, 1) from N(δ, 1) is right with chance Φ(δ/2).
* Under a shift the U-statistic is asymptotically normal with variance 4(ζ₁ + ζ₂)/n, ζ the variances
  of h(x) = E k(x, x′) − E k(x, y), plus its variance under the null: hence the power of the test.

References: Dowson & Landau (1982), J. Multivariate Analysis 12; Gretton et al. (2012), JMLR 13;
Serfling (1980), Approximation Theorems of Mathematical Statistics, §5.5; Jayasumana et al. (2024),
arXiv:2401.09603.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from comparisons import _distances as distances
from comparisons._ladder import Rung, slope
from comparisons._verdict import Verdict
from comparisons.theory._shown import Claim, Curves, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.theory._shown import Shown

EXACT = 1e-9
"""Of algebra in floating point, relative to numbers of order one."""
RELATIVE = 0.1
"""Of a bias: the next order in 1/n is below a tenth from n = 50 on."""
RATE = 0.1
"""Of an exponent, for the same reason."""
SHARE = 0.03
"""Largest difference of a probability that does not matter."""
DIMENSION, BANDWIDTH = 3, 2.0
SIZES = (50, 100, 200, 400)
SHIFTS = (0.0, 0.15, 0.3, 0.45, 0.6)
LEVEL = 0.05
FIRST = np.array([[2.0, 0.9], [0.9, 1.0]])
SECOND = np.array([[0.5, -0.4], [-0.4, 3.0]])
"""Covariances that do not commute."""


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Fréchet, kernel, Wasserstein and classifier distances."""
    yield from _frechet()
    yield from _frechet_bias(rng, 2_000 * effort)
    yield from _kernels(rng, 2_000 * effort)
    yield from _wasserstein_and_classifier(rng, 60 * effort)
    yield from _power(rng, 4_000 * effort)


def shortcut(m1: np.ndarray, s1: np.ndarray, m2: np.ndarray, s2: np.ndarray) -> float:
    """Fréchet's distance as if Σ₁Σ₂ were symmetric: wrong, and here to be shown so."""
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(s1 @ s2), 0.0))
    return float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * roots.sum())


def _frechet() -> Iterator[Shown]:
    zero, away = np.zeros(2), np.array([1.0, -2.0])
    a, b = np.array([1.0, 4.0]), np.array([9.0, 0.25])
    found = distances.frechet_normal(zero, np.diag(a), away, np.diag(b))
    expected = float(5 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())
    yield Claim(
        "Of covariances that commute, the Fréchet distance adds the differences of deviations.",
        Verdict("Fréchet distance, diagonal covariances", found, expected, 0.0, EXACT),
    )
    product = FIRST @ SECOND
    root = float(np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product))))
    right = float(np.trace(FIRST) + np.trace(SECOND)) - 2 * root
    found = distances.frechet_normal(zero, FIRST, zero, SECOND)
    yield Claim(
        "The symmetric square root gives the Fréchet distance of covariances that do not commute.",
        Verdict("Fréchet distance, general covariances", found, right, 0.0, EXACT),
    )
    top, corner, bottom = product[0, 0], product[1, 0], product[1, 1]
    middle, half = (top + bottom) / 2, np.hypot((top - bottom) / 2, corner)
    roots = np.sqrt(np.maximum([middle - half, middle + half], 0.0)).sum()
    yield Claim(
        "To decompose Σ₁Σ₂ as if it were symmetric is off by what reading one triangle costs.",
        Verdict(
            "shortcut − Fréchet distance", shortcut(zero, FIRST, zero, SECOND) - found,
            float(2 * (root - roots)), 0.0, EXACT,
        ),
    )  # fmt: skip
    yield Table(
        "Fréchet distances of two normal laws in the plane",
        ("covariances", "right", "symmetric root", "shortcut"),
        (
            ("commute", expected, expected, shortcut(zero, np.diag(a), away, np.diag(b))),
            ("do not commute", right, found, shortcut(zero, FIRST, zero, SECOND)),
        ),
    )


def _frechet_bias(rng: np.random.Generator, replicates: int) -> Iterator[Shown]:
    d = DIMENSION
    constant = 2 * d + d * (d + 1) / 2
    rungs = []
    for n in SIZES:
        values = []
        for _ in range(replicates):
            x, y = rng.standard_normal((2, n, d))
            parts = (part for z in (x, y) for part in (z.mean(axis=0), np.cov(z, rowvar=False)))
            values.append(distances.frechet_normal(*parts))
        rungs.append(Rung(n, float(np.mean(values)), float(np.std(values)) / replicates**0.5))
    last = rungs[-1]
    yield Claim(
        "The plug-in Fréchet distance of two samples of one law is biased by c/n.",
        Verdict(
            f"mean of n × distance, d = {d}, n = {last.n}", last.n * last.value, constant,
            last.n * last.error, RELATIVE * constant,
        ),
    )  # fmt: skip
    rate, error = slope(rungs)
    yield Claim(
        "That bias falls like 1/n.",
        Verdict("slope of log mean distance against log n", rate, -1.0, error, RATE),
    )
    x = [float(n) for n in SIZES]
    yield Curves(
        "Fréchet distance between two samples of one law", "n", "mean distance",
        {"measured": (x, [rung.value for rung in rungs])},
        {"measured": (x, [constant / n for n in SIZES])}, "xy",
    )  # fmt: skip


def gaussian_mean(shift: np.ndarray) -> float:
    """E k(x, y) of the Gaussian kernel for x ~ N(0, I), y ~ N(shift, I)."""
    width = BANDWIDTH**2 + 2
    return float((BANDWIDTH**2 / width) ** (shift.size / 2) * np.exp(-shift @ shift / (2 * width)))


def cubic_mean(a: np.ndarray, b: np.ndarray) -> float:
    """E (xᵀy/d + 1)³ for x ~ N(a, I), y ~ N(b, I), from their moments up to the third."""
    d, eye = a.size, np.eye(a.size)

    def third(m: np.ndarray) -> np.ndarray:
        lone = np.einsum("i,jk->ijk", m, eye)
        mixed = lone + np.moveaxis(lone, 0, 1) + np.moveaxis(lone, 0, 2)
        return np.einsum("i,j,k->ijk", m, m, m) + mixed

    one = a @ b / d
    two = float(np.sum((eye + np.outer(a, a)) * (eye + np.outer(b, b)))) / d**2
    return float(np.sum(third(a) * third(b))) / d**3 + 3 * two + 3 * float(one) + 1


def _kernels(rng: np.random.Generator, replicates: int) -> Iterator[Shown]:
    n, zero = 50, np.zeros(DIMENSION)
    away = np.array([0.5, -0.25, 0.0])
    gaussian = distances.gaussian_kernel(BANDWIDTH)
    cases = (
        ("Gaussian kernel", gaussian, gaussian_mean(zero), gaussian_mean(zero),
         gaussian_mean(away)),
        ("cubic kernel (KID)", distances.cubic_kernel, cubic_mean(zero, zero),
         cubic_mean(away, away), cubic_mean(zero, away)),
    )  # fmt: skip
    for name, kernel, own, other, cross in cases:
        for which, shift, expected in (
            ("one law", zero, 0.0),
            ("two laws that differ by a shift", away, own + other - 2 * cross),
        ):
            values, excess = [], []
            for _ in range(replicates):
                x, y = rng.standard_normal((2, n, DIMENSION))
                values.append(_mmd(x, y + shift, kernel, unbiased=True))
                excess.append(_mmd(x, y + shift, kernel, unbiased=False) - values[-1])
            error, scale = float(np.std(values)) / replicates**0.5, float(np.std(values))
            yield Claim(
                f"The U-statistic of MMD² is unbiased: {name}, {which}.",
                Verdict(
                    f"mean of MMD², {name}, {which}, n = {n}", float(np.mean(values)), expected,
                    error, 0.25 * scale,
                ),
            )  # fmt: skip
            if shift is zero and kernel is gaussian:
                yield Claim(
                    "The V-statistic of MMD² exceeds it by a bias that is known.",
                    Verdict(
                        f"mean of n × (V − U), {name}, n = {n}", n * float(np.mean(excess)),
                        2 * (1 - own), n * float(np.std(excess)) / replicates**0.5,
                        RELATIVE * 2 * (1 - own),
                    ),
                )  # fmt: skip


def _mmd(x: np.ndarray, y: np.ndarray, kernel: distances.Kernel, *, unbiased: bool) -> float:
    return distances.mmd_statistic(kernel(x, x), kernel(y, y), kernel(x, y), unbiased=unbiased)


def _wasserstein_and_classifier(rng: np.random.Generator, replicates: int) -> Iterator[Shown]:
    n, shift = 2_000, 1.0
    x, y = rng.standard_normal((2, replicates, n))
    lengths = [distances.wasserstein(a, b + shift).value for a, b in zip(x, y, strict=True)]
    yield Claim(
        "The Wasserstein distance of a law and its shift is the shift.",
        Verdict(
            f"mean Wasserstein distance, shift {shift:g}, n = {n}", float(np.mean(lengths)), shift,
            float(np.std(lengths)) / replicates**0.5, SHARE,
        ),
    )  # fmt: skip
    for shift in (0.0, 1.0):
        shares = [
            distances.classifier_two_sample(a[:, None], b[:, None] + shift, rng).value
            for a, b in zip(x, y, strict=True)
        ]
        yield Claim(
            f"A classifier tells N(0, 1) from N(δ, 1) with chance Φ(δ/2): δ = {shift:g}.",
            Verdict(
                f"mean held-out accuracy, δ = {shift:g}, n = {n}", float(np.mean(shares)),
                float(ndtr(shift / 2)), float(np.std(shares)) / replicates**0.5, SHARE,
            ),
        )  # fmt: skip


def _power(rng: np.random.Generator, replicates: int) -> Iterator[Shown]:
    n = 100
    near = n**-0.5  # the normal limit's own rate (Berry and Esseen)
    kernel = distances.gaussian_kernel(1.0)
    null = _statistics(rng, replicates, n, 0.0, kernel)
    cut, spread = float(np.quantile(null, 1 - LEVEL)), float(np.var(null))
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    measured, predicted = [], []
    for shift in SHIFTS:
        power = float(np.mean(_statistics(rng, replicates, n, shift, kernel) > cut))
        measured.append(power)
        # h at the places of the first law, and by symmetry of the second
        witness = _smoothed(node, 0.0) - _smoothed(node, shift)
        mean = 2 * float(weight @ witness)
        zeta = float(weight @ (witness - weight @ witness) ** 2)
        theory = float(ndtr((mean - cut) / np.sqrt(8 * zeta / n + spread))) if shift else LEVEL
        predicted.append(theory)
        if shift in (0.0, SHIFTS[-1]):
            error = np.sqrt(
                max(theory * (1 - theory), LEVEL / 10) * (1 + (shift == 0)) / replicates
            )
            yield Claim(
                "A test that is calibrated on the null keeps its level."
                if shift == 0
                else "Its power against a shift is that of the U-statistic's normal limit.",
                Verdict(
                    f"share rejected by MMD², shift {shift:g}, n = {n}", power, theory,
                    float(error), near if shift else SHARE,
                ),
            )  # fmt: skip
    x = list(SHIFTS)
    yield Curves(
        f"Power of the kernel test at level {LEVEL:g}, n = {n}", "shift, in sd", "share rejected",
        {"MMD²": (x, measured)}, {"MMD²": (x, predicted)},
    )  # fmt: skip


def _smoothed(at: np.ndarray, center: float) -> np.ndarray:
    """E k(at, y) for y ~ N(center, 1) and a kernel of unit bandwidth."""
    return np.exp(-((at - center) ** 2) / 4) / np.sqrt(2)


def _statistics(
    rng: np.random.Generator, replicates: int, n: int, shift: float, kernel: distances.Kernel
) -> np.ndarray:
    found = np.empty(replicates)
    for i in range(replicates):
        x, y = rng.standard_normal((2, n, 1))
        found[i] = _mmd(x, y + shift, kernel, unbiased=True)
    return found
