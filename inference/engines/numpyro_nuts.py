"""`MCMC(NUTS(program))`: NumPyro's No-U-Turn sampler as its users call it.

Reference: Phan, Pradhan & Jankowiak (2019), arXiv:1912.11554.
"""

import time
from dataclasses import dataclass
from typing import ClassVar, final

import jax
import numpy as np
import xarray as xr

from inference.engine import NumpyroEngine, Sampler, library_call
from inference.engines._numpyro import started
from inference.estimate import Estimate
from inference.posterior.chains import sample_stats
from inference.posterior.draws import estimate_from_draws
from models.programs.density import parameters_of
from models.programs.keys import key_of
from models.spec import Model, Values

_FIELDS = ("energy", "num_steps", "accept_prob", "diverging")


@final
@dataclass(frozen=True)
class NumpyroNUTS(NumpyroEngine, Sampler):
    """NumPyro's own NUTS: `MCMC(NUTS(program), num_warmup=1000, num_samples=1000, num_chains=4)`.

    Its settings are those of `Sampler`.
    """

    name: ClassVar[str] = "numpyro_nuts"

    def call(
        self, model: Model, data: xr.Dataset, rng: np.random.Generator, start: Values | None
    ) -> Estimate:
        from numpyro.infer import MCMC, NUTS

        began = time.perf_counter()
        with library_call():
            chain = MCMC(
                NUTS(model.numpyro, **started("init_strategy", start)),
                num_warmup=self.warm_up,
                num_samples=self.draws,
                num_chains=self.chains,
                # what it falls back on by itself, with a warning
                chain_method="parallel"
                if jax.local_device_count() >= self.chains
                else "sequential",
                progress_bar=False,
            )
            chain.run(key_of(rng), data, extra_fields=_FIELDS)
            sites = jax.tree.map(np.asarray, chain.get_samples(group_by_chain=True))
            stats = chain.get_extra_fields(group_by_chain=True)
        record = xr.Dataset(attrs={"run": time.perf_counter() - began})
        draws = parameters_of(model, "numpyro", sites)
        kept = sample_stats(*(np.asarray(stats[name]) for name in _FIELDS))
        return estimate_from_draws(model, data, draws, sample_stats=kept, record=record)
