"""`blackjax.pathfinder`: the Gaussian of the highest ELBO on one path of L-BFGS.

It is fitted to the density of the NumPyro program.
Reference: Zhang, Carpenter, Gelman & Vehtari (2022), JMLR 23.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import jax
import numpy as np
import xarray as xr
from jax import Array, random
from numpy.random import Generator

from inference.engine import Found, Law, NumpyroEngine, library_call
from inference.engines._numpyro import unconstrained
from inference.method import Profile
from inference.posterior.draws import CHAINS
from models.programs.keys import key_of
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class BlackjaxPathfinder(NumpyroEngine, Law):
    """BlackJAX's Pathfinder, `approximate` and `sample`; its settings are those of `Law`."""

    name: ClassVar[str] = "blackjax_pathfinder"
    library: ClassVar[str] = "blackjax"
    extra: ClassVar[str] = "blackjax"
    begins: ClassVar[Profile | None] = None

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        with library_call():
            from blackjax import pathfinder  # pyright: ignore[reportMissingImports]

            starts, *keys = random.split(key_of(rng), (3, self.runs))
            positions, density, sites = unconstrained(model, data, start, starts)

            def fit(first: Array, second: Array, position: Any) -> Any:
                state, _ = pathfinder.approximate(first, density, position)
                return jax.vmap(sites)(pathfinder.sample(second, state, CHAINS * self.draws)[0])

            drawn = jax.jit(jax.vmap(fit))(*keys, positions)
        return Found([{n: np.asarray(x[i]) for n, x in drawn.items()} for i in range(self.runs)])
