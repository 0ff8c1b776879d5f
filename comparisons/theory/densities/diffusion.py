"""Diffusion: x_t = α_t x + σ_t ε, α² + σ² = 1, and a network ε̂(x_t, t) that guesses the noise.

The guess of least E‖ε − ε̂‖² is −σ_t ∇ log p_t, so the DDPM objective is denoising score matching at
all noise levels at once.  With dα/dt = −½βα the laws p_t are also those of the probability flow

    dx/dt = −½ β(t) [x + ∇ log p_t(x)],    log q(x₀) = log N(x₁ | 0, I) + ∫₀¹ div(dx/dt) dt,

a change of variables, so that a learnt score has an exact likelihood; in the plane the divergence
is exact too.  Draws follow the flow back from N(0, I).
References: Ho, Jain & Abbeel (2020), NeurIPS; Song et al. (2021), ICLR, §4.3, app. D.
"""

from dataclasses import dataclass
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.densities import Fitted, Network, from_training, perceptron
from models.programs.keys import key_of

_BETA = (0.1, 20.0)  # β(0) and β(1), between which it is linear
FIRST = 0.01  # time of the data: there σ = 0.05, a smoothing that the divergence does not see
STEPS = 20  # Runge–Kutta steps of the flow, even in √t


@final
@dataclass(frozen=True)
class Diffusion(Network):
    """Variance-preserving diffusion in the plane."""

    updates: int = 6_000

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        start = Denoiser(perceptron(key_of(rng), 6, 2, self.width))
        units, trained = self._learn(_loss, start, train, rng, effort)
        network = trained.network

        def score(x: Array) -> Array:
            t = jnp.asarray(FIRST)
            return jax.vmap(lambda z: network.score(z, t))(units.to(x)) / units.scale

        def draws(key: Array, n: int) -> Array:
            z = jax.random.normal(key, (n, 2))
            return jax.vmap(lambda z: flow(network, z, reverse=True)[0])(z)

        return from_training(
            "score of all noise levels; exact along the probability flow",
            trained,
            units,
            lambda z: along_the_flow(network, z),
            draws,
            score=score,
        )


class Denoiser(eqx.Module):
    """The guess of the noise: linear as if the data were standard normal, and a network's rest."""

    rest: eqx.nn.MLP

    def noise(self, x: Array, t: Array) -> Array:
        """ε̂ of one point, shape (2,), at one time."""
        alpha, sigma = levels(t)
        when = jnp.stack([sigma, alpha, t, jnp.log(sigma)])
        return sigma * x + alpha * self.rest(jnp.concatenate([x, when]))

    def score(self, x: Array, t: Array) -> Array:
        """∇ log p_t of one point."""
        return -self.noise(x, t) / levels(t)[1]


def _loss(network: Denoiser, key: Array, x: Array) -> Array:
    when, what = jax.random.split(key)
    # one time from each stratum, even in √t
    shift = jax.random.uniform(when, (x.shape[0],))
    t = _time((jnp.arange(x.shape[0]) + shift) / x.shape[0])
    noise = jax.random.normal(what, x.shape)
    alpha, sigma = levels(t)
    noisy = alpha[:, None] * x + sigma[:, None] * noise
    return jnp.mean((jax.vmap(network.noise)(noisy, t) - noise) ** 2)


def levels(t: Array) -> tuple[Array, Array]:
    """α and σ."""
    spent = _BETA[0] * t + 0.5 * (_BETA[1] - _BETA[0]) * t**2
    return jnp.exp(-0.5 * spent), jnp.sqrt(-jnp.expm1(-spent))


def _time(u: Array) -> Array:
    """u from 0 to 1 ↦ t from the first time to 1, slow where the law changes fast."""
    return FIRST + (1 - FIRST) * u**2


def flow(network: Any, x: Array, *, reverse: bool = False) -> tuple[Array, Array]:
    """The probability flow by a network's scores, to noise or back: its end and log |∂end/∂x|."""

    def velocity(u: Array, state: Array) -> Array:
        t = _time(u)
        beta = _BETA[0] + (_BETA[1] - _BETA[0]) * t
        pace = -0.5 * beta * 2 * (1 - FIRST) * u
        value, push = jax.linearize(lambda x: pace * (x + network.score(x, t)), state[:2])
        unit = jnp.eye(2)
        return jnp.append(value, push(unit[0])[0] + push(unit[1])[1])

    def step(state: Array, u: Array) -> tuple[Array, None]:
        k1 = velocity(u, state)
        k2 = velocity(u + h / 2, state + h / 2 * k1)
        k3 = velocity(u + h / 2, state + h / 2 * k2)
        k4 = velocity(u + h, state + h * k3)
        return state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    h = -1 / STEPS if reverse else 1 / STEPS
    places = jnp.arange(STEPS) / STEPS
    end = jax.lax.scan(step, jnp.append(x, 0.0), 1 - places if reverse else places)[0]
    return end[:2], end[2]


def along_the_flow(network: Any, x: Array) -> Array:
    """log q of points, shape (M, 2), by the probability flow to N(0, I)."""
    end, gain = jax.vmap(lambda one: flow(network, one))(x)
    return -0.5 * jnp.sum(end**2, axis=1) - jnp.log(2 * jnp.pi) + gain
