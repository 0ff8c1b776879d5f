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

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD
from comparisons.theory import sampling
from comparisons.theory._claims import Measured, at_least, equal, mean, missing, order, slope
from comparisons.theory._minima import stationary
from comparisons.theory.densities.score_matching import ScoreMatching
from comparisons.theory.sampling import Drawn, Learnt, NormalMixture, Sampler, importance
from comparisons.theory.sampling import reverse_diffusion as reverse
from comparisons.theory.sampling.importance import RELIABLE, Importance, chi_squared, tail_index
from comparisons.theory.sampling.rejection import RATIO, bound
from comparisons.theory.sampling.reparameterised import transport
from comparisons.theory.sampling.reverse_diffusion import HORIZON, ReverseDiffusion
from comparisons.theory.sampling.unadjusted_langevin import UnadjustedLangevin
from comparisons.verdict import Verdict
from models.programs.keys import key_of
from models.registry import subclasses

AXIS = np.array([0.8, 0.6])  # direction of the line through the two means of the target
PLACES = np.array([-1.2, 0.8])  # the means on it
WEIGHTS, SCALE = np.array([0.35, 0.65]), 0.8
DRAWS = 512
SIZES = (16, 32, 64, 128, 256, DRAWS)
REPETITIONS = 200  # independent runs at effort 1; their sd gives the Monte Carlo error
TAILS = 16_384  # draws to which one k̂ is fitted
NARROW = 0.5  # scale of a proposal that is too narrow, relative to the target's
STEPS = (0.32, 0.16, 0.08, 0.04)
"""Steps h of unadjusted Langevin; the first is σ²/2, at which its variance is 4/3 of σ²."""
CLOSE = 0.08  # step of Langevin by a learnt score: its own bias, 2 % of the variance, is predicted
TRAIN = 32_000  # draws that the score is learnt from: their 1/√N is a tenth of the bounds
FEW = 0.16  # step to and above which one set of repetitions shows the bias
FINE = (0.02, 0.01)  # steps between which the order of the bias is measured
COUNTS = (8, 16, 32, 64, 128, 256)  # numbers N of steps of the reverse diffusion
DRAWN = {8: 2, 16: 8}
"""By the number of steps, how many times the repetitions it takes for draws to show their bias."""

LOCATION = 0.05  # error of a mean, in standard deviations, that is none: the project's bound
SLOPE = 0.1
"""Error of a power that does not matter: over the factor of 32 from the smallest to the largest n,
or as much of a step, it changes what is extrapolated by less than 32^0.1 = 1.4."""
TAIL = 0.05  # the same of k̂: a quarter of the distance between its two thresholds, ½ and 0.7
APART = 0.05  # total variation that does not matter: no event's probability is off by more
HALF = 0.5  # share of a bias by which a measured one may be off: it is not absent, nor twice
POWER = 0.25  # error of a power of h that does not matter: half of what tells it from ½ and 3/2

NODES = np.arange(-9.0, 9.0, 0.1)
"""10 standard deviations around the means, a step below the standard deviation of every kernel."""
WIDTH = NODES[1] - NODES[0]


class Moments(NamedTuple):
    """Along the axis: the mean in standard deviations of the target, the variance over its own."""

    mean: float
    variance: float


def target() -> NormalMixture:
    """The law in the plane."""
    return line()._replace(means=jnp.asarray(PLACES[:, None] * AXIS))


def line() -> NormalMixture:
    """Its law along the axis."""
    return NormalMixture(jnp.asarray(WEIGHTS), jnp.asarray(PLACES[:, None]), jnp.asarray(SCALE))


def normal() -> NormalMixture:
    """N(0, σ²I) in the plane, as a mixture of two that coincide."""
    return target()._replace(means=jnp.zeros((2, 2)))


def truth() -> tuple[float, float]:
    """Mean and standard deviation of the target along the axis."""
    return float(line().mean[0]), float(jnp.sqrt(line().covariance[0, 0]))


def measured(drawn: Drawn) -> tuple[Measured, Measured]:
    """`Moments` by draws, the second about the true mean."""
    along, (location, sd) = drawn.draws @ AXIS, truth()
    values = np.stack([along, (along - location) ** 2], axis=-1)
    found = drawn.means(values, DRAWS)[:, 0]
    return mean(found[:, 0]).per(sd), mean(found[:, 1]).per(sd**2)


