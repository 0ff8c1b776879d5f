"""The evidence lower bound falls short by a divergence, and importance weights close the gap.

For a latent-variable model q(x) = ∫ p(x, z) dz and a proposal r(z | x), with w = p(x, z)/r(z | x),

    log q(x) − E log w = KL(r(z | x) ‖ p(z | x)),
    L_K = E log K⁻¹ Σ_k w_k rises with K,    log q(x) − L_K → 0.

Here the model is a trained variational autoencoder of one latent dimension, where log q(x) and the
divergence are integrals over a line; the means are over held-out points.
References: Jordan, Ghahramani, Jaakkola & Saul (1999), Mach. Learn. 37; Burda, Grosse &
Salakhutdinov (2016), ICLR.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from comparisons.exhibits import Curves, Exhibits
from comparisons.theory._claims import SHARE, Measured, at_least, equal, mean, missing
from comparisons.theory._plane import NEGLIGIBLE, draws
from comparisons.theory.densities.variational_autoencoder import LATENT, LatentVariable, learn
from models.programs.keys import key_of

TRAIN = 2_000
POINTS = 500  # held-out points over which bounds are averaged
BUDGET = 2_000  # importance samples per point for each K: as many bounds as it holds are averaged
SAMPLES = (1, 10, 100, 1_000)


def show(rng: np.random.Generator, effort: int) -> Exhibits:
    """A ladder of bounds of one model, against its likelihood by quadrature."""
    units, trained = learn(draws(rng, TRAIN * effort), rng, effort)
    if trained.problems:
        yield missing("the model has been trained", "lower bounds of a model", trained.problems)
        return
    model, x = trained.network, jnp.asarray(units.to(draws(rng, POINTS)))
    exact = np.asarray(eqx.filter_jit(model.log_marginal)(x))
    gap = np.asarray(divergence(model, x))
    bounds = {k: _bound(model, x, rng, k, BUDGET * effort // k) for k in SAMPLES}
    statement = "the evidence lower bound falls short of log q(x) by KL(r(z | x) ‖ p(z | x))"
    about = "nats per observation: log q(x) − ELBO by samples / KL by quadrature"
    yield equal(statement, about, _paired(exact - bounds[1], gap), gap.mean(), NEGLIGIBLE)
    statement = "the evidence lower bound leaves a gap that matters"
    about = "nats per observation: KL(r(z | x) ‖ p(z | x)) by quadrature / what does not matter"
    yield at_least(statement, about, mean(gap), NEGLIGIBLE, SHARE * NEGLIGIBLE)
    for less, more in pairwise(SAMPLES):
        statement = f"the bound by {more:,} importance samples is no lower than by {less:,}"
        about, found = f"nats: L_{more} / L_{less}", _paired(bounds[more], bounds[less])
        yield at_least(statement, about, found, bounds[less].mean(), NEGLIGIBLE)
    last = SAMPLES[-1]
    statement = f"by {last:,} importance samples nothing is left of the gap"
    about = f"nats per observation: L_{last} / log q(x) by quadrature"
    yield equal(statement, about, _paired(bounds[last], exact), exact.mean(), NEGLIGIBLE)
    lines = {"L_K": (SAMPLES, [one.mean() for one in bounds.values()])}
    theory = {
        "log q(x) by quadrature": (SAMPLES, [exact.mean()] * len(SAMPLES)),
        "ELBO by quadrature": (SAMPLES, [(exact - gap).mean()] * len(SAMPLES)),
    }
    title = "importance weights close the gap of the lower bound"
    y = "mean held-out bound, nats per observation in standardised units"
    yield Curves(title, "importance samples K", y, lines, theory, "x")


def _paired(one: np.ndarray, other: np.ndarray) -> Measured:
    """A mean over points, with the error of its difference from another."""
    return Measured(one.mean(), mean(one - other).error)


def _bound(
    model: LatentVariable, x: Array, rng: np.random.Generator, samples: int, repeats: int
) -> np.ndarray:
    """L_K at each point, shape (M,), nats: an average of so many independent bounds."""
    keys = jax.random.split(key_of(rng), repeats)
    every = jax.jit(lambda keys: jax.lax.map(lambda key: model.bound(key, x, samples), keys))
    return np.asarray(jnp.mean(every(keys), axis=0))


@eqx.filter_jit
def divergence(model: LatentVariable, x: Array) -> Array:
    """KL(r(z | x) ‖ p(z | x)) at each point by quadrature, shape (M,)."""
    z, step = jnp.asarray(LATENT), LATENT[1] - LATENT[0]
    mean, scale = model.proposal(x)
    log_r = norm.logpdf(z, mean[:, None], scale[:, None])
    log_joint = jax.vmap(lambda x: model.log_joint(x, z))(x)
    log_posterior = log_joint - model.log_marginal(x)[:, None]
    return jnp.sum(jnp.exp(log_r) * (log_r - log_posterior), axis=1) * step
