"""The evidence Z = ∫ p(x | θ) π(θ) dθ by bridge sampling, and WBIC.

Bridge sampling between the posterior f/Z and a normal law g fitted to half of its draws solves

    Z = mean_g[f / (s₁f + s₂Z·g)] / mean_post[g / (s₁f + s₂Z·g)],   s_i ∝ the numbers of draws.

WBIC is the mean of −ℓ under the posterior with the likelihood raised to 1/log N; it estimates
−log Z to the order that matters for singular models too.  Its draws come from differential
evolution, an ensemble sampler that needs no gradient and no tuning.
References: Meng & Wong (1996), Statistica Sinica 6; Frühwirth-Schnatter (2004), Econometrics J. 7;
Watanabe (2013), JMLR 14; ter Braak (2006), Stat. Comput. 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import fixed_point
from scipy.special import logsumexp

from models._density import density, units
from models._random import key_of

if TYPE_CHECKING:
    import xarray as xr
    from jax import Array

    from models._density import Density
    from models._spec import Model

_WALKERS = 64


class Evidence(NamedTuple):
    """log Z in nats and its Monte Carlo standard error."""

    log: float
    error: float


def bridge(of: Density, draws: np.ndarray, effective: float, rng: np.random.Generator) -> Evidence:
    """Bridge sampling from posterior draws in the chart.

    Args:
        of: the density.
        draws: shape (n, k), in the order they were drawn.
        effective: how many independent draws they are worth.
        rng: draws from the normal law.
    """
    fitting, using = draws[::2], draws[1::2]
    center = fitting.mean(axis=0)
    factor = np.linalg.cholesky(np.atleast_2d(np.cov(fitting, rowvar=False)))
    proposed = center + rng.standard_normal((using.shape[0], of.size)) @ factor.T

    @jax.jit
    def target(points: Array) -> Array:
        def one(u: Array) -> Array:
            return jnp.sum(of.log_likelihood(u)) + of.log_prior(u) + of.log_jacobian(u)

        return jax.lax.map(one, points, batch_size=100)

    def proposal(points: np.ndarray) -> np.ndarray:
        standard = np.linalg.solve(factor, (points - center).T)
        constant = 0.5 * of.size * np.log(2 * np.pi) + np.log(np.diag(factor)).sum()
        return -0.5 * (standard**2).sum(axis=0) - constant

    at_posterior = np.asarray(target(jnp.asarray(using))) - proposal(using)
    at_proposal = np.asarray(target(jnp.asarray(proposed))) - proposal(proposed)
    at_proposal = np.where(np.isfinite(at_proposal), at_proposal, -np.inf)
    n1, n2 = effective / 2, float(proposed.shape[0])
    log_s1, log_s2 = np.log(n1 / (n1 + n2)), np.log(n2 / (n1 + n2))

    def sides(log_z: float) -> tuple[np.ndarray, np.ndarray]:
        top = at_proposal - np.logaddexp(log_s1 + at_proposal, log_s2 + log_z)
        return top, -np.logaddexp(log_s1 + at_posterior, log_s2 + log_z)

    def update(log_z: float) -> float:
        top, bottom = (logsumexp(side) - np.log(side.size) for side in sides(log_z))
        return float(top - bottom)

    log_z = float(fixed_point(update, np.median(at_posterior), xtol=1e-12, maxiter=5_000))
    top, bottom = sides(log_z)
    first = np.exp(top - top.max())
    second = np.exp(bottom - bottom.max())
    relative = first.var() / first.mean() ** 2 / n2 + second.var() / second.mean() ** 2 / n1
    return Evidence(log_z, float(np.sqrt(relative)))


def wbic(
    model: Model, data: xr.Dataset, rng: np.random.Generator, steps: int = 2_000
) -> tuple[float, float]:
    """WBIC in nats (an estimate of −log Z) and its Monte Carlo standard error."""
    of = density(model, data)
    temperature = float(np.log(units(model, data)))
    starts = [of.unconstrain(model.start(rng, data)) for _ in range(_WALKERS)]
    u = jnp.stack(starts) + 0.1 * rng.standard_normal((_WALKERS, of.size))
    key = key_of(rng)

    def terms(v: Array) -> tuple[Array, Array]:
        fit = jnp.sum(of.log_likelihood(v))
        height = fit / temperature + of.log_prior(v) + of.log_jacobian(v)
        return fit, jnp.where(jnp.isfinite(height), height, -jnp.inf)

    both = jax.vmap(terms)
    half = _WALKERS // 2

    def move(carry: tuple[Array, ...], count_key: tuple[Array, Array]) -> tuple[tuple, Array]:
        u, fit, height = carry
        count, step_key = count_key
        # one half moves along differences of the other, which keeps detailed balance
        a, b, c, d = jax.random.split(step_key, 4)
        first = half + jax.random.randint(a, (half,), 0, half)
        second = half + (first + jax.random.randint(b, (half,), 1, half)) % half
        scale = jnp.where(count % 10 == 0, 1.0, 2.38 / jnp.sqrt(2.0 * of.size))
        jitter = 1e-4 * jax.random.normal(c, (half, of.size))
        proposal = u[:half] + scale * (u[first] - u[second]) + jitter
        new_fit, new_height = both(proposal)
        accept = jnp.log(jax.random.uniform(d, (half,))) < new_height - height[:half]
        moved = (
            jnp.where(accept[:, None], proposal, u[:half]),
            jnp.where(accept, new_fit, fit[:half]),
            jnp.where(accept, new_height, height[:half]),
        )
        # the halves change places, so that each moves every other time
        swapped = tuple(
            jnp.concatenate([old[half:], new]) for old, new in zip(carry, moved, strict=True)
        )
        return swapped, swapped[1].mean()

    @jax.jit
    def run(start: Array) -> Array:
        # −∞: the first proposals are taken, and the density is compiled once, in the loop
        fit, height = jnp.zeros(_WALKERS), jnp.full(_WALKERS, -jnp.inf)
        keys = (jnp.arange(2 * steps) // 2, jax.random.split(key, 2 * steps))
        return jax.lax.scan(move, (start, fit, height), keys)[1]

    kept = -np.asarray(run(u))[steps:]
    batches = kept.reshape(20, -1).mean(axis=1)
    return float(kept.mean()), float(batches.std(ddof=1) / np.sqrt(batches.size))
