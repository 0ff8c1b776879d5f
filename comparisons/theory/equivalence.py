"""Maximum likelihood, least cross-entropy and least Kullback–Leibler divergence are one estimator.

For data with empirical measure p̂_N = N⁻¹ Σ_i δ(x_i), at every N and every θ,

    −ℓ(θ)/N  =  H(p̂_N, p_θ) = −∫ log p_θ dp̂_N,    and for discrete data    = KL(p̂_N ‖ p_θ) + H(p̂_N),

so that the three differ by constants in θ and have the same optimum: H(p̂_N) is the finite entropy
of the observed frequencies.  For continuous data the first equality stands alone: p̂_N has no
density, KL(p̂_N ‖ p_θ) is infinite, and on bins of width h it grows like −log h.  What takes its
place in an exponential family is the divergence from the member p_θ̂ whose sufficient statistics
have the means of the data: KL(p_θ̂ ‖ p_θ) = H(p̂_N, p_θ) − H(p̂_N, p_θ̂), as log p_θ̂/p_θ is linear in
those statistics.  The constant is the least cross-entropy.  It is the entropy of that member for a
normal law, and wherever the carrier is constant; elsewhere, log x! of a Poisson law for one, the
carrier has another mean under p_θ̂ than under p̂_N.

With a normal prior the mode of the posterior is the ridge estimate, least squares with an L2
penalty of σ²/τ².  For iid data at a regular θ₀ the estimator is consistent, and √N (θ̂ − θ₀) tends
to N(0, I(θ₀)⁻¹), the Cramér–Rao bound; before the limit σ̂ of a Gaussian is σ χ_{N−1}/√N exactly.
References: Akaike (1973); Csiszár (1975), Ann. Probab. 3; Hoerl & Kennard (1970), Technometrics 12;
van der Vaart (1998), Asymptotic Statistics, §5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import minimize
from scipy.stats import chi, kurtosis, norm, skew

from comparisons.exhibits import Claim, Curves, Table
from comparisons.policy import LIMIT_SD
from comparisons.studies._ladder import Rung, slope
from comparisons.verdict import Verdict, not_comparable
from inference.methods.maximum_a_posteriori import MaximumAPosteriori
from inference.replicates.fits import replicate
from inference.replicates.simulated import simulated
from models.catalogue.gaussian import Gaussian
from models.catalogue.poisson import Poisson
from models.catalogue.ridge_regression import RidgeRegression
from models.programs.density import density

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jax import Array

    from comparisons.exhibits import Shown

UNITS = 200
"""Units of the data sets whose objectives are compared."""
SAME = 1e-3
"""Distance of two optima, in standard errors, that no number of digits in a report shows."""
ROUNDING = 1e-12
"""What sums of some hundred terms of order 1 may be off in float64."""
RIDGE = 1e-10
"""The contract's tolerance for the identity of the mode and the ridge estimate."""
SLOPE = 0.05
"""Largest difference of the exponent of a bin's width that does not matter."""
RATE = 0.02
"""Largest difference of the exponent of N that does not matter: 4 % of the rate."""
LADDER = (50, 400)
REPLICATES = 20_000
"""Enough that 2z standard errors of a skewness are below `SKEWNESS`; fitted so many at a time."""
BIAS = 0.1
"""Bias in standard deviations: its square is then 1 % of the variance."""
DISTANCE = 0.01
"""Largest difference of a probability that does not matter."""
SKEWNESS = DISTANCE / (norm.pdf(0) / 6)
"""Skewness γ moves probabilities by at most γ φ(0)/6 (Edgeworth), so this one by `DISTANCE`."""
KURTOSIS = DISTANCE / (0.5506 / 24)
"""Excess kurtosis κ moves probabilities by at most κ max |x³ − 3x| φ(x) / 24 = 0.5506 κ/24."""

EFFICIENT = "The estimator is efficient: its variance attains the Cramér–Rao bound."


class Objectives(NamedTuple):
    """Three functions to minimise over u in ℝᵏ, and what theory says of them."""

    name: str
    functions: dict[str, Callable[[Array], Array]]
    """By name: minus mean log-likelihood, cross-entropy, divergence."""
    entropy: float
    """H by which cross-entropy exceeds divergence, nats."""
    maximum: np.ndarray
    """The optimum in closed form, shape (k,)."""
    start: np.ndarray


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Two models' objectives, the ridge identity, then repeated sampling."""
    for objectives in (_gaussian(rng), _poisson(rng)):
        yield from _equivalent(objectives)
    yield from _divergent(rng)
    yield from _ridge(rng)
    yield from _repeated(rng, effort)


