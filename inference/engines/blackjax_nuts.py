"""`blackjax.nuts` after `blackjax.window_adaptation`, on the density of the NumPyro program.

Reference: Cabezas, Corenflos, Lao & Louf (2024), arXiv:2402.10797.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import jax
import numpy as np
import xarray as xr
from jax import Array, random
from numpy.random import Generator

from inference.engine import Found, NumpyroEngine, Sampler, library_call
from inference.engines._numpyro import unconstrained
from inference.method import Profile
from inference.posterior.chains import FIELDS, sample_stats
from models.programs.keys import key_of
from models.spec import Model, Values

_TOLD = ("energy", "num_integration_steps", "acceptance_rate", "is_divergent")
"""BlackJAX's names of NumPyro's `FIELDS`."""


@final
@dataclass(frozen=True)
class BlackjaxNUTS(NumpyroEngine, Sampler):
    """BlackJAX's NUTS after its window adaptation; its settings are those of `Sampler`."""

    name: ClassVar[str] = "blackjax_nuts"
    library: ClassVar[str] = "blackjax"
    extra: ClassVar[str] = "blackjax"
    begins: ClassVar[Profile | None] = None

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        with library_call():
            import blackjax  # pyright: ignore[reportMissingImports]

            starts, *keys = random.split(key_of(rng), (3, self.chains))
            positions, density, sites = unconstrained(model, data, start, starts)
            warm_up = blackjax.window_adaptation(blackjax.nuts, density)

            def chain(first: Array, second: Array, position: Any) -> Any:
                (state, tuned), _ = warm_up.run(first, position, self.warm_up)
                kernel = blackjax.nuts(density, **tuned)

                def step(state: Any, key: Array) -> Any:
                    state, info = kernel.step(key, state)
                    told = [getattr(info, name) for name in _TOLD]
                    return state, (sites(state.position), told)

                return jax.lax.scan(step, state, random.split(second, self.draws))[1]

            drawn, told = jax.jit(jax.vmap(chain))(*keys, positions)
        stats = sample_stats(dict(zip(FIELDS, told, strict=True)))
        return Found([jax.tree.map(np.asarray, drawn)], stats=stats)
