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

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, get_args

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.spatial.distance import pdist
from scipy.special import gammaln
from scipy.stats import wishart

from comparisons.exhibits import Claim, Curves, Table
from comparisons.policy import LIMIT_SD, PROBABILITY
from comparisons.studies._ladder import Rung, slope
from comparisons.theory.densities.kernel_density import Selector, bandwidths
from comparisons.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.exhibits import Shown

RATE = 0.04
"""Largest difference of exponents that does not matter: the rates 4/5, 2/3 and 4/7 of neighbouring
dimensions are at least 0.095 apart, and this is less than half of that."""
SHELL = 0.05
"""Thickness of the outer shell, in radii."""
KERNEL = {1: 2_500, 2: 600, 3: 250}
"""Replicates by dimension, in proportion to the relative variance of the squared error."""
UNITS = (25, 50, 100, 200, 400)
MANY = (200, 800, 3_200)
"""Units at which the parametric estimate has its rate up to terms of order 1/N."""
RULE = "normal_reference"
"""The selector that asks for scales alone."""
SELECTED = tuple(product((1, 2, 3), (100, 400)))
"""D and N at which the data choose the bandwidths."""
RULED, VALIDATED = 300, 10
"""Data sets by the rule, and by cross-validation, which is slow."""
SILVERMAN = (4, 19, 67, 223, 768, 2_790, 10_700, 43_700, 187_000, 842_000)
"""His table 4.2: N for a relative mean squared error of 0.1 at the mode of N(0, I_D), D = 1, …"""


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Balls and shells, then rates of convergence by dimension."""
    yield from _balls(rng, effort)
    yield from _norms(rng, effort)
    yield from _rates(rng, effort)
    yield from _selected(rng, effort)
    yield from _needed()


# --- geometry -------------------------------------------------------------------------------------


def ball_volume(dim: int) -> float:
    """V_D of the unit ball."""
    return float(np.exp(0.5 * dim * np.log(np.pi) - gammaln(0.5 * dim + 1)))


def _balls(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    size, parts = 200_000, 10 * effort
    for dim in (2, 5, 8):
        inside = 0
        for _ in range(parts):
            point = 2 * rng.random((size, dim)) - 1
            inside += int(((point**2).sum(axis=1) <= 1).sum())
        share = inside / (size * parts)
        error = float(np.sqrt((1 - share) / (share * size * parts)))
        ratio = 2.0**dim * share / ball_volume(dim)
        about = f"volume of the unit ball, D = {dim}: Monte Carlo / closed form"
        yield Claim(
            "The unit ball has volume π^{D/2} / Γ(D/2 + 1).",
            Verdict(about, ratio, 1.0, ratio * error, LIMIT_SD),
        )
    size = 20_000 * effort
    dims = (1, 2, 5, 10, 20, 50)
    outer = [float((_ball_radii(rng, dim, size) > 1 - SHELL).mean()) for dim in dims]
    grid = np.arange(1, 51)
    theory = 1 - (1 - SHELL) ** grid
    yield Curves(
        f"Mass of the unit ball within {SHELL:g} of its surface",
        "dimension D",
        "share of the volume",
        {"Monte Carlo": (dims, outer)},
        {"1 − (1 − ε)^D": (grid.tolist(), theory.tolist())},
    )
    predicted = 1 - (1 - SHELL) ** 20
    error = float(np.sqrt(predicted * (1 - predicted) / size))
    about = f"share of the ball within {SHELL:g} of its surface, D = 20"
    yield Claim(
        "A thin outer shell holds 1 − (1 − ε)^D of a ball: nearly all of it as D grows.",
        Verdict(about, outer[dims.index(20)], predicted, error, PROBABILITY),
    )


def _ball_radii(rng: np.random.Generator, dim: int, size: int) -> np.ndarray:
    """Norms of uniform points of the ball: D coordinates of a point on the sphere in D + 2.

    So the law of the radius, which is to be shown, is not put in by hand (Archimedes).
    """
    square = rng.standard_normal((size, dim + 2)) ** 2
    return np.sqrt(square[:, :dim].sum(axis=1) / square.sum(axis=1))


def _norms(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    size, rungs, rows = 20_000 * effort, [], []
    for dim in (4, 16, 64, 256):
        norm = np.sqrt(sum((rng.standard_normal(size) ** 2 for _ in range(dim)), np.zeros(size)))
        mean = np.sqrt(2) * np.exp(gammaln(0.5 * (dim + 1)) - gammaln(0.5 * dim))
        deviation = float(np.sqrt(dim - mean**2))
        ratio = float(norm.std() / norm.mean())
        rungs.append(Rung(dim, ratio, ratio / np.sqrt(2 * size)))
        rows.append((float(dim), float(norm.mean()), float(mean), float(norm.std()), deviation))
    columns = ("D", "mean", "mean, exact", "standard deviation", "standard deviation, exact")
    yield Table("The norm of x ~ N(0, I_D)", columns, tuple(rows))
    rate, error = slope(rungs)
    about = "slope of log (sd/mean of ‖x‖) against log D"
    yield Claim(
        "The norm of a normal vector concentrates: its relative spread falls like D^−½.",
        Verdict(about, rate, -0.5, error, RATE),
    )


# --- rates ----------------------------------------------------------------------------------------


def kernel_error(n: float, h: float, dim: int) -> float:
    """(4π)^{D/2} MISE of the kernel estimate of N(0, I_D) from N units with bandwidth h."""
    own = 1 / (n * h**dim)
    pairs = (1 - 1 / n) * (1 + h**2) ** (-dim / 2)
    return own + pairs - 2 * (1 + h**2 / 2) ** (-dim / 2) + 1


def bandwidth(n: float, dim: int) -> float:
    """The asymptotically optimal one for N(0, I_D)."""
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
    """(4π)^{D/2} ISE of the kernel estimate of N(0, I_D) by points, with a bandwidth for each axis.

    Args:
        x: the points, shape (N, D).
        h: the bandwidths, shape (D,).
    """
    pairs = np.exp(-pdist(x / h, "sqeuclidean") / 4).sum()
    own = (len(x) + 2 * pairs) / (len(x) ** 2 * np.prod(h))
    return float(own - 2 * _smoothed(x, h**2).mean() + 1)


def _smoothed(x: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(4π)^{D/2} times the density of N(0, I + diag(v)) at points."""
    total = 1 + variance
    return np.prod(total / 2) ** -0.5 * np.exp(-(x**2 / (2 * total)).sum(axis=1))


