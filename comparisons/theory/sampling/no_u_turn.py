"""The No-U-Turn sampler: Hamiltonian dynamics that stop when they turn back on themselves.

NumPyro's kernel, with step size and mass matrix adapted while warming up; exact in the limit.  It
costs one gradient for each leapfrog step.
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

from functools import partial
from typing import Any, final

import jax
import numpy as np
from jax import Array

from comparisons.theory.sampling import Drawn, NormalMixture, Sampler, dispersed
from models.programs.keys import key_of

WARM_UP = 100  # transitions that adapt and are dropped


@final
class NoUTurn(Sampler):
    """NumPyro's kernel; each repetition adapts on its own."""

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        begin, run = jax.random.split(key_of(rng))
        starts, keys = dispersed(target, begin, runs), jax.random.split(run, runs)
        points, steps, accepted, diverging = map(np.asarray, _chains(target, keys, starts, n))
        lost = int(diverging[:, WARM_UP:].sum())
        return Drawn(
            points[:, WARM_UP:],
            evaluations=float(steps[:, WARM_UP:].mean()),
            warm_up=float(steps[:, :WARM_UP].sum(axis=1).mean()),
            acceptance=float(accepted[:, WARM_UP:].mean()),
            problems=(f"{lost} transitions diverged; expected none",) if lost else (),
        )


@partial(jax.jit, static_argnums=3)
def _chains(target: NormalMixture, keys: Array, starts: Array, n: int) -> Any:
    from numpyro.infer import NUTS

    kernel = NUTS(potential_fn=lambda x: -target.log_density(x))

    def chain(key: Array, start: Array) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps, state.accept_prob, state.diverging)

        state = kernel.init(key, WARM_UP, start, (), {})
        return jax.lax.scan(one, state, length=WARM_UP + n)[1]

    return jax.vmap(chain)(keys, starts)
