"""Every sampler pays for n draws with an error of n^(−1/2); unadjusted ones add a bias.

The mean of f over n draws has variance Var(f)·c/n, with c = 1 for independent draws, 1 + χ² or so
for importance weights, and the integrated autocorrelation for a Markov chain.  Rejection proposes M
times for a draw; the weights of a proposal q leave ESS/n → 1/(1 + χ²).  Unadjusted Langevin with
step h has a stationary law that is off by O(h): on N(m, σ²) its variance is σ²/(1 − h/(2σ²)).
Reverse diffusion by N Euler steps is off by O(1/N).  Acceptance by Metropolis' rule leaves no bias.
Langevin dynamics ask for the score alone, and so draw from a law known by a learnt score.

The target is a mixture of two normals whose means lie on a line.  Along it both discretised
processes are Markov chains on ℝ with Gaussian transitions, so that their laws, and thereby their
biases, are found without noise: the trapezoidal rule makes a transition a matrix, to rounding.
References: Robert & Casella (2004), Monte Carlo Statistical Methods; Kong (1992); Talay & Tubaro
(1990), Stoch. Anal. Appl. 8 (order of the bias); Trefethen & Weideman (2014), SIAM Review 56.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.exhibits import Claim, Curves, Table
from comparisons.theory import sampling
from comparisons.theory.densities.score_matching import ScoreMatching
from comparisons.theory.sampling._drawn import Learnt, NormalMixture, Sampler
from comparisons.theory.sampling.importance import (
    RELIABLE,
    Importance,
    chi_squared,
    effective,
    tail_index,
    tail_size,
)
from comparisons.theory.sampling.rejection import Rejection, bound
from comparisons.theory.sampling.reparameterised import transport
from comparisons.theory.sampling.reverse_diffusion import HORIZON, ReverseDiffusion, centre
from comparisons.theory.sampling.unadjusted_langevin import UnadjustedLangevin
from comparisons.verdict import Verdict, not_comparable
from models.programs.keys import key_of
from models.registry import subclasses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comparisons.exhibits import Shown
    from comparisons.theory.sampling._drawn import Drawn

AXIS = np.array([0.8, 0.6])
"""Direction of the line through the two means."""
PLACES = np.array([-1.2, 0.8])
"""The means on it."""
WEIGHTS, SCALE = np.array([0.35, 0.65]), 0.8
DRAWS = 512
REPETITIONS = 200
"""Independent runs at effort 1; their spread is the Monte Carlo error."""
SIZES = (16, 32, 64, 128, 256, 512)
STEPS = (0.32, 0.16, 0.08, 0.04)
"""Steps h of unadjusted Langevin; the first is σ²/2, at which its variance is 4/3 of σ²."""
CLOSE = 0.08
"""Step of Langevin with a learnt score: its own bias, 2 % of the variance, is predicted."""
TRAIN = 32_000
"""Draws that the score is learnt from: they leave 1/√N of their own, a tenth of the bounds."""
FEW = 0.16
"""Step to and above which one set of repetitions shows the bias."""
FINE = (0.02, 0.01)
"""Steps between which the order of the bias is measured."""
COUNTS = (8, 16, 32, 64, 128, 256)
"""Numbers N of steps of the reverse diffusion."""
DRAWN = {8: 2, 16: 8}
"""By the number of steps, how many times the repetitions it takes for draws to show their bias."""
TAILS = 16_384
"""Draws to which one k̂ is fitted."""
NARROW = 0.5
"""Scale of a proposal that is too narrow, relative to the target's."""