def _parametric_errors(rng: np.random.Generator, n: int, dim: int, count: int) -> np.ndarray:
    """(4π)^{D/2} ISE of N(x̄, S), shape (count,), sufficient statistics drawn from their laws."""
    mean = rng.standard_normal((count, dim)) / np.sqrt(n)
    law = wishart(n - 1, np.eye(dim) / n)
    covariance = np.reshape(law.rvs(count, random_state=rng), (count, dim, dim))
    wide = np.eye(dim) + covariance
    solved = np.linalg.solve(wide, mean[:, :, None])[:, :, 0]
    own = np.linalg.det(covariance) ** -0.5
    cross = np.linalg.det(wide / 2) ** -0.5 * np.exp(-0.5 * (mean * solved).sum(axis=1))
    return own - 2 * cross + 1


def _rung(n: int, errors: np.ndarray) -> Rung:
    return Rung(n, float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(errors.size)))


def _exact_slope(rungs: Sequence[Rung], dim: int) -> float:
    """Of the exact MISE, by the weights of the measured one."""
    exact = [kernel_error(rung.n, bandwidth(rung.n, dim), dim) for rung in rungs]
    pairs = zip(rungs, exact, strict=True)
    return slope([Rung(r.n, value, value * r.error / r.value) for r, value in pairs])[0]


