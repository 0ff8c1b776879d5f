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

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from scipy.optimize import minimize

from comparisons.exhibits import Claim, Curves, Table
from comparisons.policy import LIMIT_SD, PROBABILITY
from comparisons.theory.densities._model import LINE, log_density_at
from comparisons.verdict import Verdict, not_comparable
from inference.methods.gaussian_vi import Mode, maximise, standard_points
from inference.methods.maximum_likelihood import MaximumLikelihood
from models.catalogue.gaussian import Gaussian
from models.catalogue.gaussian_mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jax import Array

    from comparisons.exhibits import Shown
    from inference.methods.gaussian_vi import Fit
    from models.spec import Values

    type Points = Array | np.ndarray

NATURE = GaussianMixture(2)
MODE = 3.0
"""m, and s = 1: modes six standard deviations apart."""
DEVIATION = 1.0
NODES = np.linspace(-40.0, 40.0, 8_001)
"""The trapezoidal rule converges exponentially for smooth laws that vanish at both ends."""
STEP = float(NODES[1] - NODES[0])
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99)
"""Shares w of p in the mixture of the Jensen–Shannon divergence."""
TENTH = 0.1
"""Of a departure at either end: the next order is of the order of w, a hundredth of it."""
EXACT = 1e-5
"""Distance at which a minimiser stops: an objective is flat to 1e-10 there, above its rounding."""
ROUNDING = 1e-12
"""What sums of some thousand terms of order 1 may be off in float64."""
UNITS = 20_000
DRAWS = 200_000
"""By which a divergence is averaged."""
LOCATION = 0.05
"""Largest difference of locations that does not matter, in standard deviations of q."""
POINTS = 1_024
"""Quasi-random points of the variational objective."""


def show(rng: np.random.Generator, effort: int) -> Iterator[Shown]:
    """Both optima by several routes, both divergences at both, and what lies between."""
    covers, seeks = nearest(forward, 1.0), nearest(reverse, 2.0)
    if covers is None or seeks is None:
        cause = "the minimiser of a divergence did not converge"
        yield Claim("Each direction has its own optimum.", not_comparable("optima", cause))
        return
    yield from _covers(rng, effort, covers)
    yield from _seeks(rng, seeks)
    yield from _compared(covers, seeks)
    yield from _between(covers, seeks)
    near = NODES[np.abs(NODES) <= 10]
    yield Curves(
        "A bimodal target and the two normal laws nearest to it",
        "x",
        "density",
        {
            name: (near.tolist(), np.exp(norm.logpdf(near, law[0], np.exp(law[1]))).tolist())
            for name, law in (("least KL(p ‖ q)", covers), ("least KL(q ‖ p)", seeks))
        },
        {"target p": (near.tolist(), np.exp(log_target(near)).tolist())},
    )


# --- laws and divergences -------------------------------------------------------------------------


def target() -> Values:
    """p, as a mixture of the suite."""
    values = {
        "weights": np.full(2, 0.5), "mu": np.array([-MODE, MODE]), "sigma": np.full(2, DEVIATION),
    }  # fmt: skip
    return {name: jnp.asarray(value) for name, value in values.items()}


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


def nearest(objective: Callable[[Array], Array], start: float) -> np.ndarray | None:
    """(location, log scale) of least divergence near a start; None if that is not stationary."""
    return minimiser(objective)(start)


