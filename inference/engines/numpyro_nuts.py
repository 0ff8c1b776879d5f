"""`MCMC(NUTS(program))`: NumPyro's No-U-Turn sampler as its users call it.

Reference: Phan, Pradhan & Jankowiak (2019), arXiv:1912.11554.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import jax
import numpy as np
import xarray as xr
from numpy.random import Generator

from inference.engine import Found, NumpyroEngine, Sampler, library_call
from inference.engines._numpyro import started
from inference.posterior.chains import FIELDS, sample_stats
from models.programs.keys import key_of
from models.spec import Model, Values


@final
@dataclass(frozen=True)
class NumpyroNUTS(NumpyroEngine, Sampler):
    """NumPyro's own NUTS: `MCMC(NUTS(program), …)`; its settings are those of `Sampler`."""

    name: ClassVar[str] = "numpyro_nuts"

    def call(self, model: Model, data: xr.Dataset, rng: Generator, start: Values | None) -> Found:
        from numpyro.infer import MCMC, NUTS

        with library_call():
            # what it falls back on by itself, with a warning
            how = "parallel" if jax.local_device_count() >= self.chains else "sequential"
            chain = MCMC(
                NUTS(model.numpyro, **started("init_strategy", start)),
                num_warmup=self.warm_up,
                num_samples=self.draws,
                num_chains=self.chains,
                chain_method=how,
                progress_bar=False,
            )
            chain.run(key_of(rng), data, extra_fields=FIELDS)
            sites = jax.tree.map(np.asarray, chain.get_samples(group_by_chain=True))
            stats = chain.get_extra_fields(group_by_chain=True)
        return Found([sites], stats=sample_stats(stats))