# --- one estimator --------------------------------------------------------------------------------


def _gaussian(rng: np.random.Generator) -> Objectives:
    """u = (μ, log σ): the program's density, moments of the data, and a divergence of normals."""
    model = Gaussian()
    data = model.simulate(rng, model.truth, UNITS)
    of = density(model, data)
    y = np.asarray(data["y"].data)
    mean, deviation = y.mean(), y.std()

    def likelihood(u: Array) -> Array:
        return -jnp.sum(of.log_likelihood(u)) / UNITS

    def cross_entropy(u: Array) -> Array:
        square = jnp.mean(((y - u[0]) / jnp.exp(u[1])) ** 2)
        return 0.5 * jnp.log(2 * jnp.pi) + u[1] + 0.5 * square

    def divergence(u: Array) -> Array:
        return _normal_divergence(mean, deviation, u[0], jnp.exp(u[1]))

    return Objectives(
        "gaussian",
        {"likelihood": likelihood, "cross-entropy": cross_entropy, "divergence": divergence},
        0.5 * float(np.log(2 * np.pi * np.e * deviation**2)),
        np.array([mean, np.log(deviation)]),
        np.asarray(of.unconstrain(model.start(rng, data))),
    )


def _normal_divergence(loc: float, scale: float, mu: Array, sigma: Array) -> Array:
    """KL(N(loc, scale²) ‖ N(mu, sigma²)), nats."""
    return jnp.log(sigma / scale) + 0.5 * (scale**2 + (loc - mu) ** 2) / sigma**2 - 0.5


def _poisson(rng: np.random.Generator) -> Objectives:
    """u = log λ: the program's density at the data one by one, then through their frequencies."""
    model = Poisson()
    data = model.simulate(rng, model.truth, UNITS)
    x = np.asarray(data["x"].data)
    values, counts = np.unique(x, return_counts=True)
    frequency = counts / UNITS
    of, distinct = density(model, data), density(model, xr.Dataset({"x": ("obs", values)}))

    def likelihood(u: Array) -> Array:
        return -jnp.sum(of.log_likelihood(u)) / UNITS

    def cross_entropy(u: Array) -> Array:
        return -jnp.dot(frequency, distinct.log_likelihood(u))

    def divergence(u: Array) -> Array:
        mass = jnp.exp(distinct.log_likelihood(u))
        return jnp.sum(frequency * jnp.log(frequency / mass))

    return Objectives(
        "poisson",
        {"likelihood": likelihood, "cross-entropy": cross_entropy, "divergence": divergence},
        float(-(frequency * np.log(frequency)).sum()),
        np.log([x.mean()]),
        np.asarray(of.unconstrain(model.start(rng, data))),
    )


def _equivalent(these: Objectives) -> Iterator[Shown]:
    k = these.maximum.size
    # the optimum is not a node, so that no two nodes are equally near
    axis = np.linspace(-0.5, 0.503, 2_001 if k == 1 else 101)
    mesh = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), axis=-1).reshape(-1, k)
    nodes = jnp.asarray(these.maximum + mesh)
    heights = {
        name: np.asarray(jax.jit(jax.vmap(function))(nodes))
        for name, function in these.functions.items()
    }
    likelihood, cross, divergence = heights.values()
    best = {name: int(height.argmin()) for name, height in heights.items()}
    for name in ("cross-entropy", "divergence"):
        about = f"{these.name}, grid of {len(mesh):,}: nodes between the least {name} and the MLE"
        yield Claim(
            "At finite N the least cross-entropy and divergence are at the highest likelihood.",
            Verdict(about, abs(best[name] - best["likelihood"]), 0.0, 0.0, 0.0),
        )
    ends = {name: _minimum(these, function) for name, function in these.functions.items()}
    for name, end in ends.items():
        about = f"{these.name}: least {name} by optimiser from the closed form, standard errors"
        statement = "An optimiser of any of the three ends at the maximum of the likelihood."
        if end is None:
            cause = "the optimiser is not at a stationary point"
            yield Claim(statement, not_comparable(about, cause))
            continue
        curvature = np.asarray(jax.hessian(these.functions["likelihood"])(these.maximum))
        away = end - these.maximum
        distance = float(np.sqrt(UNITS * away @ curvature @ away))
        yield Claim(statement, Verdict(about, distance, 0.0, 0.0, SAME))
    gaps = (("likelihood", likelihood - cross, 0.0), ("divergence", cross - divergence, 1.0))
    for name, gap, of_entropy in gaps:
        about = f"{these.name}: range over θ of cross-entropy less {name}, nats"
        yield Claim(
            "The three objectives differ by constants in θ.",
            Verdict(about, float(np.ptp(gap)), 0.0, 0.0, ROUNDING * np.abs(cross).max()),
        )
        about = f"{these.name}: cross-entropy less {name}, nats"
        expected = of_entropy * these.entropy
        yield Claim(
            "Cross-entropy is minus the mean log-likelihood, and exceeds divergence by an entropy.",
            Verdict(about, float(gap.mean()), expected, 0.0, ROUNDING * np.abs(cross).max()),
        )
    rows = tuple((name, float(height.min())) for name, height in heights.items())
    yield Table(
        f"{these.name}: the least value of each objective on the grid",
        ("objective", "nats per unit"),
        (*rows, ("entropy, the constant", these.entropy)),
    )
    line = heights if k == 1 else {n: h.reshape(axis.size, -1)[50] for n, h in heights.items()}
    yield Curves(
        f"{these.name}: three objectives, one optimum",
        "log λ less its estimate" if k == 1 else "log σ less its estimate",
        "nats per unit",
        {name: (axis.tolist(), height.tolist()) for name, height in line.items()},
        {},
    )


