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
from comparisons.theory._claims import Measured, equal, mean, missing, order
from comparisons.theory._minima import stationary
from comparisons.theory.densities import score_matching
from comparisons.theory.sampling import (
    Drawn,
    NormalMixture,
    importance,
    reverse_diffusion,
    unadjusted_langevin,
)
from comparisons.theory.sampling.rejection import RATIO, bound
from comparisons.theory.sampling.reparameterised import transport
from comparisons.verdict import Verdict
from models.programs.keys import key_of
from models.registry import entries

AXIS = np.array([0.8, 0.6])  # direction of the line through the two means of the target
PLACES = np.array([-1.2, 0.8])  # the means on it
WEIGHTS, SCALE = np.array([0.35, 0.65]), 0.8
DRAWS = 512
SIZES = (16, 32, 64, 128, 256, DRAWS)
REPETITIONS = 200  # independent runs at effort 1; their sd gives the Monte Carlo error
STEPS = (0.32, 0.16)
"""Steps h of unadjusted Langevin; the first is σ²/2, at which its variance is 4/3 of σ²."""
FINE = (0.02, 0.01)  # steps between which the order of the bias is measured
CLOSE = 0.08  # step of Langevin by a learnt score: its own bias, 2 % of the variance, is predicted
TRAIN = 32_000  # draws that the score is learnt from: their 1/√N is a tenth of the bounds
COUNTS = (8, 16, 32, 64, 128, 256)  # numbers N of steps of the reverse diffusion
DRAWN = {8: 2, 16: 8}
"""By the number of steps, how many times the repetitions it takes for draws to show their bias."""

LOCATION = 0.05  # error of a mean, in standard deviations, that is none: the project's bound
SLOPE = 0.1
"""Error of a power that does not matter: over the factor of 32 from the smallest to the largest n,
or as much of a step, it changes what is extrapolated by less than 32^0.1 = 1.4."""
APART = 0.05  # total variation that does not matter: no event's probability is off by more
HALF = 0.5  # share of a bias by which a measured one may be off: it is not absent, nor twice

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
    found = drawn.means(np.stack([along, (along - location) ** 2], axis=-1), DRAWS)[:, 0]
    return mean(found[:, 0]).per(sd), mean(found[:, 1]).per(sd**2)


def moments(mass: np.ndarray) -> Moments:
    """Those of masses at the nodes; the second about the true mean."""
    location, sd = truth()
    return Moments(float(mass @ NODES) / sd, float(mass @ (NODES - location) ** 2) / sd**2)


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Every sampler on one target, and the biases of those that have one."""
    repetitions, drawn = REPETITIONS * effort, {}
    for name, sampler in entries(sampling).items():
        drawn[name] = one = sampler.draw(target(), rng, (repetitions, DRAWS))
        if one.exact:
            yield from unbiased(name, one)
    yield from cost(drawn["rejection"], drawn["importance"])
    yield derivative(rng, effort)
    yield from langevin(drawn["unadjusted_langevin"], rng, repetitions)
    yield from learnt(rng, effort)
    yield from diffusion(rng, repetitions)
    yield from _errors(drawn)


def unbiased(name: str, drawn: Drawn) -> Exhibits:
    """The moments of the target, and an error that falls as it should."""
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
        rows.append((name, one.warm_up, one.evaluations, float(np.sqrt(squares[-1])), price))
        lines[name] = [one.warm_up + one.evaluations * size for size in SIZES], np.sqrt(squares)
    vector = "root mean squared error of the mean vector"
    columns = ("sampler", "evaluations of warm-up", "evaluations per draw", vector)
    columns += ("evaluations worth one independent draw",)
    yield Table(f"error of the mean of {DRAWS} draws, and what it cost", columns, tuple(rows))
    ends = np.array([float(SIZES[0]), max(cost[-1] for cost, _ in lines.values())])
    x = "evaluations of density or gradient, warm-up included"
    known = {"one evaluation per independent draw": (ends, np.sqrt(total / ends))}
    yield Curves("error against cost", x, vector, lines, known, "xy")


def cost(rejected: Drawn, weighted: Drawn) -> Exhibits:
    """Proposals for a draw, and draws that weights are worth."""
    many = bound(target(), RATIO)
    # of a mean of geometric numbers
    error = np.sqrt(1 - 1 / many) * many / np.sqrt(rejected.draws[..., 0].size)
    tried = Measured(rejected.evaluations, error).per(many)
    statement = "rejection accepts one proposal in M"
    yield equal(statement, "proposals per draw, in units of M", tried, 1.0, LIMIT_SD)
    weights = np.broadcast_to(weighted.weights, weighted.draws.shape[:2])
    share = mean(weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1) / DRAWS)
    statement = "importance weights are worth n/(1 + χ²) draws"
    found = share.per(1 / (1 + importance.chi_squared(target(), importance.RATIO)))
    yield equal(statement, "ESS/n, in units of 1/(1 + χ²)", found, 1.0, LIMIT_SD)


def derivative(rng: np.random.Generator, effort: int) -> Verdict:
    """The derivative of an expectation by the paths of reparameterised draws."""
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


def langevin_law(step: float) -> Moments:
    """Stationary moments of unadjusted Langevin, by quadrature."""
    place = jnp.asarray(NODES[:, None])
    kernel = _kernel(np.asarray(place + step * line().score(place))[:, 0], 2 * step)
    return moments(stationary(kernel.T))


def langevin(drawn: Drawn, rng: np.random.Generator, repetitions: int) -> Exhibits:
    """The bias as the step shrinks: of a normal law and of the mixture, whose draws are given."""
    curved = np.array([langevin_law(step).variance - 1 for step in STEPS + FINE])
    statement = "the bias of unadjusted Langevin falls in proportion to the step: mixture"
    about = f"slope of log bias of the variance against log h at {FINE[-1]}, by quadrature"
    yield equal(statement, about, order(FINE, curved[-2:]), 1.0, SLOPE)
    biases = []
    for step in STEPS:
        own = unadjusted_langevin.draw(normal(), rng, (repetitions, DRAWS), step)
        biases.append(mean((own.draws**2).mean(axis=(1, 2)) / SCALE**2).less(1))
        expected = stationary_variance(step) / SCALE**2 - 1
        statement = "draws of unadjusted Langevin have the bias of its step: normal law"
        about = f"relative bias of the variance, h = {step}: draws / h/(2σ² − h)"
        yield equal(statement, about, biases[-1], expected, HALF * expected)
    step = unadjusted_langevin.STEP
    statement = "draws of unadjusted Langevin have the law that its step leaves invariant: mixture"
    about = f"variance along the axis, relative to the target's, h = {step}: draws / quadrature"
    yield equal(statement, about, measured(drawn)[1], langevin_law(step).variance, LIMIT_SD)
    steps = np.array(STEPS + FINE)
    found = {"normal law, draws": (STEPS, [bias.value for bias in biases])}
    exact = np.array([stationary_variance(step) for step in steps]) / SCALE**2 - 1
    theory = {"normal law, h/(2σ² − h)": (steps, exact), "mixture, quadrature": (steps, curved)}
    title = "bias of unadjusted Langevin as the step shrinks"
    yield Curves(title, "step h", "relative bias of the variance", found, theory, "xy")


def learnt(rng: np.random.Generator, effort: int) -> Exhibits:
    """Langevin with a score that a network has learnt from draws, held to the exact score's law."""
    train = np.asarray(target().draws(key_of(rng), (TRAIN * effort,)))
    fit = score_matching.fit(train, rng, effort, "sliced")
    statement = "Langevin dynamics with a learnt score sample what the score was learnt from"
    if fit.problems or fit.score is None:
        yield missing(statement, "Langevin with a learnt score", fit.problems)
        return
    shape = REPETITIONS * effort, DRAWS
    drawn = unadjusted_langevin.draw(target(), rng, shape, CLOSE, fit.score)
    (location, variance), exact = measured(drawn), langevin_law(CLOSE)
    about = f"mean along the axis, standard deviations, h = {CLOSE}: learnt score / exact score"
    yield equal(statement, about, location, exact.mean, LOCATION)
    about = f"variance, relative to the target's, h = {CLOSE}: learnt score / exact score"
    yield equal(statement, about, variance, exact.variance, LIMIT_SD)


