"""The best discriminator between p and q is D* = p/(p + q), and it reaches V = 2·JSD − log 4.

With V(D) = E_p log D + E_q log(1 − D), each point of the plane is a problem of its own, maximised
at D* = p/(p + q), where V = 2·JSD(p ‖ q) − log 4, JSD the Jensen–Shannon divergence of p and q
from their mean m.  For any other D the value is lower by exactly

    V(D*) − V(D) = 2 E_m KL(Bernoulli(D*) ‖ Bernoulli(D)),

so a trained discriminator is a lower bound of the divergence, and −log 4 is left when q = p.
Everything here is an integral by quadrature; only the training of a network is by samples.
References: Goodfellow et al. (2014), NeurIPS, prop. 1, thm. 1; Lin (1991), IEEE Trans. Inf. Theory.
"""

import jax
import jax.numpy as jnp
import numpy as np
from equinox.nn import MLP
from jax import Array
from jax.nn import log_sigmoid, sigmoid
from scipy.special import rel_entr

from comparisons.exhibits import Exhibits
from comparisons.theory import densities
from comparisons.theory._claims import SHARE, Measured, at_least, equal, missing
from comparisons.theory._plane import NEGLIGIBLE, draws, grid
from comparisons.theory.densities import Pointwise, everywhere
from models.catalogue.factor_analysis import ProbabilisticPCA
from models.programs.keys import key_of

N = 4_000  # draws of each law that the network is trained on, at effort 1
FRESH = 80_000  # draws of each to judge it on: 2z standard errors of V are below `NEGLIGIBLE`
UPDATES = 3_000
STEPS = 60  # Newton steps of the pointwise maximum; they double its correct digits
ROUNDING = 1e-9  # relative to numbers of order one, sums of 40,000 terms in float64
FOUND = 0.9
"""Least share of 2·JSD that a trained discriminator has to find.  It is a judgement, not a theorem:
one that has not been trained finds none."""
FLOOR = 1e-12  # p + q below which a point is left out: neither law's draws ever get there
STAYS_BELOW = "a trained discriminator stays below the best one by 2 E_m KL(D* ‖ D)"


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """Nature against the normal law with its moments, on densities, then with a network."""
    box, normal, points = grid(), ProbabilisticPCA(1), draws(rng, N * effort)
    values = normal.maximum_likelihood(densities.as_data(points))
    log_q = everywhere(densities.log_density_at(normal, values), box.points)
    p, q = np.exp(box.log_density), np.exp(log_q)
    p, q = p / box.integral(p), q / box.integral(q)
    divergence, star = box.jensen_shannon(p, q), p / (p + q)
    most = bound(divergence)
    found = np.asarray(pointwise_maximum(jnp.asarray(p), jnp.asarray(q)))
    best = value(found, p, q)
    away = np.abs(np.asarray(sigmoid(found)) - star)[p + q > FLOOR].max()
    statement = "the discriminator that maximises V at every point is p/(p + q)"
    yield equal(statement, "largest |D − p/(p + q)|", away, 0.0, ROUNDING)
    statement = "the maximum of V over discriminators is 2·JSD − log 4"
    yield equal(statement, "max V / 2·JSD − log 4, nats", best, most, ROUNDING)
    statement = "between equal laws nothing is left to tell: V = −log 4"
    same = value(np.asarray(pointwise_maximum(jnp.asarray(p), jnp.asarray(p))), p, p)
    yield equal(statement, "max V at q = p / −log 4, nats", same, bound(0.0), ROUNDING)
    others = np.asarray(normal.simulate(rng, values, N * effort)["y"].data)
    logit, problems = trained(points, others, rng, UPDATES * effort)
    if problems:
        yield missing(STAYS_BELOW, "V of a trained discriminator", problems)
        return
    learnt = np.asarray(everywhere(logit, box.points))
    reached, ours, middle = value(learnt, p, q), np.asarray(sigmoid(learnt)), (p + q) / 2
    gap = 2 * box.integral(middle * (rel_entr(star, ours) + rel_entr(1 - star, 1 - ours)))
    yield equal(STAYS_BELOW, "V of a network / V* − 2 E_m KL, nats", reached, best - gap, ROUNDING)
    statement = "a trained discriminator finds most of what there is to tell"
    about = "(V + log 4)/(2·JSD) of a network, by quadrature"
    yield at_least(statement, about, (reached - bound(0.0)) / (2 * divergence), FOUND, SHARE)
    fresh = np.asarray(normal.simulate(rng, values, FRESH)["y"].data)
    measured = judged(logit, draws(rng, FRESH), fresh)
    statement = "on fresh draws no trained discriminator does better than 2·JSD − log 4"
    about = "(2·JSD − log 4) − V of a network on draws, nats"
    less = Measured(most - measured.value, measured.error)
    yield at_least(statement, about, less, 0.0, NEGLIGIBLE)


def value(logit: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """V of a discriminator between two densities, all three at the points of the grid, nats."""
    told, untold = (np.asarray(log_sigmoid(sign * logit)) for sign in (1.0, -1.0))
    return grid().integral(p * told + q * untold)


def judged(logit: Pointwise, real: np.ndarray, other: np.ndarray) -> Measured:
    """V of a discriminator over draws of two laws, of shape (n, 2) each."""
    told = np.asarray(log_sigmoid(everywhere(logit, real)))
    untold = np.asarray(log_sigmoid(-everywhere(logit, other)))
    error = np.sqrt((told.var() + untold.var()) / len(real))
    return Measured(float(told.mean() + untold.mean()), float(error))


def bound(divergence: float) -> float:
    """2·JSD − log 4, nats."""
    return 2 * divergence - float(np.log(4))


@jax.jit
def pointwise_maximum(p: Array, q: Array) -> Array:
    """The logits f that maximise p log σ(f) + q log σ(−f) at every point, by Newton's method.

    The step is cut to one, as far from the maximum the curvature p + q times σ(f) σ(−f) vanishes.
    """

    def step(f: Array, _: None) -> tuple[Array, None]:
        d = sigmoid(f)
        newton = (p - (p + q) * d) / jnp.maximum((p + q) * d * (1 - d), jnp.finfo(float).tiny)
        return f + jnp.clip(newton, -1.0, 1.0), None

    return jax.lax.scan(step, jnp.zeros_like(p), None, length=STEPS)[0]


def trained(
    real: np.ndarray, other: np.ndarray, rng: np.random.Generator, updates: int
) -> tuple[Pointwise, tuple[str, ...]]:
    """A network's logit for draws of one law rather than another, and what went wrong.

    Args:
        real: draws of one law, shape (n, 2).
        other: draws of the other, shape (n, 2).
        rng: of the network's start and the minibatches.
        updates: steps of Adam.
    """
    units = densities.standard(np.concatenate([real, other]))
    pairs = np.concatenate([units.to(real), units.to(other)], axis=1)

    def loss(network: MLP, key: Array, rows: Array) -> Array:
        logit = jax.vmap(lambda x: network(x)[0])
        return -jnp.mean(log_sigmoid(logit(rows[:, :2])) + log_sigmoid(-logit(rows[:, 2:])))

    start = densities.perceptron(key_of(rng), 2, 1)
    run = densities.minimise(loss, start, pairs, rng, updates=updates)
    return (lambda x: jax.vmap(run.network)(units.to(x))[:, 0]), run.problems