def moments(mass: np.ndarray) -> Moments:
    """Those of masses at the nodes; the second about the true mean."""
    location, sd = truth()
    return Moments(float(mass @ NODES) / sd, float(mass @ (NODES - location) ** 2) / sd**2)


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Every sampler on one target, and the biases of those that have one."""
    repetitions = REPETITIONS * effort
    drawn = {}
    for name, cls in subclasses(sampling, Sampler).items():
        sampler = cls()  # pyright: ignore[reportAbstractUsage]
        drawn[name] = one = sampler.draw(target(), rng, repetitions, DRAWS)
        if one.problems:
            yield missing(f"{name} has run well", name, one.problems[0])
        elif sampler.exact:
            yield from _unbiased(name, one)
    yield from _cost(drawn)
    yield from _tails(drawn["importance"], rng, repetitions)
    yield _derivative(rng, effort)
    yield from langevin(drawn["unadjusted_langevin"], rng, repetitions)
    yield from learnt(rng, effort)
    yield from diffusion(rng, repetitions)
    yield from _errors(drawn)


def _unbiased(name: str, drawn: Drawn) -> Exhibits:
    (location, variance), (middle, sd) = measured(drawn), truth()
    about = f"mean along the axis, in standard deviations: {name} / exact"
    statement = f"the mean of the draws is the target's: {name}"
    yield equal(statement, about, location, middle / sd, LOCATION)
    about = f"variance along the axis, relative to the true one: {name} / exact"
    statement = f"the variance of the draws is the target's: {name}"
    yield equal(statement, about, variance, 1.0, LIMIT_SD)
    about = f"slope of log error of the mean against log n, n = {SIZES[0]} … {SIZES[-1]}: {name}"
    statement = f"the error falls as the square root of the number of draws: {name}"
    few, many = _squared_errors(drawn, SIZES[0]), _squared_errors(drawn, SIZES[-1])
    factor = 2 * np.log(SIZES[-1] / SIZES[0])
    influence = (many / many.mean() - few / few.mean()) / factor
    found = Measured(np.log(many.mean() / few.mean()) / factor, mean(influence).error)
    yield equal(statement, about, found, -0.5, SLOPE)


def _squared_errors(drawn: Drawn, size: int) -> np.ndarray:
    """‖mean − truth‖² over blocks of draws, averaged in each repetition, shape (R,)."""
    away = drawn.means(drawn.draws, size) - np.asarray(target().mean)
    return (away**2).sum(axis=-1).mean(axis=1)


def _errors(drawn: dict[str, Drawn]) -> Exhibits:
    """The error of the mean of all draws, and of fewer, and what they cost."""
    total, rows, lines = float(jnp.trace(target().covariance)), [], {}
    for name, one in drawn.items():
        squares = [float(_squared_errors(one, size).mean()) for size in SIZES]
        price = one.evaluations * DRAWS * squares[-1] / total
        error = float(np.sqrt(squares[-1]))
        rows.append((name, one.acceptance, one.warm_up, one.evaluations, error, price))
        cost = [one.warm_up + one.evaluations * size for size in SIZES]
        lines[name] = cost, np.sqrt(squares)
    vector = "root mean squared error of the mean vector"
    columns = ("sampler", "accepted share", "evaluations of warm-up", "evaluations per draw")
    columns += (vector, "evaluations worth one independent draw")
    yield Table(f"error of the mean of {DRAWS} draws, and what it cost", columns, tuple(rows))
    ends = np.array([float(SIZES[0]), max(cost[-1] for cost, _ in lines.values())])
    x = "evaluations of density or gradient, warm-up included"
    known = {"one evaluation per independent draw": (ends, np.sqrt(total / ends))}
    yield Curves("error against cost", x, vector, lines, known, "xy")


def _cost(drawn: dict[str, Drawn]) -> Exhibits:
    many = bound(target(), RATIO)
    draws = drawn["rejection"].draws
    # of a mean of geometric numbers
    error = np.sqrt(1 - 1 / many) * many / np.sqrt(draws.shape[0] * draws.shape[1])
    tried = Measured(drawn["rejection"].evaluations, error).per(many)
    statement = "rejection accepts one proposal in M"
    yield equal(statement, "proposals per draw, in units of M", tried, 1.0, LIMIT_SD)
    weights = drawn["importance"].weights
    weights = np.ones((2, DRAWS)) if weights is None else weights
    share = mean(weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1) / DRAWS)
    statement = "importance weights are worth n/(1 + χ²) draws"
    found = share.per(1 / (1 + chi_squared(target(), Importance().ratio)))
    yield equal(statement, "ESS/n, in units of 1/(1 + χ²)", found, 1.0, LIMIT_SD)


def _tails(wide: Drawn, rng: np.random.Generator, repetitions: int) -> Exhibits:
    """k̂ of a proposal wider than the target, and of one whose weights are exactly Pareto."""
    k = _tail_index(wide)
    statement = "k̂ vouches for a proposal with heavier tails than the target's"
    about = f"{RELIABLE} − k̂, {DRAWS} draws of a wider proposal"
    yield at_least(statement, about, Measured(RELIABLE - k.value, k.error), 0.0)
    k = _tail_index(Importance(NARROW).draw(normal(), rng, repetitions, TAILS))
    # ‖x‖² is exponential in the plane, so w is Pareto; k̂ is pulled to ½ as if by ten draws
    tail, true = importance.tail_size(TAILS), 1 - NARROW**2
    statement = "k̂ is the tail index of the weights, 1 − s²/σ² for a normal law that is too narrow"
    about = f"k̂ of {TAILS} draws, s/σ = {NARROW}"
    yield equal(statement, about, k, (tail * true + 5) / (tail + 10), TAIL)


def _tail_index(drawn: Drawn) -> Measured:
    rows = () if drawn.weights is None else drawn.weights
    return mean(np.array([tail_index(row) for row in rows]))


def _derivative(rng: np.random.Generator, effort: int) -> Verdict:
    law = target()
    uniform = jax.random.uniform(key_of(rng), (effort * 50_000, 2))

    def squares(scale: Array) -> Array:
        x = transport(law._replace(scale=scale), uniform)
        return jnp.sum((x - law.mean) ** 2, axis=1)

    pathwise = jax.jit(lambda scale: jax.jvp(squares, (scale,), (jnp.ones(()),))[1])
    found = mean(np.asarray(pathwise(law.scale))).per(4 * SCALE)
    statement = "reparameterised draws carry the derivative of an expectation"
    about = "∂E‖x − Ex‖²/∂σ, in units of 2dσ, along the paths of the draws"
    return equal(statement, about, found, 1.0, LIMIT_SD)


# --- the biases of samplers that take steps -----------------------------------------------------


def _kernel(means: np.ndarray, variance: float) -> np.ndarray:
    """Transitions of the nodes' masses: column j becomes N(mean_j, variance)."""
    away = NODES[:, None] - means
    return np.exp(-(away**2) / (2 * variance)) * WIDTH / np.sqrt(2 * np.pi * variance)