def _reversed_law(steps: int) -> np.ndarray:
    """Masses at the nodes that the reverse diffusion ends with, by quadrature."""
    length = reverse_diffusion.HORIZON / steps
    mass = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * WIDTH
    place = jnp.asarray(NODES[:, None])
    for i in range(steps):
        middle = step_mean(line(), place, reverse_diffusion.HORIZON - i * length, length)
        mass = _kernel(np.asarray(middle)[:, 0], 2 * length) @ mass
    return mass


@jax.jit
def step_mean(law: NormalMixture, x: Array, t: float, length: float) -> Array:
    """Where a step back from the law at time t leads on average.

    Args:
        law: at time 0.
        x: where it begins, shape (…, d).
        t: the time.
        length: of the step.
    """
    return reverse_diffusion.step_mean(reverse_diffusion.diffused(law, t), x, length)


def diffusion(rng: np.random.Generator, repetitions: int) -> Exhibits:
    """The bias of the mean and the total variation as the steps grow in number."""
    laws, (location, sd) = [_reversed_law(steps) for steps in COUNTS], truth()
    exact = np.array([moments(mass).mean for mass in laws]) - location / sd
    true = np.exp(np.asarray(line().log_density(jnp.asarray(NODES[:, None])))) * WIDTH
    apart = np.array([float(abs(mass - true).sum() / 2) for mass in laws])
    statement = "the bias of reverse diffusion falls in proportion to its step"
    about = f"order of the bias of the mean in 1/N at N = {COUNTS[-1]}, by quadrature"
    # differences leave out what no step can mend: the start N(0, I)
    yield equal(statement, about, order([2.0, 1.0], np.diff(exact)), 1.0, SLOPE)
    statement = "reverse diffusion with many steps draws from the target"
    about = f"total variation by quadrature, N = {COUNTS[-1]}"
    yield equal(statement, about, apart[-1], 0.0, APART)
    statement = "draws of reverse diffusion have the bias of its step"
    for steps, times in DRAWN.items():
        drawn = reverse_diffusion.draw(target(), rng, (times * repetitions, DRAWS), steps)
        found, expected = measured(drawn)[0].less(location / sd), exact[COUNTS.index(steps)]
        about = f"bias of the mean, in standard deviations, N = {steps}: draws / quadrature"
        yield equal(statement, about, found, expected, HALF * abs(expected))
    lines = {"mean, in standard deviations": abs(exact), "total variation": apart}
    theory = {f"{name}, quadrature": (COUNTS, one) for name, one in lines.items()}
    y = "distance from the target"
    yield Curves("bias of reverse diffusion as its steps grow in number", "steps N", y, {}, theory)