LOCATION = 0.05
"""Error of a mean, in standard deviations, that does not matter: the project's bound."""
RELATIVE = 0.05
"""Relative error of a variance or a cost that does not matter: the project's bound for spreads."""
SLOPE = 0.1
"""Error of a power that does not matter: over the factor of 32 from the smallest to the largest n,
or as much of a step, it changes what is extrapolated by less than 32^0.1 = 1.4."""
TAIL = 0.05
"""Error of k̂ that does not matter: a quarter of the distance between its two thresholds, ½ and 0.7.
"""
APART = 0.05
"""Total variation that does not matter: no event's probability is off by more than this."""
HALF = 0.5
"""Share of a bias that a measured one must not be off by: then it is neither absent nor twice."""
POWER = 0.25
"""Error of a measured power of h that does not matter: half of what tells it from ½ and 3/2."""
NODES = np.arange(-9.0, 9.0, 0.1)
"""Of the quadrature: 10 standard deviations around the means, a step below that of every kernel."""


@final
class Moments(NamedTuple):
    """Mean and variance along the axis."""

    mean: float
    variance: float


def target() -> NormalMixture:
    """The law in the plane."""
    means = jnp.asarray(PLACES[:, None] * AXIS)
    return NormalMixture(jnp.asarray(WEIGHTS), means, jnp.asarray(SCALE))


