"""The No-U-Turn sampler: Hamiltonian dynamics that stop when they turn back on themselves.

NumPyro's kernel, with step size and mass matrix adapted while warming up; exact in the limit.  It
costs one gradient for each leapfrog step.
References: Hoffman & Gelman (2014), JMLR 15; Betancourt (2017), arXiv:1701.02434.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import jax
import numpy as np
from jax import Array

from comparisons.theory.sampling._drawn import Drawn, NormalMixture, Sampler, dispersed
from models.programs.keys import key_of


@final
@dataclass(frozen=True)
class NoUTurn(Sampler):
    """NumPyro's kernel; each repetition adapts on its own.

    Attributes:
        warm_up: transitions that adapt and are dropped.
    """

    warm_up: int = 100

    name: ClassVar[str] = "no_u_turn"
    exact: ClassVar[bool] = True

    def draw(self, target: NormalMixture, rng: np.random.Generator, runs: int, n: int) -> Drawn:
        begin, run = jax.random.split(key_of(rng))
        starts = dispersed(target, begin, runs)
        keys = jax.random.split(run, runs)
        points, steps, accepted, diverging = map(
            np.asarray, _chains(target, keys, starts, self.warm_up, n)
        )
        lost = int(diverging[:, self.warm_up :].sum())
        return Drawn(
            points[:, self.warm_up :],
            evaluations=float(steps[:, self.warm_up :].mean()),
            warm_up=float(steps[:, : self.warm_up].sum(axis=1).mean()),
            acceptance=float(accepted[:, self.warm_up :].mean()),
            problems=(f"{lost} transitions diverged; expected none",) if lost else (),
        )


@partial(jax.jit, static_argnums=(3, 4))
def _chains(target: NormalMixture, keys: Array, starts: Array, warm_up: int, n: int) -> Any:
    from numpyro.infer import NUTS

    kernel = NUTS(potential_fn=lambda x: -target.log_density(x))

    def chain(key: Array, start: Array) -> Any:
        def one(state: Any, _: None) -> Any:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.num_steps, state.accept_prob, state.diverging)

        state = kernel.init(key, warm_up, start, (), {})
        return jax.lax.scan(one, state, length=warm_up + n)[1]

    return jax.vmap(chain)(keys, starts)
