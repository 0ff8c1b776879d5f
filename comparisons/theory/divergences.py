"""Forward divergence covers every mode, reverse divergence seeks one.

For the target p = ½ N(−m, s²) + ½ N(m, s²) and one normal law q:

* argmin_q KL(p ‖ q), the limit of maximum likelihood and of EM, matches moments: mean 0 and
  variance s² + m².  It covers both modes and the empty middle.
* argmin_q KL(q ‖ p), that of variational inference, has a copy at each mode once they are apart.
  There p = ½ N(m, s²)(1 + r) with r(x) = exp(−2mx/s²), so that with g = log(1 + r) and expectations
  under N(m, s²) the optimum is, to first order in g,

      a = m + s² E g′,    b = s + ½ s³ E g″,    KL(q ‖ p) = log 2 − E g,

  and the forward divergence of that q is log(b/s) + (s² + m² + a²)/(2b²) − ½ − log 2 + E g, which
  tends to m²/s² − log 2.

References: Bishop (2006), Pattern Recognition and Machine Learning, §10.1; Minka (2005), Divergence
measures and message passing, MSR-TR-2005-173.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD, PROBABILITY
from comparisons.theory._claims import Measured, at_least, equal, mean, missing
from comparisons.theory._minima import EXACT, minimum
from comparisons.theory.densities import LINE, log_density_at
from inference.methods.maximum_likelihood import MaximumLikelihood
from inference.optimisation.elbo import maximise, standard_points
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture
from models.spec import Values

type Points = Array | np.ndarray

NATURE = GaussianMixture(2)
MODE = 3.0  # m, and s = 1: modes six standard deviations apart
DEVIATION = 1.0
NODES = np.linspace(-40.0, 40.0, 8_001)
"""The trapezoidal rule converges exponentially for smooth laws that vanish at both ends."""
STEP = float(NODES[1] - NODES[0])
UNITS = 20_000
DRAWS = 200_000  # by which a divergence is averaged
LOCATION = 0.05  # largest difference of locations that does not matter, in standard deviations of q
POINTS = 1_024  # quasi-random points of the variational objective


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Both optima by several routes, and both divergences at both."""
    covers, seeks = optima()
    yield from _covers(rng, effort, covers)
    yield from _seeks(rng, seeks)
    yield from compared(covers, seeks)
    x = NODES[np.abs(NODES) <= 10]
    fitted = {
        name: (x, np.asarray(jnp.exp(norm.logpdf(x, law[0], np.exp(law[1])))))
        for name, law in (("least KL(p ‖ q)", covers), ("least KL(q ‖ p)", seeks))
    }
    title = "A bimodal target and the two normal laws nearest to it"
    yield Curves(title, "x", "density", fitted, {"target p": (x, np.exp(log_target(x)))})


def optima() -> tuple[np.ndarray, np.ndarray]:
    """(location, log scale) of least forward and reverse divergence."""
    return minimum(forward, np.array([1.0, 0.5])), minimum(reverse, np.array([2.0, 0.5]))


def target() -> Values:
    """p, as a mixture of the suite."""
    half, sigma = jnp.full(2, 0.5), jnp.full(2, DEVIATION)
    return {"weights": half, "mu": jnp.array([-MODE, MODE]), "sigma": sigma}


def log_target(x: Points) -> Array:
    """log p at x, read off the mixture's program."""
    return log_density_at(NATURE, target(), LINE)(jnp.asarray(x))


def divergence(log_p: Points, log_q: Points) -> Array:
    """KL(p ‖ q) in nats by quadrature, of log densities at `NODES`."""
    return (jnp.exp(log_p) * (log_p - log_q)).sum() * STEP


def normal(law: Points) -> Array:
    """Log density at `NODES` of the normal law with (location, log scale)."""
    return norm.logpdf(NODES, law[0], jnp.exp(law[1]))


def forward(law: Array) -> Array:
    """KL(p ‖ q) of q given by (location, log scale)."""
    return divergence(log_target(NODES), normal(law))


def reverse(law: Array) -> Array:
    """KL(q ‖ p) of q given by (location, log scale)."""
    return divergence(normal(law), log_target(NODES))


class Overlap(NamedTuple):
    """Expectations under N(m, s²) of g = log(1 + r) and of its derivatives."""

    value: float
    first: float
    second: float


def overlap() -> Overlap:
    """By quadrature; all vanish as the modes move apart."""
    rate = 2 * MODE / DEVIATION**2
    weight = np.exp(norm.logpdf(NODES, MODE, DEVIATION)) * STEP
    share = np.asarray(jax.nn.sigmoid(-rate * NODES))  # r/(1 + r)
    g = np.logaddexp(0.0, -rate * NODES)
    slopes = -rate * share, rate**2 * share * (1 - share)
    return Overlap(*(float(weight @ part) for part in (g, *slopes)))