def stationary_variance(step: float) -> float:
    """σ²/(1 − h/(2σ²))."""
    return SCALE**2 / (1 - step / (2 * SCALE**2))


def _normal_bias(step: float, rng: np.random.Generator, repetitions: int) -> Measured:
    """Relative bias of the variance on N(0, σ²I) by draws."""
    # the smaller the bias, the more draws it takes
    sampler, times = UnadjustedLangevin(step), range(max(1, round(FEW / step)))
    runs = [sampler.draw(normal(), rng, repetitions, DRAWS).draws for _ in times]
    return mean((np.concatenate(runs) ** 2).mean(axis=(1, 2)) / SCALE**2).less(1)


def langevin_law(step: float) -> Moments:
    """Stationary moments of unadjusted Langevin, by quadrature."""
    place = jnp.asarray(NODES[:, None])
    kernel = _kernel(np.asarray(place + step * line().score(place))[:, 0], 2 * step)
    return moments(stationary(kernel.T))


def langevin(drawn: Drawn, rng: np.random.Generator, repetitions: int) -> Exhibits:
    """The bias as the step shrinks: of a normal law and of the mixture, whose draws are given."""
    steps = np.array(STEPS + FINE)
    curved = np.array([langevin_law(step).variance - 1 for step in steps])
    statement = "the bias of unadjusted Langevin falls in proportion to the step: mixture"
    about = f"slope of log bias of the variance against log h at {FINE[-1]}, by quadrature"
    yield equal(statement, about, order(steps, curved), 1.0, SLOPE)
    exact = np.array([stationary_variance(step) for step in steps]) / SCALE**2 - 1
    known, biases = exact[: len(STEPS)], [_normal_bias(step, rng, repetitions) for step in STEPS]
    statement = "draws of unadjusted Langevin have the bias of its step: normal law"
    for step, bias, expected in zip(STEPS, biases, known, strict=True):
        about = f"relative bias of the variance, h = {step}: draws / h/(2σ² − h)"
        yield equal(statement, about, bias, expected, HALF * expected)
    places, (found, error) = np.log(STEPS), np.array(biases).T
    statement = "the bias of unadjusted Langevin's draws falls like the step: normal law"
    about = f"slope of log measured bias against log h, h = {STEPS[0]} … {STEPS[-1]}"
    expected = slope(places, np.log(known)).value
    yield equal(statement, about, slope(places, np.log(found), error / known), expected, POWER)
    step = UnadjustedLangevin().step
    statement = "draws of unadjusted Langevin have the bias of its step: mixture"
    about = f"variance along the axis, relative to the true one, h = {step}"
    cause = "the law that the Euler step leaves invariant, by quadrature"
    explained = {"cause": cause, "predicted": langevin_law(step).variance}
    yield equal(statement, about, measured(drawn)[1], 1.0, LIMIT_SD, **explained)
    title = "bias of unadjusted Langevin as the step shrinks"
    draws = {"normal law, draws": (STEPS, found), "mixture, quadrature": (steps, curved)}
    theory = {
        "normal law, h/(2σ² − h)": (steps, exact),
        "mixture, in proportion to h": (steps, curved[-1] * steps / steps[-1]),
    }
    yield Curves(title, "step h", "relative bias of the variance", draws, theory, "xy")


