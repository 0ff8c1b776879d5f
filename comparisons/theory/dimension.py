"""Volume flees to shells as the dimension D grows, and a kernel density estimate pays for it.

The unit ball has volume V_D = π^{D/2} / Γ(D/2 + 1), of which 1 − (1 − ε)^D lies within ε of the
surface; the norm of x ~ N(0, I_D) has mean √2 Γ((D+1)/2) / Γ(D/2) and a standard deviation below
1/√2 at every D, so that relative to the mean it vanishes like (2D)^−½.

The kernel density estimate f̂(x) = N⁻¹ Σ_i φ_h(x − x_i) of a density with square-integrable second
derivatives has, with h of order N^{−1/(4+D)}, a mean integrated squared error of order N^{−4/(4+D)}
and no estimate has a better rate over that class; a correct parametric model has N⁻¹ at every D.
For normal data and kernel nothing is left to asymptotics:

    (4π)^{D/2} MISE = 1/(N h^D) + (1 − 1/N)(1 + h²)^{−D/2} − 2(1 + h²/2)^{−D/2} + 1,
    (4π)^{D/2} MISE = (D/2 + D(D+2)/8) / N + O(N⁻²)    for N(x̄, S), the maximum of the likelihood.

The former is for bandwidths chosen beforehand.  statsmodels' normal reference rule in
`kernel_density`, 1.06 σ̂ N^{−1/(4+D)} along each axis, estimates the scales, which costs a factor
that tends to 1; what its cross-validation costs is measured.
References: Marron & Wand (1992), Ann. Statist. 20; Wand & Jones (1995), Kernel Smoothing, §4.3;
Silverman (1986), Density Estimation, table 4.2; Vershynin (2018), High-Dimensional Probability, §3.
"""

from collections.abc import Sequence
from itertools import product
from typing import get_args

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.spatial.distance import pdist
from scipy.special import gammaln
from scipy.stats import wishart

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD, PROBABILITY
from comparisons.theory._claims import Measured, equal, mean, power, proportion, slope
from comparisons.theory.densities.kernel_density import Selector, bandwidths

