"""The biases of samplers that take steps: unadjusted Langevin and reverse diffusion.

The theorems are those of `samplers`; laws are found by quadrature along the target's axis.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Curves, Exhibits
from comparisons.policy import LIMIT_SD
from comparisons.theory import _two_modes as modes
from comparisons.theory._claims import Measured, equal, mean, missing, order, slope
from comparisons.theory._minima import stationary
from comparisons.theory._two_modes import DRAWS, SCALE, Moments, line, measured, truth
from comparisons.theory.densities.score_matching import ScoreMatching
from comparisons.theory.sampling import Drawn, Learnt, NormalMixture
from comparisons.theory.sampling import reverse_diffusion as reverse
from comparisons.theory.sampling.reverse_diffusion import HORIZON, ReverseDiffusion
from comparisons.theory.sampling.unadjusted_langevin import UnadjustedLangevin
from models.programs.keys import key_of

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

APART = 0.05
"""Total variation that does not matter: no event's probability is off by more than this."""
HALF = 0.5
"""Share of a bias that a measured one must not be off by: then it is neither absent nor twice."""
POWER = 0.25
"""Error of a measured power of h that does not matter: half of what tells it from ½ and 3/2."""
NODES = np.arange(-9.0, 9.0, 0.1)
"""Those of the quadrature: 10 standard deviations around the means, a step below that of every
kernel."""
WIDTH = NODES[1] - NODES[0]


def _kernel(means: np.ndarray, variance: float) -> np.ndarray:
    """Transitions of the nodes' masses: column j becomes N(mean_j, variance)."""
    away = NODES[:, None] - means
    return np.exp(-(away**2) / (2 * variance)) * WIDTH / np.sqrt(2 * np.pi * variance)


def moments(mass: np.ndarray) -> Moments:
    """Moments of masses at the nodes; the second about the true mean."""
    return Moments(float(mass @ NODES), float(mass @ (NODES - truth().mean) ** 2))


def _normal_bias(step: float, rng: np.random.Generator, repetitions: int) -> Measured:
    """Relative bias of the variance on N(0, σ²I) by draws."""
    # the smaller the bias, the more draws it takes
    sampler, times = UnadjustedLangevin(step), range(max(1, round(FEW / step)))
    runs = [sampler.draw(modes.normal(), rng, repetitions, DRAWS).draws for _ in times]
    return mean((np.concatenate(runs) ** 2).mean(axis=(1, 2)) / SCALE**2).less(1)


def stationary_variance(step: float) -> float:
    """σ²/(1 − h/(2σ²))."""
    return SCALE**2 / (1 - step / (2 * SCALE**2))


def langevin_law(step: float) -> Moments:
    """Stationary moments of unadjusted Langevin along the axis, by quadrature."""
    place = jnp.asarray(NODES[:, None])
    kernel = _kernel(np.asarray(place + step * line().score(place))[:, 0], 2 * step)
    return moments(stationary(kernel.T))


