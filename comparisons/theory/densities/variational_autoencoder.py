"""Lower bound: x = f(z) + s(z) ε with z ~ N(0, 1), f and s networks; q(x) = ∫ p(z) p(x | z) dz.

A second network proposes r(z | x), and by Jensen's inequality, with w_k = p(x, z_k)/r(z_k | x),

    ELBO = E log w₁ ≤ L_K = E log K⁻¹ Σ_k w_k ≤ log q(x),     L_K ≤ L_{K+1} → log q(x):

the gap at K = 1 is KL(r(z | x) ‖ p(z | x)).  Annealed importance sampling reaches log q(x) another
way: from the prior through p(z) p(x | z)^β, β from 0 to 1, by Metropolis steps.  In one latent
dimension the integral itself can be had by quadrature, which is what `log_density` is.
References: Kingma & Welling (2014), ICLR; Burda, Grosse & Salakhutdinov (2016), ICLR; Neal (2001),
Stat. Comput. 11.
"""

from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from numpyro.infer import SVI, Trace_ELBO

from comparisons.theory.densities import (
    BATCH,
    Fitted,
    Network,
    Standard,
    Trained,
    from_training,
    perceptron,
    standard,
)
from models.programs.keys import key_of

_FINEST = 0.05
"""Least standard deviation of x given z, standardised units: without one the likelihood has no
upper bound."""
LATENT = np.linspace(-7.0, 7.0, 1401)  # nodes of the quadrature over z
_TEMPERATURES = 300
_PROPOSAL = 0.5  # standard deviation of a Metropolis step at β = 0; at β = 1 it is a tenth of it


type Places = tuple[Array, Array, Array]


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

    def log_likelihood(self, x: Array, z: Array) -> Array:
        """log p(x | z)."""
        return jnp.sum(norm.logpdf(x, *self.observation(z)), axis=-1)

    def log_weight(self, x: Array, z: Array) -> Array:
        """log p(x, z) − log r(z | x)."""
        ratio = norm.logpdf(z) - norm.logpdf(z, *self.proposal(x))
        return self.log_likelihood(x, z) + ratio

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
        return logsumexp(self.log_weight(x, z), axis=0) - jnp.log(samples)

    def annealed(self, key: Array, x: Array, samples: int) -> Array:
        """log K⁻¹ Σ_k w_k by annealed importance sampling, shape (M,)."""
        shape = (samples, x.shape[0])
        start, path = jax.random.split(key)
        z = jax.random.normal(start, shape)

        def step(state: Places, at: Places) -> tuple[Places, None]:
            z, here, log_weight = state
            before, beta, key = at
            log_weight += (beta - before) * here
            propose, accept = jax.random.split(key)
            # wide steps cross between modes while β is small, short ones settle later
            reach = _PROPOSAL * 10**-beta
            moved = z + reach * jax.random.normal(propose, shape)
            there = self.log_likelihood(x, moved)
            log_ratio = beta * (there - here) + norm.logpdf(moved) - norm.logpdf(z)
            yes = jnp.log(jax.random.uniform(accept, shape)) < log_ratio
            return (jnp.where(yes, moved, z), jnp.where(yes, there, here), log_weight), None

        beta = jnp.linspace(0.0, 1.0, _TEMPERATURES + 1) ** 3
        state = (z, self.log_likelihood(x, z), jnp.zeros(shape))
        keys = jax.random.split(path, _TEMPERATURES)
        _, _, log_weight = jax.lax.scan(step, state, (beta[:-1], beta[1:], keys))[0]
        return logsumexp(log_weight, axis=0) - jnp.log(samples)


@final
@dataclass(frozen=True)
class VariationalAutoencoder(Network):
    """A nonlinear factor of one dimension, learnt by stochastic variational inference."""

    def fit(self, train: np.ndarray, rng: np.random.Generator, effort: int) -> Fitted:
        units, trained = self.learn(train, rng, effort)
        network = trained.network

        def sample(rng: np.random.Generator, n: int) -> np.ndarray:
            mean, scale = network.observation(jnp.asarray(rng.standard_normal(n)))
            return np.asarray(units.back(mean + scale * rng.standard_normal((n, 2))))

        return from_training(
            "lower bound; by quadrature over one latent dimension",
            trained,
            units,
            network.log_marginal,
            bound=lambda key, x, k: network.bound(key, units.to(x), k) - units.log_volume,
            sample=sample,
        )

    def learn(
        self, train: np.ndarray, rng: np.random.Generator, effort: int
    ) -> tuple[Standard, Trained]:
        """Maximises the ELBO; the network, `LatentVariable`, sees standardised data."""
        units, (one, two) = standard(train), jax.random.split(key_of(rng))
        start = LatentVariable(perceptron(one, 1, 4, self.width), perceptron(two, 2, 2, self.width))
        free, fixed = eqx.partition(start, eqx.is_inexact_array)
        flat, restore = ravel_pytree(free)
        rows = jnp.asarray(units.to(train))

        def network() -> LatentVariable:
            return eqx.combine(restore(numpyro.param("weights", flat)), fixed)

        def batch(rows: Array) -> numpyro.plate:
            return numpyro.plate("rows", rows.shape[0], subsample_size=BATCH)

        def program(rows: Array) -> None:
            with batch(rows):
                x, z = numpyro.subsample(rows, event_dim=1), numpyro.sample("z", dist.Normal())
                law = dist.Normal(*network().observation(z)).to_event(1)
                numpyro.sample("x", law, obs=x)

        def guide(rows: Array) -> None:
            with batch(rows):
                x = numpyro.subsample(rows, event_dim=1)
                numpyro.sample("z", dist.Normal(*network().proposal(x)))

        updates = self.updates * effort
        rate = optax.cosine_decay_schedule(5e-3, updates)
        svi = SVI(program, guide, optax.adam(rate), Trace_ELBO(num_particles=1))
        found = svi.run(key_of(rng), updates, rows, progress_bar=False)
        end = eqx.combine(restore(found.params["weights"]), fixed)
        return units, Trained(end, np.asarray(found.losses) / len(train))