def line() -> NormalMixture:
    """Its law along the axis."""
    return NormalMixture(jnp.asarray(WEIGHTS), jnp.asarray(PLACES[:, None]), jnp.asarray(SCALE))


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Every sampler on one target, and the biases of those that have one."""
    repetitions = REPETITIONS * effort
    found = subclasses(sampling, Sampler)
    every = {name: cls() for name, cls in found.items()}  # pyright: ignore[reportAbstractUsage]
    drawn = {name: s.draw(target(), rng, repetitions, DRAWS) for name, s in every.items()}
    for name, sampler in every.items():
        if drawn[name].problems:
            cause = drawn[name].problems[0]
            yield Claim(f"{name} has run well", not_comparable(name, cause))
        elif sampler.exact:
            yield from _unbiased(name, drawn[name])
    yield from _cost(drawn)
    yield from _tails(drawn["importance"], rng, repetitions)
    yield _derivative(rng, effort)
    yield from _langevin(drawn["unadjusted_langevin"], rng, repetitions)
    yield from _learnt(rng, effort)
    yield from _diffusion(rng, repetitions)
    yield _efficiency(drawn)
    yield _errors(drawn)


# --- every sampler ------------------------------------------------------------------------------


def truth() -> Moments:
    """Of the target."""
    return Moments(float(line().mean[0]), float(line().covariance[0, 0]))


def measured(drawn: Drawn) -> tuple[Moments, Moments]:
    """Mean and second moment about the true mean, by draws, and their Monte Carlo errors."""
    along = drawn.draws @ AXIS
    values = np.stack([along, (along - truth().mean) ** 2], axis=-1)
    rows = drawn.means(values, DRAWS)[:, 0]
    errors = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return Moments(*map(float, rows.mean(axis=0))), Moments(*map(float, errors))


def _unbiased(name: str, drawn: Drawn) -> Iterator[Claim]:
    found, error = measured(drawn)
    mean, variance = truth()
    deviation = np.sqrt(variance)
    yield Claim(
        f"the mean of the draws is the target's: {name}",
        Verdict(
            f"mean along the axis, in standard deviations: {name} / exact",
            found.mean / deviation, mean / deviation, error.mean / deviation, LOCATION,
        ),
    )  # fmt: skip
    yield Claim(
        f"the variance of the draws is the target's: {name}",
        Verdict(
            f"variance along the axis, relative to the true one: {name} / exact",
            found.variance / variance, 1.0, error.variance / variance, RELATIVE,
        ),
    )  # fmt: skip
    slope, error = error_slope(drawn)
    yield Claim(
        f"the error falls as the square root of the number of draws: {name}",
        Verdict(
            f"slope of log error of the mean against log n, n = {SIZES[0]} … {SIZES[-1]}: {name}",
            slope, -0.5, error, SLOPE,
        ),
    )  # fmt: skip


def squared_errors(drawn: Drawn, size: int) -> np.ndarray:
    """‖mean − truth‖² over blocks of draws, averaged in each repetition, shape (R,)."""
    away = drawn.means(drawn.draws, size) - np.asarray(target().mean)
    return (away**2).sum(axis=-1).mean(axis=1)


def error_slope(drawn: Drawn) -> tuple[float, float]:
    """Slope of the log root mean squared error from the first to the last size, and its error."""
    few, many = squared_errors(drawn, SIZES[0]), squared_errors(drawn, SIZES[-1])
    factor = 2 * np.log(SIZES[-1] / SIZES[0])
    influence = (many / many.mean() - few / few.mean()) / factor
    slope = np.log(many.mean() / few.mean()) / factor
    return float(slope), float(influence.std(ddof=1) / np.sqrt(len(influence)))


def _efficiency(drawn: dict[str, Drawn]) -> Table:
    total = float(jnp.trace(target().covariance))
    rows = []
    for name, one in drawn.items():
        square = float(squared_errors(one, DRAWS).mean())
        price = one.evaluations * DRAWS * square / total
        row = (name, one.acceptance, one.warm_up, one.evaluations, float(np.sqrt(square)), price)
        rows.append(row)
    return Table(
        f"error of the mean of {DRAWS} draws, and what it cost",
        (
            "sampler",
            "accepted share",
            "evaluations of warm-up",
            "evaluations per draw",
            "root mean squared error of the mean vector",
            "evaluations worth one independent draw",
        ),
        tuple(rows),
    )


def _errors(drawn: dict[str, Drawn]) -> Curves:
    total = float(jnp.trace(target().covariance))
    lines = {}
    for name, one in drawn.items():
        cost = [one.warm_up + one.evaluations * size for size in SIZES]
        lines[name] = cost, [float(np.sqrt(squared_errors(one, s).mean())) for s in SIZES]
    ends = [float(SIZES[0]), max(cost[-1] for cost, _ in lines.values())]
    return Curves(
        "error against cost",
        "evaluations of density or gradient, warm-up included",
        "root mean squared error of the mean vector",
        lines,
        {"one evaluation per independent draw": (ends, [np.sqrt(total / x) for x in ends])},
        "xy",
    )


# --- costs and weights --------------------------------------------------------------------------


def _cost(drawn: dict[str, Drawn]) -> Iterator[Claim]:
    many = bound(target(), Rejection().ratio)
    tried = drawn["rejection"].evaluations
    draws = drawn["rejection"].draws
    # of a mean of geometric numbers
    error = np.sqrt(1 - 1 / many) * many / np.sqrt(draws.shape[0] * draws.shape[1])
    yield Claim(
        "rejection accepts one proposal in M",
        Verdict("proposals per draw, in units of M", tried / many, 1.0, error / many, RELATIVE),
    )
    weights = drawn["importance"].weights
    share = effective(np.ones((2, DRAWS)) if weights is None else weights)
    expected = 1 / (1 + chi_squared(target(), Importance().ratio))
    error = float(share.std(ddof=1) / np.sqrt(len(share)))
    yield Claim(
        "importance weights are worth n/(1 + χ²) draws",
        Verdict(
            "ESS/n, in units of 1/(1 + χ²)",
            float(share.mean()) / expected, 1.0, error / expected, RELATIVE,
        ),
    )  # fmt: skip


def _tails(wide: Drawn, rng: np.random.Generator, repetitions: int) -> Iterator[Claim]:
    """k̂ of a proposal wider than the target, and of one whose weights are exactly Pareto."""
    weights = wide.weights
    k = np.array([] if weights is None else [tail_index(row) for row in weights])
    yield Claim(
        "k̂ vouches for a proposal with heavier tails than the target's",
        Verdict(
            f"{RELIABLE} − k̂, {DRAWS} draws of a wider proposal",
            RELIABLE - float(k.mean()),
            0.0,
            float(k.std(ddof=1) / np.sqrt(k.size)),
            0.0,
            relation="at_least",
        ),
    )
    weights = Importance(NARROW).draw(normal(), rng, repetitions, TAILS).weights
    k = np.array([] if weights is None else [tail_index(row) for row in weights])
    # ‖x‖² is exponential in the plane, so w is Pareto; k̂ is pulled to ½ as if by ten draws
    tail, true = tail_size(TAILS), 1 - NARROW**2
    yield Claim(
        "k̂ is the tail index of the weights, 1 − s²/σ² for a normal proposal that is too narrow",
        Verdict(
            f"k̂ of {TAILS} draws, s/σ = {NARROW}",
            float(k.mean()),
            (tail * true + 5) / (tail + 10),
            float(k.std(ddof=1) / np.sqrt(k.size)),
            TAIL,
        ),
    )


def normal() -> NormalMixture:
    """N(0, σ²I) in the plane, as a mixture of two that coincide."""
    return target()._replace(means=jnp.zeros((2, 2)))


def _derivative(rng: np.random.Generator, effort: int) -> Claim:
    law = target()
    uniform = jax.random.uniform(key_of(rng), (effort * 50_000, 2))

    @jax.jit
    def pathwise(scale: jax.Array) -> jax.Array:
        def squares(scale: jax.Array) -> jax.Array:
            x = transport(law._replace(scale=scale), uniform)
            return jnp.sum((x - law.mean) ** 2, axis=1)

        return jax.jvp(squares, (scale,), (jnp.ones(()),))[1]

    slopes = np.asarray(pathwise(law.scale))
    expected = 4 * SCALE
    error = float(slopes.std(ddof=1) / np.sqrt(slopes.size))
    return Claim(
        "reparameterised draws carry the derivative of an expectation",
        Verdict(
            "∂E‖x − Ex‖²/∂σ, in units of 2dσ, along the paths of the draws",
            float(slopes.mean()) / expected, 1.0, error / expected, RELATIVE,
        ),
    )  # fmt: skip


# --- unadjusted Langevin ------------------------------------------------------------------------


def normal_bias(step: float, rng: np.random.Generator, repetitions: int) -> tuple[float, float]:
    """Relative bias of the variance on N(0, σ²I) by draws, and its Monte Carlo error."""
    # the smaller the bias, the more draws it takes
    times = max(1, round(FEW / step))
    runs = [UnadjustedLangevin(step).draw(normal(), rng, repetitions, DRAWS) for _ in range(times)]
    squares = np.concatenate([(one.draws**2).mean(axis=(1, 2)) for one in runs]) / SCALE**2
    return float(squares.mean() - 1), float(squares.std(ddof=1) / np.sqrt(squares.size))


def stationary_variance(step: float) -> float:
    """σ²/(1 − h/(2σ²))."""
    return SCALE**2 / (1 - step / (2 * SCALE**2))


def langevin_law(step: float) -> Moments:
    """Stationary moments of unadjusted Langevin along the axis, by quadrature."""
    place = jnp.asarray(NODES[:, None])
    matrix = kernel(np.asarray(place + step * line().score(place))[:, 0], 2 * step)
    system = np.vstack([matrix - np.eye(len(NODES)), np.ones(len(NODES))])
    return moments(np.linalg.lstsq(system, np.append(np.zeros(len(NODES)), 1.0))[0])


def kernel(centres: np.ndarray, variance: float) -> np.ndarray:
    """Transitions of the nodes' masses: column j spreads as N(centre_j, variance)."""
    away = NODES[:, None] - centres
    width = NODES[1] - NODES[0]
    return np.exp(-(away**2) / (2 * variance)) * width / np.sqrt(2 * np.pi * variance)