def _covers(rng: np.random.Generator, effort: int, law: np.ndarray) -> Exhibits:
    deviation = float(np.hypot(DEVIATION, MODE))
    statement = "The least forward divergence matches moments: mean 0 and variance s² + m²."
    yield equal(statement, "location of least KL(p ‖ q), by quadrature", law[0], 0.0, EXACT)
    about = "standard deviation of least KL(p ‖ q), by quadrature"
    yield equal(statement, about, np.exp(law[1]), deviation, EXACT)
    data = NATURE.simulate(rng, target(), UNITS * effort)
    fit = MaximumLikelihood(restarts=2).fit(Gaussian(), data, rng)
    statement = "Maximum likelihood tends to the least forward divergence: it covers both modes."
    # a mixture's fourth central moment, for the error of a standard deviation
    fourth = MODE**4 + 6 * MODE**2 * DEVIATION**2 + 3 * DEVIATION**4
    root = np.sqrt(UNITS * effort)
    error = np.sqrt(fourth - deviation**4) / (2 * deviation) / root
    if fit.problems:
        yield missing(statement, "maximum likelihood", fit.problems)
    else:
        for name, expected, uncertain, bound in (
            ("mu", 0.0, deviation / root, LOCATION * deviation),
            ("sigma", deviation, error, LIMIT_SD * deviation),
        ):
            about = f"{name} of the Gaussian fitted by maximum likelihood"
            found = Measured(float(fit.location.value[name]), uncertain)
            yield equal(statement, about, found, expected, bound)
    y = rng.normal(rng.choice([-MODE, MODE], DRAWS * effort), DEVIATION)
    ratio = np.asarray(log_target(y) - norm.logpdf(y, law[0], np.exp(law[1])))
    predicted = np.log(deviation / DEVIATION) - np.log(2) + overlap().value
    statement = "One normal law cannot fit two modes: least KL(p ‖ q) is log(sd/s) − log 2."
    about = "least KL(p ‖ q): mean of log p/q over draws of p against log(sd/s) − log 2 + E g, nats"
    yield equal(statement, about, mean(ratio), predicted, LIMIT_SD * predicted)


def on_one_mode() -> tuple[float, float]:
    """Location and scale of the least reverse divergence, to first order in the overlap."""
    small = overlap()
    scale = DEVIATION * (1 + 0.5 * DEVIATION**2 * small.second)
    return MODE + DEVIATION**2 * small.first, scale


def _seeks(rng: np.random.Generator, law: np.ndarray) -> Exhibits:
    # the suite's variational Gaussian, from either mode
    density = jax.jit(jax.vmap(jax.value_and_grad(lambda u: log_target(u)[0])))
    side = NODES[NODES * rng.choice([-1.0, 1.0]) > 0]
    mode = side[np.asarray(log_target(side)).argmax()][None]
    points = standard_points(rng, POINTS, 1)
    fit = maximise(lambda x: jax.device_get(density(x)), points, mode, "mean_field")
    found, ours = (abs(law[0]), np.exp(law[1])), (abs(fit.loc[0]), fit.factor[0, 0])
    names = "distance of the location from 0", "standard deviation"
    bounds = LOCATION * DEVIATION, LIMIT_SD * DEVIATION
    for name, least, variational, first, bound in zip(
        names, found, ours, on_one_mode(), bounds, strict=True
    ):
        statement = "The least reverse divergence sits on one mode and has its width."
        yield equal(statement, f"{name} of least KL(q ‖ p)", least, first, bound)
        statement = "Variational inference ends at the least reverse divergence: it seeks one mode."
        about = f"{name} of the variational Gaussian against least KL(q ‖ p)"
        if fit.gradient < 1e-3:  # nats for one standard deviation, as in `gaussian_vi`
            yield equal(statement, about, variational, least, bound)
        else:
            yield missing(statement, about, ["it has not converged"])


def compared(covers: np.ndarray, seeks: np.ndarray) -> Exhibits:
    """Both divergences at both optima."""
    laws = {"forward": covers, "reverse": seeks}
    statement = "The forward optimum gives both modes their mass, the reverse one leaves one out."
    for (name, law), side in zip(laws.items(), (0.5, 0.0), strict=True):
        mass = norm.cdf(-abs(law[0]) / np.exp(law[1]))
        yield equal(statement, f"mass of the {name} optimum beyond 0", mass, side, PROBABILITY)
    divergences = {"KL(p ‖ q)": forward, "KL(q ‖ p)": reverse}
    there = {
        (which, name): float(objective(jnp.asarray(law)))
        for which, objective in divergences.items()
        for name, law in laws.items()
    }
    rows = tuple(
        (name, law[0], np.exp(law[1]), *(there[which, name] for which in divergences))
        for name, law in laws.items()
    )
    columns = ("optimum", "location", "standard deviation", *divergences)
    yield Table("Divergences at both optima, nats", columns, rows)
    (a, b), shared = on_one_mode(), np.log(2) - overlap().value
    square = (DEVIATION**2 + MODE**2 + a**2) / (2 * b**2)
    statement = "A law on one mode is log 2 from the target, which is about m²/s² − log 2 from it."
    predicted = np.log(b / DEVIATION) + square - 0.5 - shared, shared
    for which, value in zip(divergences, predicted, strict=True):
        about = f"{which} at the optimum of KL(q ‖ p), nats"
        yield equal(statement, about, there[which, "reverse"], value, LIMIT_SD * value)
    statement = "Each direction has its own optimum."
    for which, own, other in zip(divergences, laws, reversed(laws), strict=True):
        about = f"{which} at the other direction's optimum in units of that at its own"
        ratio = there[which, other] / there[which, own]
        yield at_least(statement, about, ratio, 1 + LIMIT_SD, EXACT)