def _minimum(these: Objectives, function: Callable[[Array], Array]) -> np.ndarray | None:
    """Where BFGS ends; None if that is a tenth of `SAME` from stationary, by a Newton step."""
    both = jax.jit(jax.value_and_grad(function))

    def evaluate(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(u)
        return float(value), np.asarray(gradient)

    end = minimize(evaluate, these.start, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    gradient, hessian = evaluate(end)[1], np.asarray(jax.hessian(function)(end))
    decrement = np.sqrt(UNITS * abs(gradient @ np.linalg.solve(hessian, gradient)))
    return end if decrement < 0.1 * SAME else None


def _divergent(rng: np.random.Generator) -> Iterator[Shown]:
    model = Gaussian()
    y = np.asarray(model.simulate(rng, model.truth, UNITS)["y"].data)
    law = norm(y.mean(), y.std())
    widths = 10.0 ** -np.arange(1, 10)
    found = []
    for width in widths:
        bins, counts = np.unique(np.floor(y / width), return_counts=True)
        mass = law.cdf((bins + 1) * width) - law.cdf(bins * width)
        found.append(float(np.sum(counts / UNITS * np.log(counts / UNITS / mass))))
    rate = (found[-1] - found[-3]) / np.log(widths[-1] / widths[-3])
    yield Claim(
        "The divergence of continuous data from a density is infinite: on bins of width h it grows "
        "like −log h.",
        Verdict("slope of KL(data ‖ density) on bins against log h", rate, -1.0, 0.0, SLOPE),
    )
    separate = (-np.log(UNITS) - law.logpdf(y).mean() - np.log(widths)).tolist()
    yield Curves(
        "Divergence of continuous data from their best normal law",
        "width of bins h, units of the data",
        "KL on bins, nats",
        {"data in bins": (widths.tolist(), found)},
        {"H(p̂, p) − log N − log h": (widths.tolist(), separate)},
        "x",
    )


# --- posterior mode and ridge ---------------------------------------------------------------------


def _ridge(rng: np.random.Generator) -> Iterator[Shown]:
    model = RidgeRegression()
    data = model.simulate(rng, model.truth, UNITS)
    fit = MaximumAPosteriori(restarts=2).fit(model, data, rng)
    penalty = (model.sigma / model.slope_scale) ** 2
    theirs = ridge(np.asarray(data["x"].data), np.asarray(data["y"].data), penalty)
    difference = np.abs(np.asarray(fit.center.value["beta"].data) - theirs).max()
    about = "largest |maximum_a_posteriori − ridge estimate|"
    yield Claim(
        "Under a normal prior the mode of the posterior is the ridge estimate with penalty σ²/τ².",
        not_comparable(about, "; ".join(fit.problems))
        if fit.problems
        else Verdict(about, float(difference), 0.0, 0.0, RIDGE),
    )


def ridge(X: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """argmin ‖y − Xβ‖² + penalty ‖β‖², by least squares on k further rows, shape (k,)."""
    k = X.shape[1]
    rows = np.vstack([X, np.sqrt(penalty) * np.eye(k)])
    return np.linalg.lstsq(rows, np.append(y, np.zeros(k)), rcond=None)[0]


# --- repeated sampling ----------------------------------------------------------------------------


def _repeated(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    model, seed = Gaussian(), int(rng.integers(2**31))
    truth = np.array([float(model.truth["mu"]), float(model.truth["sigma"])])
    spread: dict[str, list[Rung]] = {"mu": [], "sigma": []}
    rows = []
    for n in LADDER:
        bound = truth[1] / np.sqrt(n * np.array([1.0, 2.0]))
        parts = []
        for first in range(0, REPLICATES * effort, REPLICATES):
            indices = range(first, first + REPLICATES)
            fits = replicate(model, simulated(model, model.truth, n, indices, seed))
            if not fits.converged.all():
                cause = f"some replicates of {n} units have no maximum"
                yield Claim(EFFICIENT, not_comparable("maximum-likelihood estimates", cause))
                return
            parts.append((fits.estimate - truth) / bound)
        error = np.concatenate(parts)
        # σ̂ = σ χ_{N−1}/√N and its bound is σ/√(2N)
        laws = {"mu": norm(), "sigma": chi(n - 1, -np.sqrt(2) * np.sqrt(n), np.sqrt(2))}
        for i, (name, law) in enumerate(laws.items()):
            found, exact = _moments(error[:, i]), law.stats("mvsk")
            yield from _held(f"{name}, N = {n}", found, exact)
            spread[name].append(Rung(n, found.deviation * bound[i], found.uncertain * bound[i]))
            bias, variance = map(float, exact[:2])
            rows.append((name, float(n), found.mean, bias, found.deviation, variance**0.5))
    columns = (
        *("parameter", "N", "bias / bound", "exact bias / bound", "sd / bound"),
        "exact sd / bound",
    )
    yield Table("Maximum-likelihood estimates of a Gaussian", columns, tuple(rows))
    for name, rungs in spread.items():
        rate, error = slope(rungs)
        yield Claim(
            "The estimator is consistent: its standard deviation falls like N^−½.",
            Verdict(f"slope of log sd of {name} against log N", rate, -0.5, error, RATE),
        )


class _Moments(NamedTuple):
    """Of errors in units of the bound, with standard errors."""

    mean: float
    mean_error: float
    deviation: float
    uncertain: float
    """Standard error of the deviation, √((κ − 1)/4R) of it."""
    skewness: float
    skewness_error: float
    tails: float
    """Excess kurtosis."""
    tails_error: float


def _moments(z: np.ndarray) -> _Moments:
    """Moments of a sample; null laws of the higher ones N(0, 6/R), N(0, 24/R): Jarque & Bera."""
    deviation, tails, root = float(z.std(ddof=1)), float(kurtosis(z)), np.sqrt(z.size)
    return _Moments(
        float(z.mean()),
        float(deviation / root),
        deviation,
        float(deviation * np.sqrt(tails + 2) / (2 * root)),
        float(skew(z)),
        float(np.sqrt(6) / root),
        tails,
        float(np.sqrt(24) / root),
    )


def _held(about: str, found: _Moments, exact: Sequence[float]) -> Iterator[Shown]:
    """Claims on errors in units of the Cramér–Rao bound.

    `exact` has the mean, variance, skewness and excess kurtosis of their law at this N.
    """
    bias, _, skewness, tails = map(float, exact)
    yield Claim(
        "The bias vanishes against the standard deviation.",
        Verdict(
            f"mean of (estimate − truth) / bound, {about}", found.mean, 0.0,
            found.mean_error, BIAS,
            cause="σ̂ is σ χ_{N−1}/√N: its bias is of order 1/N", predicted=bias,
        ),
    )  # fmt: skip
    yield Claim(
        EFFICIENT,
        Verdict(f"sd / bound, {about}", found.deviation, 1.0, found.uncertain, LIMIT_SD),
    )
    for name, value, expected, error, bound in (
        ("skewness", found.skewness, skewness, found.skewness_error, SKEWNESS),
        ("excess kurtosis", found.tails, tails, found.tails_error, KURTOSIS),
    ):
        yield Claim(
            f"The {name} of the estimator is that of N(0, 1/N) or of χ_{{N−1}}, and so vanishes.",
            Verdict(f"{name}, {about} / exact", value, expected, error, bound),
        )
