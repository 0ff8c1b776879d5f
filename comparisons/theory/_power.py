"""How often a distance, as a test of equal laws, rejects: by its limit law, and by permutations.

The theorems are those of `distances`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln
from scipy.stats import norm

from comparisons import distances
from comparisons.distances import classifier, cubic, discrepancy, frechet, wasserstein
from comparisons.exhibits import Curves, Exhibits
from comparisons.theory._claims import Measured, at_least, equal, mean

POWER = 0.05  # of a probability: a rejection rate must not be off by more, the project's bound
OFF = 0.5  # of its level: what the rejection rate of equal laws must not be off by
BANDWIDTH, LEVEL = 1.5, 0.05
TESTED, TESTS, SHIFTS = 100, 5_000, (0.0, 0.2, 0.35, 0.5)
"""Rows of each sample of a test, repetitions, and the shifts planted, in standard deviations."""
CHEAP, CLASSIFIER_TESTS = 2, 1_000
"""Times as many where no kernel is evaluated, and repetitions where classifiers are trained."""
LIMIT = 100_000  # draws of a limit law
PERMUTED, ORDERS, LARGE = 40, 19, 1.5
"""Rows of a test by permutations, how many it makes, and the shift that each finds; 1 in 20 is
`LEVEL`."""
PERMUTATIONS = {0.0: 3_000, LARGE: 200}  # tests by shift: rates near 1 vary less
AT_ONCE = 30_000  # kernel entries at a time: they stay in the cache

type Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(x, y) ↦ a number for each pair of samples, shapes (R, N, d)."""
type Features = Callable[[np.ndarray], np.ndarray]
"""(n,) ↦ (n, F): the a with k(x, y) = a(x)ᵀ a(y)."""


def kid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The U-statistic of the cubic kernel."""
    return discrepancy(cubic, x, y).unbiased.value


def accuracy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The held-out accuracy of a classifier."""
    return classifier(x, y).value