def langevin(drawn: Drawn, rng: np.random.Generator, repetitions: int) -> Exhibits:
    """The bias as the step shrinks: of a normal law and of the mixture, whose draws are given."""
    steps = np.array(STEPS + FINE)
    curved = np.array([modes.relative(langevin_law(step)).variance - 1 for step in steps])
    statement = "the bias of unadjusted Langevin falls in proportion to the step: mixture"
    about = f"slope of log bias of the variance against log h at {FINE[-1]}, by quadrature"
    yield equal(statement, about, order(steps, curved), 1.0, modes.SLOPE)
    exact = np.array([stationary_variance(step) for step in steps]) / SCALE**2 - 1
    known, biases = exact[: len(STEPS)], [_normal_bias(step, rng, repetitions) for step in STEPS]
    statement = "draws of unadjusted Langevin have the bias of its step: normal law"
    for step, bias, expected in zip(STEPS, biases, known, strict=True):
        about = f"relative bias of the variance, h = {step}: draws / h/(2σ² − h)"
        yield equal(statement, about, bias, expected, HALF * expected)
    places, (found, error) = np.log(STEPS), np.array(biases).T
    statement = (
        "the bias of draws of unadjusted Langevin falls in proportion to the step: normal law"
    )
    about = f"slope of log measured bias against log h, h = {STEPS[0]} … {STEPS[-1]}"
    expected = slope(places, np.log(known)).value
    yield equal(statement, about, slope(places, np.log(found), error / known), expected, POWER)
    step = UnadjustedLangevin().step
    statement = "draws of unadjusted Langevin have the bias of its step: mixture"
    about = f"variance along the axis, relative to the true one, h = {step}"
    cause = "the law that the Euler step leaves invariant, by quadrature"
    explained = {"cause": cause, "predicted": modes.relative(langevin_law(step)).variance}
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
    train = np.asarray(modes.target().draws(key_of(rng), (TRAIN * effort,)))
    fit = ScoreMatching("sliced").fit(train, rng, effort)
    statement = "Langevin dynamics with a learnt score sample what the score was learnt from"
    if fit.problems or fit.score is None:
        yield missing(statement, "Langevin with a learnt score", fit.problems[0])
        return
    law = Learnt(jnp.asarray(train.mean(axis=0)), jnp.asarray(np.cov(train.T)), fit.score)
    drawn = UnadjustedLangevin(CLOSE).draw(law, rng, modes.REPETITIONS * effort, DRAWS)
    (location, variance), exact = measured(drawn), modes.relative(langevin_law(CLOSE))
    about = f"mean along the axis, standard deviations, h = {CLOSE}: learnt score / exact score"
    yield equal(statement, about, location, exact.mean, modes.LOCATION)
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
    laws = [_reversed_law(steps) for steps in COUNTS]
    sd = np.sqrt(truth().variance)
    bias = np.array([moments(mass).mean - truth().mean for mass in laws])
    true = np.exp(np.asarray(line().log_density(jnp.asarray(NODES[:, None])))) * WIDTH
    apart = [float(abs(mass - true).sum() / 2) for mass in laws]
    most, few, variances = COUNTS[-1], COUNTS[0], {}
    statement = "the bias of reverse diffusion falls in proportion to its step"
    about = f"order of the bias of the mean in 1/N at N = {most}, by quadrature"
    # differences leave out what no step can mend: the start N(0, I)
    yield equal(statement, about, order([2.0, 1.0], np.diff(bias)), 1.0, modes.SLOPE)
    statement = "reverse diffusion with many steps draws from the target"
    yield equal(statement, f"total variation by quadrature, N = {most}", apart[-1], 0.0, APART)
    statement, exact = "draws of reverse diffusion have the bias of its step", bias / sd
    for steps, times in DRAWN.items():
        drawn = ReverseDiffusion(steps).draw(modes.target(), rng, times * repetitions, DRAWS)
        location, variances[steps] = measured(drawn)
        found, expected = location.less(truth().mean / sd), exact[COUNTS.index(steps)]
        about = f"bias of the mean, in standard deviations, N = {steps}: draws / quadrature"
        yield equal(statement, about, found, expected, HALF * abs(expected))
    about = f"variance along the axis, relative to the true one, N = {few}"
    cause = "the law of the Euler steps from N(0, I), by quadrature"
    explained = {"cause": cause, "predicted": modes.relative(moments(laws[0])).variance}
    yield equal(statement, about, variances[few], 1.0, LIMIT_SD, **explained)
    counts = np.array(COUNTS)
    lines = {"mean, in standard deviations": abs(exact), "total variation": np.array(apart)}
    yield Curves(
        "bias of reverse diffusion as its steps grow in number",
        "steps N",
        "distance from the target, by quadrature",
        {name: (COUNTS, line) for name, line in lines.items()},
        {
            f"{name.partition(',')[0]}, in proportion to 1/N": (counts, line[-1] * most / counts)
            for name, line in lines.items()
        },
        "xy",
    )