def moments(mass: np.ndarray) -> Moments:
    """Of masses at the nodes; the second about the true mean."""
    return Moments(float(mass @ NODES), float(mass @ (NODES - truth().mean) ** 2))


def _langevin(drawn: Drawn, rng: np.random.Generator, repetitions: int) -> Iterator[Shown]:
    last = FINE[-1]
    curved = {step: langevin_law(step).variance / truth().variance - 1 for step in STEPS + FINE}
    yield Claim(
        "the bias of unadjusted Langevin falls in proportion to the step: mixture",
        Verdict(
            f"slope of log bias of the variance against log h at {last}, by quadrature",
            order([curved[step] for step in FINE]), 1.0, 0.0, SLOPE,
        ),
    )  # fmt: skip
    biases, errors = np.array([normal_bias(step, rng, repetitions) for step in STEPS]).T
    exact = np.array([stationary_variance(step) / SCALE**2 - 1 for step in STEPS])
    for step, *one in zip(STEPS, biases, exact, errors, strict=True):
        bias, expected, error = map(float, one)
        yield Claim(
            "draws of unadjusted Langevin have the bias of its step: normal law",
            Verdict(
                f"relative bias of the variance, h = {step}: draws / h/(2σ² − h)",
                bias, expected, error, HALF * expected,
            ),
        )  # fmt: skip
    away = np.log(STEPS) - np.log(STEPS).mean()
    weight = away / (away**2).sum()
    yield Claim(
        "the bias of draws of unadjusted Langevin falls in proportion to the step: normal law",
        Verdict(
            f"slope of log measured bias against log h, h = {STEPS[0]} … {STEPS[-1]}",
            float(weight @ np.log(biases)), float(weight @ np.log(exact)),
            float(np.sqrt(weight**2 @ (errors / exact) ** 2)), POWER,
        ),
    )  # fmt: skip
    found, error = measured(drawn)
    step, variance = UnadjustedLangevin().step, truth().variance
    yield Claim(
        "draws of unadjusted Langevin have the bias of its step: mixture",
        Verdict(
            f"variance along the axis, relative to the true one, h = {step}",
            found.variance / variance, 1.0, error.variance / variance, RELATIVE,
            cause="the law that the Euler step leaves invariant, by quadrature",
            predicted=langevin_law(step).variance / variance,
        ),
    )  # fmt: skip
    steps = STEPS + FINE
    yield Curves(
        "bias of unadjusted Langevin as the step shrinks",
        "step h",
        "relative bias of the variance",
        {
            "normal law, draws": (STEPS, biases.tolist()),
            "mixture, quadrature": (steps, [curved[step] for step in steps]),
        },
        {
            "normal law, h/(2σ² − h)": (
                steps, [stationary_variance(h) / SCALE**2 - 1 for h in steps],
            ),
            "mixture, in proportion to h": (steps, [curved[last] * h / last for h in steps]),
        },
        "xy",
    )  # fmt: skip


