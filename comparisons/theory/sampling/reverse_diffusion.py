"""Reverse diffusion: noise is added in time t, x_t = e^{−t} x₀ + √(1 − e^{−2t}) ε, and taken back.

The law p_t of a mixture is a mixture whose score is known.  Backwards in time

    dX = [X + 2 ∇log p_t(X)] dt + √2 dW    from X_T ~ N(0, I)

has the laws p_t but for the start, which is off by O(e^{−T}); N Euler steps are off by O(1/N).
References: Anderson (1982), Stochastic Process. Appl. 12; Song et al. (2021), ICLR.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from comparisons.theory.sampling import Drawn, NormalMixture
from models.programs.keys import key_of

HORIZON = 6.0  # T, at which the target's mean has shrunk by e⁻⁶ = 0.0025
STEPS = 32  # N, of equal length


def draw(
    target: NormalMixture, rng: np.random.Generator, shape: tuple[int, int], steps: int = STEPS
) -> Drawn:
    """Euler steps of the reverse diffusion with the exact score.

    Args:
        target: the law.
        rng: of all that is random.
        shape: sets of draws, and draws of each.
        steps: N.
    """
    draws = _reversed(target, key_of(rng), steps, shape[0] * shape[1])
    return Drawn(np.asarray(draws).reshape(*shape, -1), evaluations=steps, exact=False)


def diffused(target: NormalMixture, t: Array | float) -> NormalMixture:
    """The law p_t."""
    kept = jnp.exp(-t)
    scale = jnp.sqrt((kept * target.scale) ** 2 - jnp.expm1(-2 * t))
    return NormalMixture(target.weights, kept * target.means, scale)


def step_mean(law: NormalMixture, x: Array, length: Array | float) -> Array:
    """Where a step back from p_t leads on average; noise of variance 2·length is added."""
    return x + length * (x + 2 * law.score(x))


@partial(jax.jit, static_argnums=(2, 3))
def _reversed(target: NormalMixture, key: Array, steps: int, count: int) -> Array:
    length = HORIZON / steps

    def back(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        t, key = now
        noise = jnp.sqrt(2 * length) * jax.random.normal(key, x.shape)
        return step_mean(diffused(target, t), x, length) + noise, None

    begin, run = jax.random.split(key)
    start = jax.random.normal(begin, (count, target.means.shape[1]))
    times = HORIZON - length * jnp.arange(steps)
    return jax.lax.scan(back, start, (times, jax.random.split(run, steps)))[0]