RATE = 0.04
"""Largest difference of exponents that does not matter: the rates 4/5, 2/3 and 4/7 of neighbouring
dimensions are at least 0.095 apart, and this is less than half of that."""
SHELL = 0.05  # thickness of the outer shell, in radii
KERNEL = {1: 2_500, 2: 600, 3: 250}
"""Replicates by dimension, in proportion to the relative variance of the squared error."""
UNITS = (25, 50, 100, 200, 400)
MANY = (200, 800, 3_200)  # units at which the parametric rate has set in, up to terms of order 1/N
RULE = "normal_reference"  # the selector that asks for scales alone
SELECTED = tuple(product((1, 2, 3), (100, 400)))  # D and N at which the data choose the bandwidths
RULED, VALIDATED = 300, 10  # data sets by the rule, and by cross-validation, which is slow
SILVERMAN = (4, 19, 67, 223, 768, 2_790, 10_700, 43_700, 187_000, 842_000)
"""His table 4.2: N for a relative mean squared error of 0.1 at the mode of N(0, I_D), D = 1, …"""


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Balls and shells, then rates of convergence by dimension."""
    yield from _balls(rng, effort)
    yield from _norms(rng, effort)
    yield from _rates(rng, effort)
    yield from _selected(rng, effort)
    rows = [
        (float(dim), units_needed(dim), float(published))
        for dim, published in enumerate(SILVERMAN, start=1)
    ]
    title = "Units for a relative mean squared error of 0.1 at the mode of N(0, I_D)"
    yield Table(title, ("D", "N needed", "Silverman (1986), table 4.2"), tuple(rows))
    statement = "The units needed for one accuracy explode with the dimension."
    about = "N needed at D = 10, against Silverman's table"
    yield equal(statement, about, rows[-1][1], 842_000, 500.0)


def ball_volume(dim: int) -> float:
    """V_D of the unit ball."""
    return float(np.exp(0.5 * dim * np.log(np.pi) - gammaln(0.5 * dim + 1)))


def _balls(rng: np.random.Generator, effort: int) -> Exhibits:
    size, parts = 200_000, 10 * effort
    statement = "The unit ball has volume π^{D/2} / Γ(D/2 + 1)."
    for dim in (2, 5, 8):
        points = (2 * rng.random((size, dim)) - 1 for _ in range(parts))
        inside = sum(int(((x**2).sum(axis=1) <= 1).sum()) for x in points)
        ratio = proportion(inside / (size * parts), size * parts).per(ball_volume(dim) / 2**dim)
        about = f"volume of the unit ball, D = {dim}: Monte Carlo / closed form"
        yield equal(statement, about, ratio, 1.0, LIMIT_SD)
    size, dims, every = 20_000 * effort, (1, 2, 5, 10, 20, 50), np.arange(1, 51)
    outer = [float((_ball_radii(rng, dim, size) > 1 - SHELL).mean()) for dim in dims]
    share = 1 - (1 - SHELL) ** every
    title = f"Mass of the unit ball within {SHELL:g} of its surface"
    theory = {"1 − (1 − ε)^D": (every, share)}
    measured = {"Monte Carlo": (dims, outer)}
    yield Curves(title, "dimension D", "share of the volume", measured, theory)
    found = Measured(outer[dims.index(20)], proportion(share[19], size).error)
    statement = "A thin outer shell holds 1 − (1 − ε)^D of a ball: nearly all of it as D grows."
    about = f"share of the ball within {SHELL:g} of its surface, D = 20"
    yield equal(statement, about, found, share[19], PROBABILITY)


def _ball_radii(rng: np.random.Generator, dim: int, size: int) -> np.ndarray:
    """Norms of uniform points of the ball: D coordinates on the sphere in D + 2 (Archimedes)."""
    square = rng.standard_normal((size, dim + 2)) ** 2
    return np.sqrt(square[:, :dim].sum(axis=1) / square.sum(axis=1))


def _norms(rng: np.random.Generator, effort: int) -> Exhibits:
    size, dims, ratios, rows = 20_000 * effort, (4, 16, 64, 256), [], []
    for dim in dims:
        norm = np.sqrt(sum((rng.standard_normal(size) ** 2 for _ in range(dim)), np.zeros(size)))
        exact = np.sqrt(2) * np.exp(gammaln(0.5 * (dim + 1)) - gammaln(0.5 * dim))
        ratio = float(norm.std() / norm.mean())
        ratios.append(Measured(ratio, ratio / np.sqrt(2 * size)))
        rows.append((float(dim), norm.mean(), exact, norm.std(), np.sqrt(dim - exact**2)))
    columns = ("D", "mean", "mean, exact", "standard deviation", "standard deviation, exact")
    yield Table("The norm of x ~ N(0, I_D)", columns, tuple(rows))
    statement = "The norm of a normal vector concentrates: its relative sd falls like D^−½."
    about = "slope of log (sd/mean of ‖x‖) against log D"
    yield equal(statement, about, power(dims, ratios), -0.5, RATE)


def kernel_error(n: float, h: float, dim: int) -> float:
    """(4π)^{D/2} MISE of the kernel estimate of N(0, I_D) from N units with bandwidth h."""
    own = 1 / (n * h**dim)
    pairs = (1 - 1 / n) * (1 + h**2) ** (-dim / 2)
    return own + pairs - 2 * (1 + h**2 / 2) ** (-dim / 2) + 1


def bandwidth(n: float, dim: int) -> float:
    """The asymptotically optimal bandwidth for N(0, I_D)."""
    return (4 / ((dim + 2) * n)) ** (1 / (dim + 4))


def _kernel_errors(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
    """(4π)^{D/2} ISE of simulated data sets, shape (count,), exact integrals.

    A control variate of mean zero, the projection of the double sum on single units, is taken off.
    """
    h = np.full(dim, bandwidth(n, dim))
    errors = np.empty(count)
    for index in range(count):
        x = rng.standard_normal((n, dim))
        errors[index] = squared_error(x, h)
        projection = _smoothed(x, 2 * h**2).mean() - np.prod(1 + h**2) ** -0.5
        errors[index] -= 2 * (1 - 1 / n) * projection
        errors[index] += 2 * (_smoothed(x, h**2).mean() - np.prod(1 + h**2 / 2) ** -0.5)
    return errors


def squared_error(x: np.ndarray, h: np.ndarray) -> float:
    """(4π)^{D/2} ISE of the kernel estimate of N(0, I_D) by points, with bandwidths, shape (D,)."""
    pairs = np.exp(-pdist(x / h, "sqeuclidean") / 4).sum()
    own = (len(x) + 2 * pairs) / (len(x) ** 2 * np.prod(h))
    return float(own - 2 * _smoothed(x, h**2).mean() + 1)


def _smoothed(x: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(4π)^{D/2} times the density of N(0, I + diag(v)) at points."""
    total = 1 + variance
    return np.prod(total / 2) ** -0.5 * np.exp(-(x**2 / (2 * total)).sum(axis=1))


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