def _rates(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    measured, theory = {}, {}
    for dim, replicates in KERNEL.items():
        count = replicates * effort
        rungs = [_rung(n, _kernel_errors(rng, n, dim, count)) for n in UNITS]
        rate, error = slope(rungs)
        about = f"slope of log MISE against log N, kernel estimate, D = {dim}, N = 25 … 400"
        yield Claim(
            "The mean integrated squared error of a kernel estimate is the closed form, so its "
            "slope at finite N is predicted exactly.",
            Verdict(about, rate, _exact_slope(rungs, dim), error, RATE),
        )
        far = [kernel_error(n, bandwidth(n, dim), dim) for n in (1e8, 1e9)]
        limit = float(np.log10(far[1] / far[0]))
        about = f"slope of the exact log MISE, kernel estimate, D = {dim}, N = 10⁸ … 10⁹"
        yield Claim(
            "The error of a kernel estimate falls like N^{−4/(4+D)}: the curse of dimensionality.",
            Verdict(about, limit, -4 / (4 + dim), 0.0, RATE),
        )
        measured[f"kernel, D = {dim}"] = (UNITS, [rung.value for rung in rungs])
        exact = [kernel_error(n, bandwidth(n, dim), dim) for n in UNITS]
        theory[f"kernel, D = {dim}"] = (UNITS, exact)

        rungs = [_rung(n, _parametric_errors(rng, n, dim, 20_000 * effort)) for n in MANY]
        rate, error = slope(rungs)
        about = f"slope of log MISE against log N, maximum likelihood, D = {dim}, N = 200 … 3200"
        yield Claim(
            "The error of a correct parametric model falls like 1/N in every dimension.",
            Verdict(about, rate, -1.0, error, RATE),
        )
        last, constant = rungs[-1], dim / 2 + dim * (dim + 2) / 8
        ratio = last.n * last.value / constant
        about = f"N (4π)^{{D/2}} MISE over D/2 + D(D+2)/8, maximum likelihood, D = {dim}, N = 3200"
        yield Claim(
            "The constant of the parametric rate grows only like D².",
            Verdict(about, ratio, 1.0, last.n * last.error / constant, LIMIT_SD),
        )
        measured[f"maximum likelihood, D = {dim}"] = (MANY, [rung.value for rung in rungs])
        line = [constant / n for n in MANY]
        theory[f"maximum likelihood, D = {dim}"] = (MANY, line)
    yield Curves(
        "Integrated squared error of two estimates of a normal density",
        "units N",
        "mean integrated squared error, units of ∫f²",
        measured,
        theory,
        "xy",
    )


# --- bandwidths chosen by the data ----------------------------------------------------------------


def _selected(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
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
        ratio = chosen / fixed
        away = errors @ [1.0, -ratio]
        error = float(away.std(ddof=1) / np.sqrt(len(away))) / fixed
        exact = kernel_error(n, float(known[0]), dim)
        rows.append((selector, float(dim), float(n), chosen, exact, ratio, error))
        if selector == RULE and n == SELECTED[-1][1]:
            about = f"MISE with estimated scales over that with known ones, D = {dim}, N = {n}"
            yield Claim(
                "The normal reference rule loses next to nothing by estimating its scales.",
                Verdict(about, ratio, 1.0, error, LIMIT_SD),
            )
    columns = (
        "selector", "D", "N", "MISE, units of ∫f²", "with known scales, exact",
        "ratio on the same sets", "its standard error",
    )  # fmt: skip
    title = "Errors of kernel estimates of N(0, I_D) whose bandwidths the data have chosen"
    yield Table(title, columns, tuple(rows))


# --- units needed ---------------------------------------------------------------------------------


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


def _needed() -> Iterator[Shown]:
    found = [units_needed(dim) for dim in range(1, len(SILVERMAN) + 1)]
    rows = [
        (float(dim), needed, float(published))
        for dim, (needed, published) in enumerate(zip(found, SILVERMAN, strict=True), start=1)
    ]
    columns = ("D", "N needed", "Silverman (1986), table 4.2")
    title = "Units for a relative mean squared error of 0.1 at the mode of N(0, I_D)"
    yield Table(title, columns, tuple(rows))
    yield Claim(
        "The units needed for one accuracy explode with the dimension.",
        # his number has three digits
        Verdict("N needed at D = 10, against Silverman's table", found[-1], 842_000, 0.0, 500.0),
    )
