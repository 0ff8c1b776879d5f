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

The Jensen–Shannon divergence ½ KL(p ‖ ½(p+q)) + ½ KL(q ‖ ½(p+q)) is symmetric and at most log 2; it
is the information that one draw carries about which of the two laws it came from.  With shares w of
p and 1 − w of q in the mixture it leads from one direction to the other: JSD_w/(w(1 − w)) tends to
KL(p ‖ q) as w → 0 and to KL(q ‖ p) as w → 1, and the law where it is least from one optimum to the
other, which it leaves by −H⁻¹ ∂_w ∇ w, the derivative of an implicit function.
References: Bishop (2006), Pattern Recognition and Machine Learning, §10.1; Minka (2005), Divergence
measures and message passing; Lin (1991), IEEE Trans. Inf. Theory 37; Huszár (2015), How (not) to
train your generative model, arXiv:1511.05101.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from comparisons.exhibits import Curves, Exhibits, Table
from comparisons.policy import LIMIT_SD, PROBABILITY
from comparisons.theory._claims import Measured, at_least, equal, missing
from comparisons.theory._minima import EXACT, minimiser, nearest
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
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99)
"""Shares w of p in the mixture of the Jensen–Shannon divergence."""
TENTH = 0.1  # share of a departure at either end: the next order is a share w, a hundredth
ROUNDING = 1e-12  # what sums of some thousand terms of order 1 may be off in float64
UNITS = 20_000
DRAWS = 200_000  # by which a divergence is averaged
LOCATION = 0.05  # largest difference of locations that does not matter, in standard deviations of q
POINTS = 1_024  # quasi-random points of the variational objective
OWN_OPTIMUM = "Each direction has its own optimum."


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Both optima by several routes, both divergences at both, and what lies between."""
    covers, seeks = nearest(forward, 1.0), nearest(reverse, 2.0)
    yield from _covers(rng, effort, covers)
    yield from _seeks(rng, seeks)
    yield from _compared(covers, seeks)
    yield from _interpolated(covers, seeks)
    yield from _jensen_shannon()
    inside = np.abs(NODES) <= 10
    known = {"target p": (NODES[inside], np.exp(log_target(NODES[inside])))}
    fitted = {
        name: (NODES[inside], np.exp(normal(law))[inside])
        for name, law in (("least KL(p ‖ q)", covers), ("least KL(q ‖ p)", seeks))
    }
    title = "A bimodal target and the two normal laws nearest to it"
    yield Curves(title, "x", "density", fitted, known)


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


def jensen_shannon(log_p: Points, log_q: Points, share: Array | float = 0.5) -> Array:
    """JSD_w in nats of p (share w) and q (share 1 − w), log densities at `NODES`."""
    middle = jnp.logaddexp(jnp.log(share) + log_p, jnp.log1p(-share) + log_q)
    return share * divergence(log_p, middle) + (1 - share) * divergence(log_q, middle)


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
        yield missing(statement, "maximum likelihood", "; ".join(fit.problems))
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
    found = Measured(ratio.mean(), ratio.std() / np.sqrt(y.size))
    predicted = np.log(deviation / DEVIATION) - np.log(2) + overlap().value
    statement = "One normal law cannot fit two modes: least KL(p ‖ q) is log(sd/s) − log 2."
    about = "least KL(p ‖ q): mean of log p/q over draws of p against log(sd/s) − log 2 + E g, nats"
    yield equal(statement, about, found, predicted, LIMIT_SD * predicted)


def on_one_mode() -> tuple[float, float]:
    """Location and scale of the least reverse divergence, to first order in the overlap."""
    small = overlap()
    scale = DEVIATION * (1 + 0.5 * DEVIATION**2 * small.second)
    return MODE + DEVIATION**2 * small.first, scale


def _seeks(rng: np.random.Generator, law: np.ndarray) -> Exhibits:
    found, bounds = _described(law), (LOCATION * DEVIATION, LIMIT_SD * DEVIATION)
    statement = "The least reverse divergence sits on one mode and has its width."
    for name, expected, bound in zip(found, on_one_mode(), bounds, strict=True):
        yield equal(statement, f"{name} of least KL(q ‖ p)", found[name], expected, bound)
    # the suite's variational Gaussian, from either mode
    density = jax.jit(jax.vmap(jax.value_and_grad(lambda u: log_target(u)[0])))
    side = NODES[NODES * rng.choice([-1.0, 1.0]) > 0]
    mode = side[np.asarray(log_target(side)).argmax()][None]
    points = standard_points(rng, POINTS, 1)
    fit = maximise(lambda x: jax.device_get(density(x)), points, mode, "mean_field")
    statement = "Variational inference ends at the least reverse divergence: it seeks one mode."
    if not fit.gradient < 1e-3:  # nats for one standard deviation, as in `gaussian_vi`
        yield missing(statement, "variational inference", "it has not converged")
        return
    ours = float(abs(fit.loc[0])), float(fit.factor[0, 0])
    for name, value, bound in zip(found, ours, bounds, strict=True):
        about = f"{name} of the variational Gaussian against least KL(q ‖ p)"
        yield equal(statement, about, value, found[name], bound)


def _compared(covers: np.ndarray, seeks: np.ndarray) -> Exhibits:
    optima = {"forward": covers, "reverse": seeks}
    statement = "The forward optimum gives both modes their mass, the reverse one leaves one out."
    for (name, law), side in zip(optima.items(), (0.5, 0.0), strict=True):
        mass = norm.cdf(-abs(law[0]) / np.exp(law[1]))
        yield equal(statement, f"mass of the {name} optimum beyond 0", mass, side, PROBABILITY)
    divergences = {"KL(p ‖ q)": forward, "KL(q ‖ p)": reverse}
    there, rows = {}, []
    for name, law in optima.items():
        q = jnp.asarray(law)
        for which, objective in divergences.items():
            there[which, name] = float(objective(q))
        found = [there[which, name] for which in divergences]
        jensen = float(jensen_shannon(log_target(NODES), normal(q)))
        rows.append((name, law[0], np.exp(law[1]), *found, jensen))
    columns = ("optimum", "location", "standard deviation", *divergences, "Jensen–Shannon")
    yield Table("Divergences at both optima, nats", columns, tuple(rows))
    (a, b), shared = on_one_mode(), np.log(2) - overlap().value
    square = (DEVIATION**2 + MODE**2 + a**2) / (2 * b**2)
    statement = "A law on one mode is log 2 from the target, which is about m²/s² − log 2 from it."
    predicted = np.log(b / DEVIATION) + square - 0.5 - shared, shared
    for which, value in zip(divergences, predicted, strict=True):
        about = f"{which} at the optimum of KL(q ‖ p), nats"
        yield equal(statement, about, there[which, "reverse"], value, LIMIT_SD * value)
    for which, own, other in zip(divergences, optima, reversed(optima), strict=True):
        about = f"{which} at the other direction's optimum in units of that at its own"
        yield at_least(OWN_OPTIMUM, about, there[which, other] / there[which, own], 1 + LIMIT_SD)


def _nearest_between(shares: Sequence[float]) -> dict[float, np.ndarray]:
    """The normal laws of least JSD_w from the target, by w: the better of two minima."""
    find, found = minimiser(_weighted), {}
    for share in shares:
        known = [find(np.array([start, 0.5]), share) for start in (1.0, MODE + 1)]
        found[share] = min(known, key=lambda law: float(_weighted(jnp.asarray(law), share)))
    return found


def _weighted(law: Array, share: Array | float) -> Array:
    """JSD_w/(w(1 − w)) of the target and q given by (location, log scale)."""
    return jensen_shannon(log_target(NODES), normal(law), share) / (share * (1 - share))


def _first_order(law: np.ndarray, share: float) -> np.ndarray:
    """The law of least JSD_w at a share near 0 or 1, from the optimum there."""
    end = round(share)
    near, at = end + (share - end) / 100, jnp.asarray(law)
    slope = jax.grad(_weighted)
    hessian, change = (jax.jacfwd(slope, argnums=i)(at, near) for i in (0, 1))
    return law - np.linalg.solve(hessian, change) * (share - end)


def _interpolated(covers: np.ndarray, seeks: np.ndarray) -> Exhibits:
    """The nearest laws by JSD_w, from one direction's optimum to the other's."""
    known = _nearest_between(SHARES)
    optima = {"least KL(p ‖ q)": covers, "least KL(q ‖ p)": seeks}
    for share, (which, law) in zip((SHARES[0], SHARES[-1]), optima.items(), strict=True):
        statement = f"As w → {share:.0f}, the law of least JSD_w is that of {which}."
        found, predicted, limits = map(_described, (known[share], _first_order(law, share), law))
        for name, limit in limits.items():
            about = f"{name} of least JSD_w, w = {share:g}, less that of {which} / to first order"
            departure = predicted[name] - limit
            bound = max(TENTH * abs(departure), EXACT)
            yield equal(statement, about, found[name] - limit, departure, bound)
    shares = list(known)
    described = [_described(law) for law in known.values()]
    lines = {name: (shares, [one[name] for one in described]) for name in _described(covers)}
    ends = {
        f"{name.partition(' of ')[0]} at {which}": ([0.0, 1.0], [value] * 2)
        for which, law in optima.items()
        for name, value in _described(law).items()
    }
    title = "Normal laws of least Jensen–Shannon divergence from a bimodal target"
    x = "share w of the target in the mixture"
    yield Curves(title, x, "units of the standard deviation of a mode", lines, ends)


def _described(law: np.ndarray) -> dict[str, float]:
    """A normal law with (location, log scale) in words."""
    place, scale = float(abs(law[0])), float(np.exp(law[1]))
    return {"distance of the location from 0": place, "standard deviation": scale}


def _jensen_shannon() -> Exhibits:
    at, still = jnp.array([1.0, 0.5]), jnp.zeros(2)
    both = jensen_shannon(normal(at), normal(still)), jensen_shannon(normal(still), normal(at))
    statement = "The Jensen–Shannon divergence is symmetric."
    yield equal(statement, "JSD(p, q) − JSD(q, p), nats", both[0] - both[1], 0.0, ROUNDING)
    logs = [norm.logpdf(NODES, place, DEVIATION) for place in (-MODE, MODE)]
    expected, found = np.log(2) - overlap().value, float(jensen_shannon(logs[0], logs[1]))
    statement = "The Jensen–Shannon divergence is the information of a draw about its source."
    about = "JSD of the two modes against log 2 − E g, the information about the label, nats"
    yield equal(statement, about, found, expected, ROUNDING)
    distances = np.linspace(0.0, 8.0, 41)
    laws = [normal(jnp.array([distance, 0.0])) for distance in distances]
    jensen = [float(jensen_shannon(normal(still), law)) for law in laws]
    statement = "The Jensen–Shannon divergence is at most log 2."
    about = "log 2 − the largest Jensen–Shannon divergence of N(0, 1) and N(d, 1), nats"
    yield at_least(statement, about, np.log(2) - max(jensen), 0.0)
    kullback = [float(divergence(normal(still), law)) for law in laws]
    lines = {"KL(p ‖ q)": (distances, kullback), "Jensen–Shannon": (distances, jensen)}
    theory = {"d²/2": (distances, distances**2 / 2), "log 2": ([0.0, 8.0], [np.log(2)] * 2)}
    title, x = "Divergences of N(0, 1) and N(d, 1)", "distance d, standard deviations"
    yield Curves(title, x, "nats", lines, theory)
