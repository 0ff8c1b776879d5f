"""Score only: s(x) ≈ ∇ log p(x), learnt without the density and without its constant.

Matching ½E‖s − ∇ log p‖² needs no ∇ log p: integrated by parts it is, up to a constant,

    sliced      E[½(vᵀs)² + vᵀ(∇s)v],      v random signs (for the trace), or with noise added
    denoising   ½E‖s(x + σε) + ε/σ‖²,      whose minimiser is the score of p ∗ N(0, σ²I) instead.

References: Hyvärinen (2005), JMLR 6; Vincent (2011), Neural Comput. 23; Song, Garg, Shi & Ermon
(2020), UAI.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities import Fitted, minimise, perceptron, standard
from models.programs.keys import key_of

UPDATES = 4_000
NOISE = 0.3  # σ of the denoising objective, in the units of the data


def fit(
    train: np.ndarray, rng: np.random.Generator, effort: float, objective: str = "denoising"
) -> Fitted:
    """A network for the score.

    Args:
        train: shape (N, 2).
        rng: of all that is random.
        effort: multiplies the updates.
        objective: a key of `LOSSES`.
    """
    units = standard(train)

    def score(network: eqx.nn.MLP, x: Array) -> Array:
        return network(units.to(x)) / units.scale

    def loss(network: eqx.nn.MLP, key: Array, x: Array) -> Array:
        return LOSSES[objective](lambda x: score(network, x), key, x)

    trained = minimise(loss, perceptron(key_of(rng), 2, 2), train, rng, updates=UPDATES * effort)
    learnt = jax.vmap(lambda x: score(trained.network, x))
    return Fitted("score only", score=learnt, problems=trained.problems)


def _denoising(score: Callable[[Array], Array], key: Array, x: Array) -> Array:
    """½ mean ‖s(x + σε) + ε/σ‖², s of one point; with D/σ² for ‖ε/σ‖², in which there is no s."""
    noise = jax.random.normal(key, x.shape)
    guess = jax.vmap(score)(x + NOISE * noise)
    cross = jnp.sum(guess * noise, axis=1) / NOISE
    return jnp.mean(0.5 * jnp.sum(guess**2, axis=1) + cross) + x.shape[1] / (2 * NOISE**2)


def _sliced(score: Callable[[Array], Array], key: Array, x: Array) -> Array:
    """Mean of ½(vᵀs)² + vᵀ(∇s)v, v random signs."""
    v = jax.random.rademacher(key, x.shape, x.dtype)

    def one(x: Array, v: Array) -> Array:
        s, change = jax.jvp(score, (x,), (v,))
        return 0.5 * (v @ s) ** 2 + v @ change

    return jnp.mean(jax.vmap(one)(x, v))


LOSSES = {"denoising": _denoising, "sliced": _sliced}
"""By objective: (score of one point, key, points) ↦ its mean."""
