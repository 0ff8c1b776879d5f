"""The law in the plane that the density estimators learn, and integrals over it by quadrature.

Nature is a mixture of three spherical normals, so that log p, ∇ log p and every expectation under
it are known.  The trapezoidal rule on a grid whose step is a seventh of a component's standard
deviation is exact to rounding for it, and for a law q as smooth as it.
"""

import zlib
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr

from comparisons.theory.densities import Pointwise, everywhere, gradient, log_density_at, mesh
from models.catalogue.gaussian_mixture import GaussianMixture

NATURE = GaussianMixture(3, 2, "spherical")
LOW, HIGH = (-13.0, -13.0), (21.0, 17.0)
"""The box: every mean is 13 standard deviations or more inside, as fitted laws have wider tails."""
STEP = 0.15

APART = 0.1  # total variation that does not matter: no probability is off by more than a tenth
NEGLIGIBLE = 2 * APART**2
"""Nats per observation that do not matter: by Pinsker's inequality, total variation ≤ √(KL/2), a
Kullback–Leibler divergence below this cannot move two laws further apart than `APART`."""


class Grid(NamedTuple):
    """Points of the box and nature's density there."""

    points: np.ndarray  # shape (G, 2)
    log_density: np.ndarray  # log p, shape (G,)
    score: np.ndarray  # ∇ log p, shape (G, 2)

    def integral(self, values: np.ndarray) -> float:
        """∫ f over the box, from f at the points, shape (G,)."""
        return float(values.sum() * STEP**2)

    def mean(self, values: np.ndarray) -> float:
        """E_p[f], from f at the points, shape (G,)."""
        return self.integral(np.exp(self.log_density) * values)

    def jensen_shannon(self, p: np.ndarray, q: np.ndarray) -> float:
        """The Jensen–Shannon divergence of two densities at the points, nats."""
        middle = (p + q) / 2
        return 0.5 * self.integral(rel_entr(p, middle) + rel_entr(q, middle))


def log_density() -> Pointwise:
    """x ↦ log p(x) of nature."""
    return log_density_at(NATURE, NATURE.truth)


@cache
def grid() -> Grid:
    """The quadrature grid."""
    axes = [np.arange(low, high + STEP / 2, STEP) for low, high in zip(LOW, HIGH, strict=True)]
    points, density = mesh(*axes), log_density()
    return Grid(points, everywhere(density, points), everywhere(gradient(density), points))


def draws(rng: np.random.Generator, n: int) -> np.ndarray:
    """Independent draws of nature, shape (n, 2)."""
    return np.asarray(NATURE.simulate(rng, NATURE.truth, n)["y"].data)


def stream(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, whichever others there are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
