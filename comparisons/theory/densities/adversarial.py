"""Samples only: a generator x = G(z), z ~ N(0, I), learnt against a discriminator (GAN).

The discriminator D = σ(f) maximises V = E_p log D + E_q log(1 − D), which it drives to
2·JSD(p ‖ q) − log 4; the generator moves its draws up in f (the loss −E_q log D, whose gradient
does not vanish while D wins).  No density is ever written down: what G gives is draws.  The
squared gradient of f at the data is penalised, without which the game circles its equilibrium, and
what is kept is an average of the networks on their way.
References: Goodfellow et al. (2014), NeurIPS; Mescheder, Geiger & Nowozin (2018), ICML (R1); Yazıcı
et al. (2019), ICLR (averages).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import log_sigmoid

from comparisons.theory.densities import Fitted, minimise, perceptron, standard
from models.programs.keys import key_of

UPDATES = 6_000
_PENALTY = 0.3  # weight of E_p‖∇f‖²/2
_MOMENTUM = 0.0  # Adam's usual 0.9 carries the players past each other
_AVERAGING = 0.999  # decay of the average of the networks: it spans a thousand updates
_LATENT = 4  # dimensions of z: more than of x, so that a connected z can fill separate modes
_INFORMED = 0.1  # nats by which V may end above −log 4, its value at equality, in a game not lost


class Players(eqx.Module):
    """Who draws and who judges."""

    generator: eqx.nn.MLP
    discriminator: eqx.nn.MLP
    """The logit f of D."""


def fit(train: np.ndarray, rng: np.random.Generator, effort: float) -> Fitted:
    """Non-saturating GAN in the plane."""
    units, (one, two) = standard(train), jax.random.split(key_of(rng))
    start = Players(perceptron(one, _LATENT, 2), perceptron(two, 2, 1))
    how = {"rate": 2e-3, "momentum": _MOMENTUM, "averaging": _AVERAGING}
    players = minimise(_game, start, units.to(train), rng, updates=UPDATES * effort, **how).network

    def draws(key: Array, n: int) -> Array:
        return jax.vmap(players.generator)(jax.random.normal(key, (n, _LATENT)))

    # the loss has no minimum to reach: what tells is whether D is left with nothing to say
    drawn = draws(key_of(rng), len(train))
    reached = float(_value(players.discriminator, units.to(train), drawn))
    lost = f"the discriminator still tells draws from data: V = {reached:.3f}, not −log 4"
    problems = () if abs(reached + np.log(4)) < _INFORMED else (lost,)
    return Fitted("samples only", sample=units.sample(draws), problems=problems)


def _value(discriminator: eqx.nn.MLP, real: Array, drawn: Array) -> Array:
    """V = E_p log D + E_q log(1 − D), nats, from points of both, shapes (M, 2)."""
    logit = jax.vmap(lambda x: discriminator(x)[0])
    return jnp.mean(log_sigmoid(logit(real))) + jnp.mean(log_sigmoid(-logit(drawn)))


def _game(players: Players, key: Array, real: Array) -> Array:
    """One loss whose gradients are each player's own: the other is held fixed in each term."""
    drawn = jax.vmap(players.generator)(jax.random.normal(key, (real.shape[0], _LATENT)))
    free, fixed = eqx.partition(players.discriminator, eqx.is_inexact_array)
    held = eqx.combine(jax.lax.stop_gradient(free), fixed)
    judge = jax.vmap(lambda x: held(x)[0])
    slope = jax.vmap(jax.grad(lambda x: players.discriminator(x)[0]))(real)
    penalty = _PENALTY / 2 * jnp.mean(jnp.sum(slope**2, axis=1))
    told = _value(players.discriminator, real, jax.lax.stop_gradient(drawn))
    return penalty - told - jnp.mean(log_sigmoid(judge(drawn)))