def chunked(statistic: Statistic, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A function of replicates, few enough at a time for all pairs of rows to fit in memory."""
    step = max(1, AT_ONCE // x.shape[-2] ** 2)
    parts = [statistic(x[i : i + step], y[i : i + step]) for i in range(0, len(x), step)]
    return np.concatenate(parts)


def normal_features(x: np.ndarray) -> np.ndarray:
    """a_l(x) = e^(−x²/(2ℓ²)) (x/ℓ)^l / √l! of the normal kernel, by the series of exp(xy/ℓ²)."""
    order = np.arange(120)
    log_size = order * np.log(np.abs(x[:, None]) / BANDWIDTH + 1e-300)
    log_size = log_size - (x[:, None] / BANDWIDTH) ** 2 / 2 - gammaln(order + 1) / 2
    return np.sign(x[:, None]) ** order * np.exp(log_size)


def cubic_features(x: np.ndarray) -> np.ndarray:
    """Features of (xy + 1)³; the constant tells nothing apart."""
    return np.stack([np.sqrt(3) * x, np.sqrt(3) * x**2, x**3], axis=1)


def feature_moments(features: Features, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a(x), x ~ N(shift, 1), by quadrature."""
    nodes = np.linspace(-9.0, 9.0, 721) + shift
    mass = norm.pdf(nodes - shift) * (nodes[1] - nodes[0])
    values = features(nodes)
    mean = mass @ values
    away = values - mean
    return mean, (away * mass[:, None]).T @ away


def kernel_limit(features: Features, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draws of N times the U-statistic in the limit: ‖g‖² − tr C."""
    (mean_1, covariance_1), (mean_2, covariance_2) = (
        feature_moments(features, s) for s in (0.0, shift)
    )
    value, vector = np.linalg.eigh(covariance_1 + covariance_2)
    large = value > 1e-8 * value[-1]
    location = np.sqrt(TESTED) * (mean_2 - mean_1) @ vector[:, large]
    g = location + np.sqrt(value[large]) * rng.normal(size=(LIMIT, int(large.sum())))
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


class Test(NamedTuple):
    """A distance as a test of equal laws."""

    statistic: Statistic  # a number for each pair of samples, in the units of the limit
    repetitions: int
    limit: Callable[[float, np.random.Generator], np.ndarray] | None = None
    """Draws of its limit law at a shift; where none is known, equal laws are simulated instead."""
    invariant: bool = True
    """Whether a shift of both samples changes nothing, so that the level holds at every law."""


def tests() -> dict[str, Test]:
    """By name of the distance."""
    kernel, many, root = distances.gaussian(BANDWIDTH), CHEAP * TESTS, np.sqrt(TESTED)
    limit, cubic_limit = (partial(kernel_limit, f) for f in (normal_features, cubic_features))
    return {
        "MMD": Test(lambda x, y: TESTED * discrepancy(kernel, x, y).unbiased.value, TESTS, limit),
        "KID": Test(lambda x, y: TESTED * kid(x, y), TESTS, cubic_limit, invariant=False),
        "Fréchet": Test(lambda x, y: TESTED * frechet(x, y).value, many, frechet_limit),
        "Wasserstein": Test(
            lambda x, y: root * wasserstein(x, y).value[..., 0], many, wasserstein_limit
        ),
        "classifier": Test(accuracy, CLASSIFIER_TESTS),
    }


def power(rng: np.random.Generator, effort: int) -> Exhibits:
    """How often each distance rejects equal laws when one is shifted, beside its limit law."""
    measured, theory = {}, {"most powerful": (SHIFTS, [_most_powerful(s) for s in SHIFTS])}
    for name, test in tests().items():
        found = list(rejections(test, rng, effort))
        for one in found:
            yield from _judged(name, test, *one)
        _, rates, predicted = zip(*found, strict=True)
        measured[name] = SHIFTS, [rate.value for rate in rates]
        if test.limit:
            theory[name] = SHIFTS, list(predicted)
    title = f"power against a shift, N = {TESTED}"
    yield Curves(title, "shift, standard deviations", "rejection rate", measured, theory)


def _most_powerful(shift: float) -> float:
    """Power of the difference of means, the best of a test whose level holds at every law."""
    return float(norm.sf(norm.isf(LEVEL) - shift * np.sqrt(TESTED / 2)))


def rejections(
    test: Test, rng: np.random.Generator, effort: int
) -> Iterator[tuple[float, Measured, float]]:
    """Shift, rejection rate with the error of its difference from the limit law's, and that."""
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
        yield shift, Measured(rate, float(np.hypot.reduce(parts))), predicted


def _judged(name: str, test: Test, shift: float, rate: Measured, predicted: float) -> Exhibits:
    """Claims on the rejection rate of a test at a shift; NaN is predicted without a limit law."""
    about = f"rejection rate at level {LEVEL:g}, shift of {shift:g}, N = {TESTED}: {name}"
    best = _most_powerful(shift)
    if test.limit:
        statement = f"the {name} test rejects equal laws as often as its limit law says"
        yield equal(statement, about, rate, predicted, POWER if shift else OFF * LEVEL)
    if shift and test.invariant:
        statement = f"the {name} test, of one level at every law, has no more power than the best"
        less = Measured(best - rate.value, rate.error)
        yield at_least(statement, f"power of the difference of means − {about}", less, 0.0, POWER)
    if shift == SHIFTS[-1] and not test.limit:
        statement = f"the {name} test has at least half of the power that a test can have"
        yield at_least(statement, f"{about} − half of the best", rate.less(best / 2), 0.0)


def _statistics(
    statistic: Statistic, shift: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """A statistic of pairs of samples of N(0, 1) and N(shift, 1)."""
    x = rng.normal(size=(count, TESTED, 1))
    return _untied(chunked(statistic, x, rng.normal(shift, 1.0, size=x.shape)), rng)


def _untied(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ties, as of accuracies, are broken at random: else the level is not kept."""
    return values + 1e-9 * rng.random(values.shape)


def permutation_tests(rng: np.random.Generator, effort: int) -> Exhibits:
    """How often each distance, against those of relabelled rows, rejects equal and shifted laws."""
    # all but that whose kernel is dear
    statistics = {name: test.statistic for name, test in tests().items() if name != "MMD"}
    for shift, replicates in PERMUTATIONS.items():
        rejected: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
        for _ in range(replicates * effort // 100):
            rows = rng.normal(size=(100, 1, 2 * PERMUTED, 1))
            rows[:, :, PERMUTED:] += shift
            order = np.tile(np.arange(2 * PERMUTED)[:, None], (100, ORDERS + 1, 1, 1))
            order[:, 1:] = rng.permuted(order[:, 1:], axis=-2)
            parts = np.split(np.take_along_axis(rows, order, axis=-2), 2, axis=-2)
            for name, statistic in statistics.items():
                values = _untied(statistic(*parts), rng)
                rejected[name].append(values.argmax(axis=1) == 0)
        expected, bound = (1.0, POWER) if shift else (LEVEL, OFF * LEVEL)
        does = "finds a large shift" if shift else "keeps its level"
        for name, found in rejected.items():
            about = f"rejection rate, shift of {shift:g}, N = {PERMUTED}: {name} by permutations"
            rate = mean(np.concatenate(found).astype(float))
            yield equal(f"a test by permutations of {name} {does}", about, rate, expected, bound)
