"""The law in the plane that the density estimators learn, and integrals over it by quadrature.

Nature is a mixture of three spherical normals, so that log p, ∇ log p and every expectation under
it are known.  The trapezoidal rule on a grid whose step is a tenth of a component's standard
deviation is exact to rounding for it, and for a law q as smooth as it.
"""

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr

from comparisons.theory.densities import Pointwise, everywhere, gradient, log_density_at, mesh
from models.catalogue.gaussian_mixture import GaussianMixture
from models.programs.precision import float64

NATURE = GaussianMixture(3, 2, "spherical")
LOW, HIGH = (-7.0, -7.0), (15.0, 11.0)
"""The box: every mean is 7 standard deviations or more inside, so that 1e-11 of the mass is not."""
STEP = 0.1
COARSE = 0.5  # step outside the box, where little of any fitted law is

APART = 0.1  # total variation that does not matter: no probability is off by more than a tenth
NEGLIGIBLE = 2 * APART**2
"""Nats per observation that do not matter: by Pinsker's inequality, total variation ≤ √(KL/2), a
Kullback–Leibler divergence below this cannot move two laws further apart than `APART`."""


class Grid(NamedTuple):
    """Points of the box and nature's density there."""

    points: np.ndarray  # shape (G, 2)
    log_density: np.ndarray  # log p, shape (G,)
    score: np.ndarray  # ∇ log p, shape (G, 2)
    step: float

    def integral(self, values: np.ndarray) -> float:
        """∫ f over the box, from f at the points, shape (G,)."""
        return float(values.sum() * self.step**2)

    def jensen_shannon(self, p: np.ndarray, q: np.ndarray) -> float:
        """The Jensen–Shannon divergence of two densities at the points, nats."""
        middle = (p + q) / 2
        return 0.5 * self.integral(rel_entr(p, middle) + rel_entr(q, middle))

    def mean(self, values: np.ndarray) -> float:
        """E_p[f], from f at the points, shape (G,)."""
        return self.integral(np.exp(self.log_density) * values)


def log_density() -> Pointwise:
    """x ↦ log p(x) of nature."""
    return log_density_at(NATURE, NATURE.truth)


@cache
def frame() -> tuple[np.ndarray, float]:
    """Midpoints of cells that fill the eight copies of the box around it, and the area of one."""
    low, size = np.array(LOW) - STEP / 2, np.array(HIGH) - np.array(LOW) + STEP
    counts = np.rint(size / COARSE).astype(int)
    axes = [
        start - width + (np.arange(3 * count) + 0.5) * width / count
        for start, width, count in zip(low, size, counts, strict=True)
    ]
    points = mesh(*axes)
    outside = ((points < low) | (points > low + size)).any(axis=1)
    return points[outside], float((size / counts).prod())


@cache
def grid(step: float = STEP) -> Grid:
    """The quadrature grid."""
    axes = [np.arange(low, high + step / 2, step) for low, high in zip(LOW, HIGH, strict=True)]
    points, density = mesh(*axes), log_density()
    score = everywhere(gradient(density), points)
    return Grid(points, everywhere(density, points), score, step)


@float64
def moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of nature, shapes (2,) and (2, 2)."""
    weights, means = np.asarray(NATURE.truth["weights"]), np.asarray(NATURE.truth["mean"])
    mean = weights @ means
    within = float(NATURE.truth["scale"]) ** 2 * np.eye(2)
    return mean, within + (means - mean).T @ ((means - mean) * weights[:, None])


def draws(rng: np.random.Generator, n: int) -> np.ndarray:
    """Independent draws of nature, shape (n, 2)."""
    return np.asarray(NATURE.simulate(rng, NATURE.truth, n)["y"].data)


def stream(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, whichever others there are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
