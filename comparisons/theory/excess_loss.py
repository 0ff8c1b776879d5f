"""A right model with k parameters costs k/(2N) nats per held-out observation.

For a regular model that contains nature, the maximum-likelihood fit to N observations has

    2N · KL(p ‖ p_θ̂) → χ²_k,   so   E KL(p ‖ p_θ̂) = k/(2N) + O(N⁻²):

the held-out half of Akaike's correction; the other half is what ℓ(θ̂) gains on its own data.  Each
divergence is an integral by quadrature.  Its quadratic approximation Q = ½ sᵀ I⁻¹ s, s the mean
score of the data at the truth, has expectation k/(2N) exactly, so the mean of KL − Q over simulated
sets plus k/(2N) has a far smaller error than the mean of KL.
References: Akaike (1973); van der Vaart (1998), Asymptotic Statistics, §5.3; Owen (2013), Monte
Carlo theory, methods and examples, §8.9 (control variates).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.exhibits import Exhibits
from comparisons.policy import LIMIT_SD
from comparisons.theory._claims import equal, mean, missing
from comparisons.theory._minima import climbed
from comparisons.theory._plane import NATURE, STEP, draws, grid
from comparisons.theory.densities import TEMPLATE, as_data
from models.programs.density import replicable
from models.spec import Values

N = 2_000
REPLICATES = 60
PILOT = 500  # points of the set apart that gives the fits a start
STARTS = 20
STEPS = 60  # of EM in a fit: with components this far apart each leaves under half of the error
STILL = 1e-8  # change of ℓ/N over the last EM step, relative to k/(2N), at which EM has converged


class Fits(NamedTuple):
    """Divergences of fitted laws from nature; R replicates."""

    divergence: np.ndarray  # KL(p ‖ p_θ̂) by quadrature, nats, shape (R,)
    quadratic: np.ndarray  # ½ sᵀ I⁻¹ s, shape (R,)
    left: float  # largest relative change by the last step of EM


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """The mean divergence of the fitted mixture from nature."""
    k = replicable(NATURE, TEMPLATE)[0].size
    fits = fit(rng, REPLICATES * effort, _pilot(rng))
    about = f"E KL(p ‖ p_θ̂) in units of k/(2N): mixture with k = {k}, N = {N}"
    statement = "the maximum of a right model's exact likelihood loses k/(2N) nats to the truth"
    if not fits.left < STILL:
        cause = f"EM still moves: by {fits.left:.1e} of k/(2N) in its last step"
        yield missing(statement, about, cause)
        return
    departure = (fits.divergence - fits.quadratic) * 2 * N / k
    yield equal(statement, about, mean(1 + departure), 1.0, LIMIT_SD)


def fit(rng: np.random.Generator, replicates: int, start: Values) -> Fits:
    """Fits the mixture to simulated sets by EM from a start that does not depend on them."""
    sets = jnp.asarray(draws(rng, N * replicates).reshape(replicates, N, 2))
    ends, gain = jax.jit(jax.vmap(_maximised, (None, 0)))(start, sets)
    program, log_likelihood = replicable(NATURE, TEMPLATE)
    box, true = grid(), program.unconstrain(NATURE.truth)

    log_density = jax.jit(lambda values: _log_likelihood(values, box.points))

    @jax.jit
    def score(points: Array) -> Array:
        return jax.jacfwd(lambda u: log_likelihood(as_data(points), u))(true)

    laws = (jax.tree.map(lambda leaf, r=r: leaf[r], ends) for r in range(replicates))
    divergence = [box.mean(box.log_density - np.asarray(log_density(law))) for law in laws]
    at = np.asarray(score(jnp.asarray(box.points)))
    information = at.T @ (at * np.exp(box.log_density)[:, None]) * STEP**2
    means = np.asarray(score(sets.reshape(-1, 2))).reshape(replicates, N, -1).mean(axis=1)
    quadratic = 0.5 * np.einsum("ri,ri->r", means, np.linalg.solve(information, means.T).T)
    return Fits(np.array(divergence), quadratic, float(np.max(gain)) * 2 * N / len(true))


def _pilot(rng: np.random.Generator) -> Values:
    """The best of many data-driven starts on a set of its own."""
    points = draws(rng, PILOT)
    starts = [NATURE.start(rng, as_data(points)) for _ in range(STARTS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    ends = jax.vmap(lambda one: _maximised(one, jnp.asarray(points))[0])(stacked)
    reached = jax.vmap(lambda values: _log_likelihood(values, points).sum())(ends)
    best = int(jnp.argmax(jnp.where(jnp.isfinite(reached), reached, -jnp.inf)))
    return jax.tree.map(lambda leaf: leaf[best], ends)


def _log_likelihood(values: Values, points: Any) -> Array:
    """log p of each point."""
    program, log_likelihood = replicable(NATURE, TEMPLATE)
    return log_likelihood(as_data(points), program.unconstrain(values))


def _maximised(start: Values, points: Array) -> tuple[Values, Array]:
    """The end of EM, and what the last step gained, nats per observation."""
    before = climbed(NATURE, start, points, STEPS)
    after = climbed(NATURE, before, points, 1)
    gain = jnp.mean(_log_likelihood(after, points)) - jnp.mean(_log_likelihood(before, points))
    return after, jnp.abs(gain)