def _exact(sizes: Sequence[float], dim: int) -> np.ndarray:
    """The exact MISE of the kernel estimate, at its best bandwidths."""
    return np.array([kernel_error(n, bandwidth(n, dim), dim) for n in sizes])


def _rates(rng: np.random.Generator, effort: int) -> Exhibits:
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


def _selected(rng: np.random.Generator, effort: int) -> Exhibits:
    """Integrated squared errors by statsmodels' selectors, against the rule's with known scales."""
    rows = []
    for (dim, n), selector in product(SELECTED, get_args(Selector)):
        if dim == 3 and selector != RULE:
            continue  # cross-validation takes a second for each set there
        known, pairs = np.full(dim, 1.06 * n ** (-1 / (dim + 4))), []
        for _ in range((RULED if selector == RULE else VALIDATED) * effort):
            x = rng.standard_normal((n, dim))
            pairs.append((squared_error(x, bandwidths(x, selector, rng)), squared_error(x, known)))
        errors = np.array(pairs)
        chosen, fixed = map(float, errors.mean(axis=0))
        ratio = Measured(chosen / fixed, mean(errors @ [1.0, -chosen / fixed]).error / fixed)
        exact = kernel_error(n, float(known[0]), dim)
        rows.append((selector, float(dim), float(n), chosen, exact, *ratio))
        if selector == RULE and n == SELECTED[-1][1]:
            about = f"MISE with estimated scales over that with known ones, D = {dim}, N = {n}"
            statement = "The normal reference rule loses next to nothing by estimating its scales."
            yield equal(statement, about, ratio, 1.0, LIMIT_SD)
    columns = ("selector", "D", "N", "MISE, units of ∫f²", "with known scales, exact")
    columns += ("ratio on the same sets", "its standard error")
    title = "Errors of kernel estimates of N(0, I_D) whose bandwidths the data have chosen"
    yield Table(title, columns, tuple(rows))


def units_needed(dim: int, target: float = 0.1) -> float:
    """N at which the best bandwidth gives that relative mean squared error at the mode."""

    def best(log_n: float) -> float:
        def error(log_h: float) -> float:
            v = float(np.exp(2 * log_h))
            bias = (1 + v) ** (-dim / 2) - 1
            second = (2 * v) ** (-dim / 2) * (1 + v / 2) ** (-dim / 2)
            return bias**2 + (second - (1 + v) ** -dim) / float(np.exp(log_n))

        return float(minimize_scalar(error, bounds=(-4, 2), method="bounded").fun)  # pyright: ignore[reportAttributeAccessIssue]

    return float(np.exp(brentq(lambda log_n: best(log_n) - target, 0.0, 20.0)))  # pyright: ignore[reportArgumentType]
