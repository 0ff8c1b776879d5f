"""The suite's own overhead: the method `nuts` against NumPyro called directly.

The direct run is `MCMC(NUTS(model), …)` as in NumPyro's manual, with its four chains in parallel.
The method runs its chains in threads and, beyond sampling, aligns draws, checks convergence, keeps
the pointwise log-likelihood and fills an ArviZ tree, all of which is in its time.  NumPyro may
compile parts anew in its second run, so the row with compilation included is the one to rely on.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
from _row import Row, timed

from inference.methods.nuts import NUTS
from models.catalogue.gaussian_mixture import GaussianMixture
from models.data.dataset import as_dataset
from models.data.files import bundled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

jax.config.update("jax_num_cpu_devices", 4)  # one for each chain of the direct run

REPEATS = 3


def direct(
    model: GaussianMixture, data: xr.Dataset, method: NUTS, seed: int
) -> tuple[float, float]:
    """NumPyro as its manual has it: seconds of sampling, and with compilation."""
    from numpyro import infer

    # the data are closed over: as an argument they would be compiled anew in each run
    program = partial(model.numpyro, data)
    kernel = infer.NUTS(program, target_accept_prob=method.target_accept, dense_mass=True)
    chains = infer.MCMC(
        kernel,
        num_warmup=method.warm_up,
        num_samples=method.draws,
        num_chains=method.chains,
        chain_method="parallel",
        progress_bar=False,
    )
    total = timed(lambda: jax.block_until_ready(_run(chains, seed)))
    sampling = timed(lambda: jax.block_until_ready(_run(chains, seed + 1)))
    return sampling, total


def _run(chains: object, seed: int) -> object:
    chains.run(jax.random.key(seed))  # pyright: ignore[reportAttributeAccessIssue]
    return chains.get_samples()  # pyright: ignore[reportAttributeAccessIssue]


def rows() -> Iterator[Row]:
    """The method `nuts` against NumPyro called directly; medians over seeds, in turns."""
    model = GaussianMixture(k=2, mean_loc=3.0, mean_scale=2.0, scale_scale=1.0)
    data = as_dataset(bundled("faithful"), model, ("eruptions",))
    method = NUTS()
    # machinery that is imported or compiled once per process is nobody's overhead
    NUTS(warm_up=20, draws=20).fit(model, data, np.random.default_rng(0))
    ours, theirs = [], []
    for seed in range(REPEATS):
        began = time.perf_counter()
        record = method.fit(model, data, np.random.default_rng(seed)).record.attrs
        total = time.perf_counter() - began
        ours.append((total - record["compile"], total))
        theirs.append(direct(model, data, method, 10 * seed))
    (run, total), (run_direct, total_direct) = np.median(ours, axis=0), np.median(theirs, axis=0)
    settings = f"{method.chains} chains of {method.warm_up:,} + {method.draws:,} on Old Faithful"
    against = "NumPyro called directly"
    compilation = total - run
    yield Row(f"NUTS, {settings}", against, run, run_direct, compilation, 1 / 1.05)
    yield Row(
        f"NUTS, {settings}, compilation included", against, total, total_direct, 0.0, 1 / 1.05
    )