def _learnt(rng: np.random.Generator, effort: int) -> Iterator[Claim]:
    """Langevin with a score that a network has learnt from draws, held to the exact score's law."""
    train = np.asarray(target().draws(key_of(rng), (TRAIN * effort,)))
    fit = ScoreMatching("sliced").fit(train, rng, effort)
    statement = "Langevin dynamics with a learnt score sample what the score was learnt from"
    if fit.problems or fit.score is None:
        yield Claim(statement, not_comparable("Langevin with a learnt score", fit.problems[0]))
        return
    learnt = Learnt(jnp.asarray(train.mean(axis=0)), jnp.asarray(np.cov(train.T)), fit.score)
    drawn = UnadjustedLangevin(CLOSE).draw(learnt, rng, REPETITIONS * effort, DRAWS)
    (mean, variance), error = measured(drawn)
    exact, square = langevin_law(CLOSE), truth().variance
    deviation = np.sqrt(square)
    yield Claim(
        statement,
        Verdict(
            f"mean along the axis, standard deviations, h = {CLOSE}: learnt score / exact score",
            mean / deviation, exact.mean / deviation, error.mean / deviation, LOCATION,
        ),
    )  # fmt: skip
    yield Claim(
        statement,
        Verdict(
            f"variance, relative to the target's, h = {CLOSE}: learnt score / exact score",
            variance / square, exact.variance / square, error.variance / square, RELATIVE,
        ),
    )  # fmt: skip