def minimiser(objective: Callable[..., Array]) -> Callable[..., np.ndarray | None]:
    """(start, …) ↦ `nearest` for an objective of a law and further numbers; compiled once."""
    both, curvature = jax.jit(jax.value_and_grad(objective)), jax.jit(jax.hessian(objective))

    def find(start: float, *further: float) -> np.ndarray | None:
        def evaluate(law: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(law, *further)
            return float(value), np.asarray(gradient)

        end = minimize(evaluate, np.array([start, 0.5]), jac=True, method="BFGS", tol=1e-9).x
        gradient, hessian = evaluate(end)[1], np.asarray(curvature(end, *further))
        return end if np.abs(np.linalg.solve(hessian, gradient)).max() < 0.1 * EXACT else None

    return find


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


# --- the two optima -------------------------------------------------------------------------------


def _covers(rng: np.random.Generator, effort: int, law: np.ndarray) -> Iterator[Shown]:
    deviation = float(np.hypot(DEVIATION, MODE))
    for name, found, expected in (
        ("location", float(law[0]), 0.0),
        ("standard deviation", float(np.exp(law[1])), deviation),
    ):
        yield Claim(
            "The least forward divergence matches moments: mean 0 and variance s² + m².",
            Verdict(f"{name} of least KL(p ‖ q), by quadrature", found, expected, 0.0, EXACT),
        )
    data = NATURE.simulate(rng, target(), UNITS * effort)
    fit = MaximumLikelihood(restarts=2).fit(Gaussian(), data, rng)
    statement = "Maximum likelihood tends to the least forward divergence: it covers both modes."
    if fit.problems:
        yield Claim(statement, not_comparable("maximum likelihood", "; ".join(fit.problems)))
        return
    # a mixture's fourth central moment, for the error of a standard deviation
    fourth = MODE**4 + 6 * MODE**2 * DEVIATION**2 + 3 * DEVIATION**4
    root = np.sqrt(UNITS * effort)
    error = np.sqrt(fourth - deviation**4) / (2 * deviation) / root
    for name, expected, uncertain, bound in (
        ("mu", 0.0, deviation / root, LOCATION * deviation),
        ("sigma", deviation, float(error), LIMIT_SD * deviation),
    ):
        about = f"{name} of the Gaussian fitted by maximum likelihood"
        found = float(fit.center.value[name])
        yield Claim(statement, Verdict(about, found, expected, uncertain, bound))
    y = rng.normal(rng.choice([-MODE, MODE], DRAWS * effort), DEVIATION)
    ratio = np.asarray(log_target(y) - norm.logpdf(y, law[0], np.exp(law[1])))
    predicted = np.log(deviation / DEVIATION) - np.log(2) + overlap().value
    error = float(ratio.std() / np.sqrt(y.size))
    about = "least KL(p ‖ q): mean of log p/q over draws of p against log(sd/s) − log 2 + E g, nats"
    yield Claim(
        "One normal law cannot fit two modes: the least forward divergence is log(sd/s) − log 2.",
        Verdict(about, float(ratio.mean()), float(predicted), error, LIMIT_SD * float(predicted)),
    )


def on_one_mode() -> tuple[float, float]:
    """Location and scale of the least reverse divergence, to first order in the overlap."""
    small = overlap()
    scale = DEVIATION * (1 + 0.5 * DEVIATION**2 * small.second)
    return MODE + DEVIATION**2 * small.first, scale


def _seeks(rng: np.random.Generator, law: np.ndarray) -> Iterator[Shown]:
    place, scale = on_one_mode()
    found = float(abs(law[0])), float(np.exp(law[1]))
    bounds = LOCATION * DEVIATION, LIMIT_SD * DEVIATION
    names = "distance of the location from 0", "standard deviation"
    for name, value, expected, bound in zip(names, found, (place, scale), bounds, strict=True):
        yield Claim(
            "The least reverse divergence sits on one mode and has its width.",
            Verdict(f"{name} of least KL(q ‖ p)", value, expected, 0.0, bound),
        )
    fit = _variational(rng)
    statement = "Variational inference ends at the least reverse divergence: it seeks one mode."
    if not fit.gradient < 1e-3:  # nats for one standard deviation, as in `gaussian_vi`
        yield Claim(statement, not_comparable("variational inference", "it has not converged"))
        return
    ours = float(abs(fit.loc[0])), float(fit.factor[0, 0])
    for name, value, expected, bound in zip(names, ours, found, bounds, strict=True):
        about = f"{name} of the variational Gaussian against least KL(q ‖ p)"
        yield Claim(statement, Verdict(about, value, expected, 0.0, bound))


def _variational(rng: np.random.Generator) -> Fit:
    """The suite's variational Gaussian, from either mode."""
    height = jax.jit(jax.vmap(jax.value_and_grad(lambda u: log_target(u)[0])))

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient = height(points)
        return np.asarray(value), np.asarray(gradient)

    side = NODES[NODES * rng.choice([-1.0, 1.0]) > 0]
    log_density = np.asarray(log_target(side))
    mode = Mode(float(log_density.max()), side[log_density.argmax()][None])
    return maximise(evaluate, standard_points(rng, POINTS, 1), mode, "mean_field")


def _compared(covers: np.ndarray, seeks: np.ndarray) -> Iterator[Shown]:
    for name, law, side in (("forward", covers, 0.5), ("reverse", seeks, 0.0)):
        mass = float(norm.cdf(-abs(law[0]) / np.exp(law[1])))
        yield Claim(
            "The forward optimum gives both modes their mass, the reverse one leaves one out.",
            Verdict(f"mass of the {name} optimum beyond 0", mass, side, 0.0, PROBABILITY),
        )
    there = {
        (which, name): float(objective(jnp.asarray(law)))
        for which, objective in (("KL(p ‖ q)", forward), ("KL(q ‖ p)", reverse))
        for name, law in (("forward", covers), ("reverse", seeks))
    }
    target = log_target(NODES)
    yield Table(
        "Divergences at both optima, nats",
        ("optimum", "location", "standard deviation", "KL(p ‖ q)", "KL(q ‖ p)", "Jensen–Shannon"),
        tuple(
            (
                name,
                float(law[0]),
                float(np.exp(law[1])),
                there["KL(p ‖ q)", name],
                there["KL(q ‖ p)", name],
                float(jensen_shannon(target, normal(law))),
            )
            for name, law in (("forward", covers), ("reverse", seeks))
        ),
    )
    (a, b), shared = on_one_mode(), float(np.log(2)) - overlap().value
    spread = (DEVIATION**2 + MODE**2 + a**2) / (2 * b**2)
    for which, value in (
        ("KL(p ‖ q)", float(np.log(b / DEVIATION)) + spread - 0.5 - shared),
        ("KL(q ‖ p)", shared),
    ):
        about = f"{which} at the optimum of KL(q ‖ p), nats"
        yield Claim(
            "The divergence is not symmetric: a law on one mode is log 2 from the target, which is "
            "about m²/s² − log 2 from it.",
            Verdict(about, there[which, "reverse"], value, 0.0, LIMIT_SD * value),
        )
    for which, own, other in (
        ("KL(p ‖ q)", "forward", "reverse"),
        ("KL(q ‖ p)", "reverse", "forward"),
    ):
        about = f"{which} at the other direction's optimum in units of that at its own"
        yield Claim(
            "Each direction has its own optimum.",
            Verdict(
                about, there[which, other] / there[which, own], 1 + LIMIT_SD, 0.0, 0.0, "at_least"
            ),
        )


# --- between them ---------------------------------------------------------------------------------


def _nearest_between(shares: Sequence[float]) -> dict[float, np.ndarray]:
    """The normal laws of least JSD_w from the target, by w: the better of two minima."""
    find, found = minimiser(weighted), {}
    for share in shares:
        known = [law for start in (1.0, MODE + 1) if (law := find(start, share)) is not None]
        if known:
            heights = [float(weighted(jnp.asarray(law), share)) for law in known]
            found[share] = known[int(np.argmin(heights))]
    return found


def weighted(law: Array, share: Array | float) -> Array:
    """JSD_w/(w(1 − w)) of the target and q given by (location, log scale)."""
    return jensen_shannon(log_target(NODES), normal(law), share) / (share * (1 - share))


def _first_order(law: np.ndarray, share: float) -> np.ndarray:
    """The law of least JSD_w at a share near 0 or 1, from the optimum there."""
    end = round(share)
    near, at = end + (share - end) / 100, jnp.asarray(law)
    slope = jax.grad(weighted)
    hessian, change = (jax.jacfwd(slope, argnums=i)(at, near) for i in (0, 1))
    return law - np.linalg.solve(hessian, change) * (share - end)


def _interpolated(covers: np.ndarray, seeks: np.ndarray) -> Iterator[Shown]:
    """The nearest laws by JSD_w, from one direction's optimum to the other's."""
    known = _nearest_between(SHARES)
    for share, (which, law) in {
        SHARES[0]: ("least KL(p ‖ q)", covers), SHARES[-1]: ("least KL(q ‖ p)", seeks),
    }.items():  # fmt: skip
        end = f"{share:.0f}"
        statement = f"As w → {end}, the law of least Jensen–Shannon divergence is that of {which}."
        if share not in known:
            yield Claim(statement, not_comparable(f"least JSD_w, w = {share:g}", "no minimum"))
            continue
        predicted = _first_order(law, share)
        for name, value, expected in (
            ("distance of the location from 0", *(abs(u[0]) for u in (known[share], predicted))),
            ("standard deviation", *(np.exp(u[1]) for u in (known[share], predicted))),
        ):
            limit = abs(law[0]) if "location" in name else np.exp(law[1])
            about = f"{name} of least JSD_w, w = {share:g}, less that of {which} / to first order"
            found, departure = float(value - limit), float(expected - limit)
            bound = max(TENTH * abs(departure), EXACT)
            yield Claim(statement, Verdict(about, found, departure, 0.0, bound))
    shares = list(known)
    yield Curves(
        "Normal laws of least Jensen–Shannon divergence from a bimodal target",
        "share w of the target in the mixture",
        "units of the standard deviation of a mode",
        {
            "distance of the location from 0": (shares, [abs(float(u[0])) for u in known.values()]),
            "standard deviation": (shares, [float(np.exp(u[1])) for u in known.values()]),
        },
        {
            f"{name} at {which}": ([0.0, 1.0], [value] * 2)
            for which, law in (("least KL(p ‖ q)", covers), ("least KL(q ‖ p)", seeks))
            for name, value in (
                ("distance", abs(float(law[0]))), ("standard deviation", float(np.exp(law[1]))),
            )
        },
    )  # fmt: skip


def _between(covers: np.ndarray, seeks: np.ndarray) -> Iterator[Shown]:
    yield from _interpolated(covers, seeks)
    at, still = jnp.array([1.0, 0.5]), jnp.zeros(2)
    both = jensen_shannon(normal(at), normal(still)), jensen_shannon(normal(still), normal(at))
    yield Claim(
        "The Jensen–Shannon divergence is symmetric.",
        Verdict("JSD(p, q) − JSD(q, p), nats", float(both[0] - both[1]), 0.0, 0.0, ROUNDING),
    )
    logs = [norm.logpdf(NODES, place, DEVIATION) for place in (-MODE, MODE)]
    expected = float(np.log(2)) - overlap().value
    about = "JSD of the two modes against log 2 − E g, the information about the label, nats"
    yield Claim(
        "The Jensen–Shannon divergence is the information of a draw about its source.",
        Verdict(about, float(jensen_shannon(logs[0], logs[1])), expected, 0.0, ROUNDING),
    )
    distances = np.linspace(0.0, 8.0, 41)
    laws = [jnp.array([distance, 0.0]) for distance in distances]
    jensen = [float(jensen_shannon(normal(still), normal(law))) for law in laws]
    kullback = [float(divergence(normal(still), normal(law))) for law in laws]
    about = "log 2 − the largest Jensen–Shannon divergence of N(0, 1) and N(d, 1), nats"
    yield Claim(
        "The Jensen–Shannon divergence is at most log 2.",
        Verdict(about, float(np.log(2)) - max(jensen), 0.0, 0.0, 0.0, "at_least"),
    )
    yield Curves(
        "Divergences of N(0, 1) and N(d, 1)",
        "distance d, standard deviations",
        "nats",
        {
            "KL(p ‖ q)": (distances.tolist(), kullback),
            "Jensen–Shannon": (distances.tolist(), jensen),
        },
        {
            "d²/2": (distances.tolist(), (distances**2 / 2).tolist()),
            "log 2": ([0.0, 8.0], [float(np.log(2))] * 2),
        },
    )
