"""A kernel density estimate pays for the dimension D, a correct parametric model does not.

The kernel density estimate f̂(x) = N⁻¹ Σ_i φ_h(x − x_i) of a density with square-integrable second
derivatives has, with h of order N^{−1/(4+D)}, a mean integrated squared error of order N^{−4/(4+D)}
and no estimate has a better rate over that class; a correct parametric model has N⁻¹ at every D.
For normal data and kernel nothing is left to asymptotics:

    (4π)^{D/2} MISE = 1/(N h^D) + (1 − 1/N)(1 + h²)^{−D/2} − 2(1 + h²/2)^{−D/2} + 1,
    (4π)^{D/2} MISE = (D/2 + D(D+2)/8) / N + O(N⁻²)    for N(x̄, S), the maximum of the likelihood.

References: Marron & Wand (1992), Ann. Statist. 20; Wand & Jones (1995), Kernel Smoothing, §4.3.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import wishart

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SD
from comparisons.theory._claims import Measured, equal, mean, power, slope

RATE = 0.04
"""Largest difference of exponents that does not matter: the rates 4/5, 2/3 and 4/7 of neighbouring
dimensions are at least 0.095 apart, and this is less than half of that."""
KERNEL = {1: 2_500, 2: 600, 3: 250}
"""Replicates by dimension, in proportion to the relative variance of the squared error."""
UNITS = (25, 50, 100, 200, 400)
MANY = (200, 800, 3_200)  # units at which the parametric rate has set in, up to terms of order 1/N


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Errors of both estimates along ladders of N, by dimension."""
    measured, theory = {}, {}
    for dim, replicates in KERNEL.items():
        name, exact = f"kernel, D = {dim}", _exact(UNITS, dim)
        found = [mean(_kernel_errors(rng, n, dim, replicates * effort)) for n in UNITS]
        measured[name], theory[name] = (UNITS, [one.value for one in found]), (UNITS, exact)
        weighted = [
            Measured(x, x * one.error / one.value) for x, one in zip(exact, found, strict=True)
        ]
        statement = "A kernel estimate's MISE is the closed form, and so is its slope at finite N."
        about = f"slope of log MISE against log N, kernel estimate, D = {dim}, N = 25 … 400"
        yield equal(statement, about, power(UNITS, found), power(UNITS, weighted).value, RATE)
        limit = slope(np.array([8.0, 9.0]), np.log10(_exact((1e8, 1e9), dim)))
        statement = "A kernel estimate's MISE falls like N^{−4/(4+D)}: the curse of dimensionality."
        about = f"slope of the exact log MISE, kernel estimate, D = {dim}, N = 10⁸ … 10⁹"
        yield equal(statement, about, limit.value, -4 / (4 + dim), RATE)
        name, constant = f"maximum likelihood, D = {dim}", dim / 2 + dim * (dim + 2) / 8
        found = [mean(_parametric_errors(rng, n, dim, 20_000 * effort)) for n in MANY]
        measured[name] = MANY, [one.value for one in found]
        theory[name] = MANY, constant / np.array(MANY)
        about = f"slope of log MISE against log N, {name}, N = 200 … 3200"
        statement = "The error of a correct parametric model falls like 1/N in every dimension."
        yield equal(statement, about, power(MANY, found), -1.0, RATE)
        about = f"N (4π)^{{D/2}} MISE over D/2 + D(D+2)/8, {name}, N = 3200"
        statement = "The constant of the parametric rate grows only like D²."
        yield equal(statement, about, found[-1].per(constant / MANY[-1]), 1.0, LIMIT_SD)
    title = "Integrated squared error of two estimates of a normal density"
    y = "mean integrated squared error, units of ∫f²"
    yield Curves(title, "units N", y, measured, theory, "xy")


def kernel_error(n: float, h: float, dim: int) -> float:
    """(4π)^{D/2} MISE of the kernel estimate of N(0, I_D) from N units with bandwidth h."""
    own = 1 / (n * h**dim)
    pairs = (1 - 1 / n) * (1 + h**2) ** (-dim / 2)
    return own + pairs - 2 * (1 + h**2 / 2) ** (-dim / 2) + 1


def bandwidth(n: float, dim: int) -> float:
    """The asymptotically optimal bandwidth for N(0, I_D)."""
    return (4 / ((dim + 2) * n)) ** (1 / (dim + 4))


def _exact(sizes: Sequence[float], dim: int) -> np.ndarray:
    """The exact MISE of the kernel estimate, at its best bandwidths."""
    return np.array([kernel_error(n, bandwidth(n, dim), dim) for n in sizes])


def _kernel_errors(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
    """(4π)^{D/2} ISE of simulated data sets, shape (count,), exact integrals.

    A control variate of mean zero, the projection of the double sum on single units, is taken off.
    """
    h, errors = bandwidth(n, dim), np.empty(count)
    for index in range(count):
        x = rng.standard_normal((n, dim))
        projection = _smoothed(x, 2 * h**2) - (1 + h**2) ** (-dim / 2)
        errors[index] = squared_error(x, h) - 2 * (1 - 1 / n) * projection
        errors[index] += 2 * (_smoothed(x, h**2) - (1 + h**2 / 2) ** (-dim / 2))
    return errors


def squared_error(x: np.ndarray, h: float) -> float:
    """(4π)^{D/2} ISE of the kernel estimate of N(0, I_D) by points, shape (N, D)."""
    n, dim = x.shape
    pairs = np.exp(-pdist(x / h, "sqeuclidean") / 4).sum()
    return float((n + 2 * pairs) / (n**2 * h**dim) - 2 * _smoothed(x, h**2) + 1)


def _smoothed(x: np.ndarray, variance: float) -> float:
    """(4π)^{D/2} times the mean over points of the density of N(0, (1 + v)I)."""
    total = 1 + variance
    kernel = np.exp(-(x**2).sum(axis=1) / (2 * total))
    return float((total / 2) ** (-x.shape[1] / 2) * kernel.mean())


def _parametric_errors(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
    """(4π)^{D/2} ISE of N(x̄, S), shape (count,), sufficient statistics drawn from their laws."""
    location = rng.standard_normal((count, dim)) / np.sqrt(n)
    law = wishart(n - 1, np.eye(dim) / n)
    covariance = np.reshape(law.rvs(count, random_state=rng), (count, dim, dim))
    wide = np.eye(dim) + covariance
    solved = np.linalg.solve(wide, location[:, :, None])[:, :, 0]
    own = np.linalg.det(covariance) ** -0.5
    cross = np.linalg.det(wide / 2) ** -0.5 * np.exp(-0.5 * (location * solved).sum(axis=1))
    return own - 2 * cross + 1
