"""Lower bound: x = f(z) + s(z) ε with z ~ N(0, 1), f and s networks; q(x) = ∫ p(z) p(x | z) dz.

A second network proposes r(z | x), and by Jensen's inequality, with w_k = p(x, z_k)/r(z_k | x),

    ELBO = E log w₁ ≤ L_K = E log K⁻¹ Σ_k w_k ≤ log q(x),     L_K ≤ L_{K+1} → log q(x).

In one latent dimension the integral itself can be had by quadrature, which is what `log_density`
is.  The prior N(0, 1) is pushed forward by f, with noise, to draws.
References: Kingma & Welling (2014), ICLR; Burda, Grosse & Salakhutdinov (2016), ICLR.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from comparisons.theory.densities import (
    Fitted,
    Standard,
    Trained,
    gradient,
    minimise,
    perceptron,
    standard,
)
from models.programs.keys import key_of

UPDATES = 4_000
_FINEST = 0.05
"""Least standard deviation of x given z, standardised units: without one the likelihood has no
upper bound."""
LATENT = np.linspace(-7.0, 7.0, 1401)  # nodes of the quadrature over z


class LatentVariable(eqx.Module):
    """The decoder and the encoder; each gives means and raw standard deviations."""

    decoder: eqx.nn.MLP
    encoder: eqx.nn.MLP

    def observation(self, z: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of x given z, shapes (…, 2), z of shape (…,)."""
        raw = jnp.vectorize(self.decoder, signature="(a)->(b)")(z[..., None])
        return raw[..., :2], _FINEST + jax.nn.softplus(raw[..., 2:])

    def proposal(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of z given x, shapes (…,), x of shape (…, 2)."""
        raw = jnp.vectorize(self.encoder, signature="(a)->(b)")(x)
        return raw[..., 0], 1e-3 + jax.nn.softplus(raw[..., 1])

    def log_joint(self, x: Array, z: Array) -> Array:
        """log p(x, z)."""
        return jnp.sum(norm.logpdf(x, *self.observation(z)), axis=-1) + norm.logpdf(z)

    def log_marginal(self, x: Array) -> Array:
        """log q(x), shape (M,), by quadrature over z."""
        mean, scale = self.observation(jnp.asarray(LATENT))
        prior = norm.logpdf(LATENT) + np.log(LATENT[1] - LATENT[0])
        terms = [norm.logpdf(x[:, None, d], mean[:, d], scale[:, d]) for d in range(2)]
        return logsumexp(terms[0] + terms[1] + prior, axis=1)

    def bound(self, key: Array, x: Array, samples: int) -> Array:
        """One draw of log K⁻¹ Σ_k w_k for each point, shape (M,); its mean is L_K."""
        mean, scale = self.proposal(x)
        z = mean + scale * jax.random.normal(key, (samples, x.shape[0]))
        log_weight = self.log_joint(x, z) - norm.logpdf(z, mean, scale)
        return logsumexp(log_weight, axis=0) - jnp.log(samples)


def start(key: Array) -> LatentVariable:
    """Networks that have not been trained."""
    one, two = jax.random.split(key)
    return LatentVariable(perceptron(one, 1, 4), perceptron(two, 2, 2))


def learn(train: np.ndarray, rng: np.random.Generator, effort: float) -> tuple[Standard, Trained]:
    """Maximises the ELBO; the network, `LatentVariable`, sees standardised data."""
    units = standard(train)

    def loss(network: LatentVariable, key: Array, x: Array) -> Array:
        return -jnp.mean(network.bound(key, x, 1))

    how = {"updates": UPDATES * effort, "rate": 5e-3}
    return units, minimise(loss, start(key_of(rng)), units.to(train), rng, **how)


def fit(train: np.ndarray, rng: np.random.Generator, effort: float) -> Fitted:
    """A nonlinear factor of one dimension, learnt by its lower bound."""
    units, trained = learn(train, rng, effort)

    def draws(key: Array, n: int) -> Array:
        latent, noise = jax.random.split(key)
        mean, scale = trained.network.observation(jax.random.normal(latent, (n,)))
        return mean + scale * jax.random.normal(noise, (n, 2))

    log_density = units.density(trained.network.log_marginal)
    return Fitted(
        "lower bound; by quadrature over one latent dimension",
        log_density,
        gradient(log_density),
        units.sample(draws),
        trained.problems,
    )
