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

import jax
import jax.numpy as jnp
import numpy as np

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD
from comparisons.theory import _two_modes as modes
from comparisons.theory import sampling
from comparisons.theory._claims import Measured, at_least, equal, mean, missing
from comparisons.theory._discretised import diffusion, langevin, learnt
from comparisons.theory._two_modes import DRAWS, measured, target
from comparisons.theory.sampling import Drawn, Sampler, importance
from comparisons.theory.sampling.importance import RELIABLE, Importance, chi_squared, tail_index
from comparisons.theory.sampling.rejection import RATIO, bound
from comparisons.theory.sampling.reparameterised import transport
from comparisons.verdict import Verdict
from models.programs.keys import key_of
from models.registry import subclasses

SIZES = (16, 32, 64, 128, 256, DRAWS)
TAILS = 16_384
"""Draws to which one k̂ is fitted."""
NARROW = 0.5
"""Scale of a proposal that is too narrow, relative to the target's."""
TAIL = 0.05
"""Error of k̂ that does not matter: a quarter of the distance between its two thresholds, ½ and 0.7.
"""


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Every sampler on one target, and the biases of those that have one."""
    repetitions = modes.REPETITIONS * effort
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
    location, variance = measured(drawn)
    about = f"mean along the axis, in standard deviations: {name} / exact"
    statement = f"the mean of the draws is the target's: {name}"
    yield equal(statement, about, location, modes.relative(modes.truth()).mean, modes.LOCATION)
    about = f"variance along the axis, relative to the true one: {name} / exact"
    statement = f"the variance of the draws is the target's: {name}"
    yield equal(statement, about, variance, 1.0, LIMIT_SD)
    about = f"slope of log error of the mean against log n, n = {SIZES[0]} … {SIZES[-1]}: {name}"
    statement = f"the error falls as the square root of the number of draws: {name}"
    few, many = _squared_errors(drawn, SIZES[0]), _squared_errors(drawn, SIZES[-1])
    factor = 2 * np.log(SIZES[-1] / SIZES[0])
    influence = (many / many.mean() - few / few.mean()) / factor
    found = Measured(np.log(many.mean() / few.mean()) / factor, mean(influence).error)
    yield equal(statement, about, found, -0.5, modes.SLOPE)


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
    k = _tail_index(Importance(NARROW).draw(modes.normal(), rng, repetitions, TAILS))
    # ‖x‖² is exponential in the plane, so w is Pareto; k̂ is pulled to ½ as if by ten draws
    tail, true = importance.tail_size(TAILS), 1 - NARROW**2
    statement = (
        "k̂ is the tail index of the weights, 1 − s²/σ² for a normal proposal that is too narrow"
    )
    about = f"k̂ of {TAILS} draws, s/σ = {NARROW}"
    yield equal(statement, about, k, (tail * true + 5) / (tail + 10), TAIL)


def _tail_index(drawn: Drawn) -> Measured:
    rows = () if drawn.weights is None else drawn.weights
    return mean(np.array([tail_index(row) for row in rows]))


def _derivative(rng: np.random.Generator, effort: int) -> Verdict:
    law = target()
    uniform = jax.random.uniform(key_of(rng), (effort * 50_000, 2))

    def squares(scale: jax.Array) -> jax.Array:
        x = transport(law._replace(scale=scale), uniform)
        return jnp.sum((x - law.mean) ** 2, axis=1)

    pathwise = jax.jit(lambda scale: jax.jvp(squares, (scale,), (jnp.ones(()),))[1])
    found = mean(np.asarray(pathwise(law.scale))).per(4 * modes.SCALE)
    statement = "reparameterised draws carry the derivative of an expectation"
    about = "∂E‖x − Ex‖²/∂σ, in units of 2dσ, along the paths of the draws"
    return equal(statement, about, found, 1.0, LIMIT_SD)