def order(errors: list[float]) -> float:
    """The power of the step with which an error falls at the last halving; NaN if it turns sign."""
    ratio = errors[-2] / errors[-1]
    return float(np.log2(ratio)) if ratio > 0 else float("nan")


# --- reverse diffusion --------------------------------------------------------------------------


def reversed_law(steps: int) -> np.ndarray:
    """Masses at the nodes that the reverse diffusion ends with, by quadrature."""
    length = HORIZON / steps
    mass = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * (NODES[1] - NODES[0])
    place = jnp.asarray(NODES[:, None])
    for i in range(steps):
        middle = _centre(line(), place, HORIZON - i * length, length)
        mass = kernel(np.asarray(middle)[:, 0], 2 * length) @ mass
    return mass


_centre = jax.jit(centre)


def _diffusion(rng: np.random.Generator, repetitions: int) -> Iterator[Shown]:
    mean, variance = truth()
    density = np.exp(np.asarray(line().log_density(jnp.asarray(NODES[:, None]))))
    laws = {steps: reversed_law(steps) for steps in COUNTS}
    bias = [moments(mass).mean - mean for mass in laws.values()]
    true = density * (NODES[1] - NODES[0])
    apart = [float(abs(mass - true).sum() / 2) for mass in laws.values()]
    # differences leave out what no step can mend: the start N(0, I)
    gaps = [float(gap) for gap in np.diff(bias)]
    most, few = COUNTS[-1], COUNTS[0]
    yield Claim(
        "the bias of reverse diffusion falls in proportion to its step",
        Verdict(
            f"order of the bias of the mean in 1/N at N = {most}, by quadrature",
            order(gaps), 1.0, 0.0, SLOPE,
        ),
    )  # fmt: skip
    yield Claim(
        "reverse diffusion with many steps draws from the target",
        Verdict(f"total variation by quadrature, N = {most}", apart[-1], 0.0, 0.0, APART),
    )
    deviation = np.sqrt(variance)
    exact: dict[int, float] = dict(zip(COUNTS, bias, strict=True))
    runs = {
        steps: measured(ReverseDiffusion(steps).draw(target(), rng, times * repetitions, DRAWS))
        for steps, times in DRAWN.items()
    }
    for steps, (found, error) in runs.items():
        expected = exact[steps] / deviation
        yield Claim(
            "draws of reverse diffusion have the bias of its step",
            Verdict(
                f"bias of the mean, in standard deviations, N = {steps}: draws / quadrature",
                (found.mean - mean) / deviation, expected, error.mean / deviation,
                HALF * abs(expected),
            ),
        )  # fmt: skip
    found, error = runs[few]
    yield Claim(
        "draws of reverse diffusion have the bias of its step",
        Verdict(
            f"variance along the axis, relative to the true one, N = {few}",
            found.variance / variance, 1.0, error.variance / variance, RELATIVE,
            cause="the law of the Euler steps from N(0, I), by quadrature",
            predicted=moments(laws[few]).variance / variance,
        ),
    )  # fmt: skip
    shares = [abs(one) / np.sqrt(variance) for one in bias]
    yield Curves(
        "bias of reverse diffusion as its steps grow in number",
        "steps N",
        "distance from the target, by quadrature",
        {"mean, in standard deviations": (COUNTS, shares), "total variation": (COUNTS, apart)},
        {
            f"{name}, in proportion to 1/N": (COUNTS, [last * most / n for n in COUNTS])
            for name, last in (("mean", shares[-1]), ("total variation", apart[-1]))
        },
        "xy",
    )