def learnt(rng: np.random.Generator, effort: int) -> Exhibits:
    """Langevin with a score that a network has learnt from draws, held to the exact score's law."""
    train = np.asarray(target().draws(key_of(rng), (TRAIN * effort,)))
    fit = ScoreMatching("sliced").fit(train, rng, effort)
    statement = "Langevin dynamics with a learnt score sample what the score was learnt from"
    if fit.problems or fit.score is None:
        yield missing(statement, "Langevin with a learnt score", fit.problems[0])
        return
    law = Learnt(jnp.asarray(train.mean(axis=0)), jnp.asarray(np.cov(train.T)), fit.score)
    drawn = UnadjustedLangevin(CLOSE).draw(law, rng, REPETITIONS * effort, DRAWS)
    (location, variance), exact = measured(drawn), langevin_law(CLOSE)
    about = f"mean along the axis, standard deviations, h = {CLOSE}: learnt score / exact score"
    yield equal(statement, about, location, exact.mean, LOCATION)
    about = f"variance, relative to the target's, h = {CLOSE}: learnt score / exact score"
    yield equal(statement, about, variance, exact.variance, LIMIT_SD)


def _reversed_law(steps: int) -> np.ndarray:
    """Masses at the nodes that the reverse diffusion ends with, by quadrature."""
    length = HORIZON / steps
    mass = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * WIDTH
    place = jnp.asarray(NODES[:, None])
    for i in range(steps):
        middle = _step_mean(line(), place, HORIZON - i * length, length)
        mass = _kernel(np.asarray(middle)[:, 0], 2 * length) @ mass
    return mass


@jax.jit
def _step_mean(law: NormalMixture, x: Array, t: float, length: float) -> Array:
    return reverse.step_mean(reverse.diffused(law, t), x, length)


def diffusion(rng: np.random.Generator, repetitions: int) -> Exhibits:
    """The bias of the mean and the total variation as the steps grow in number."""
    laws, (location, sd) = [_reversed_law(steps) for steps in COUNTS], truth()
    exact = np.array([moments(mass).mean for mass in laws]) - location / sd
    true = np.exp(np.asarray(line().log_density(jnp.asarray(NODES[:, None])))) * WIDTH
    apart = [float(abs(mass - true).sum() / 2) for mass in laws]
    most, few, variances = COUNTS[-1], COUNTS[0], {}
    statement = "the bias of reverse diffusion falls in proportion to its step"
    about = f"order of the bias of the mean in 1/N at N = {most}, by quadrature"
    # differences leave out what no step can mend: the start N(0, I)
    yield equal(statement, about, order([2.0, 1.0], np.diff(exact)), 1.0, SLOPE)
    statement = "reverse diffusion with many steps draws from the target"
    yield equal(statement, f"total variation by quadrature, N = {most}", apart[-1], 0.0, APART)
    statement = "draws of reverse diffusion have the bias of its step"
    for steps, times in DRAWN.items():
        drawn = ReverseDiffusion(steps).draw(target(), rng, times * repetitions, DRAWS)
        middle, variances[steps] = measured(drawn)
        found, expected = middle.less(location / sd), exact[COUNTS.index(steps)]
        about = f"bias of the mean, in standard deviations, N = {steps}: draws / quadrature"
        yield equal(statement, about, found, expected, HALF * abs(expected))
    about = f"variance along the axis, relative to the true one, N = {few}"
    cause = "the law of the Euler steps from N(0, I), by quadrature"
    explained = {"cause": cause, "predicted": moments(laws[0]).variance}
    yield equal(statement, about, variances[few], 1.0, LIMIT_SD, **explained)
    lines = {"mean, in standard deviations": abs(exact), "total variation": np.array(apart)}
    found = {name: (COUNTS, line) for name, line in lines.items()}
    counts = np.array(COUNTS)
    theory = {
        f"{name.partition(',')[0]}, in proportion to 1/N": (counts, line[-1] * most / counts)
        for name, line in lines.items()
    }
    title = "bias of reverse diffusion as its steps grow in number"
    y = "distance from the target, by quadrature"
    yield Curves(title, "steps N", y, found, theory, "xy")
