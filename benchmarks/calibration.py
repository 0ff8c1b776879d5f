"""Simulation-based calibration of the No-U-Turn sampler, against simuk with NumPyro.

The same two-parameter model, as many warm-up and kept draws of one chain for each data set.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpyro
import numpyro.distributions as dist
from _row import Row, compiled, timed

from comparisons.studies import Setting, calibration
from models.catalogue.gaussian import Gaussian

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATES, UNITS, LOOP = 500, 20, 8


def rows() -> Iterator[Row]:
    """All ranks of 500 data sets against a few of simuk's, scaled."""
    setting = Setting(Gaussian(), 0)
    compilation = compiled(lambda: calibration.measure(setting, UNITS, range(50)))
    here = timed(lambda: calibration.measure(setting, UNITS, range(REPLICATES)))
    _simuk(1)  # its imports are no part of the loop
    loop = timed(lambda: _simuk(LOOP)) / LOOP * REPLICATES
    yield Row(
        f"{REPLICATES} calibration replicates, NUTS, two parameters, N = {UNITS}",
        f"simuk with NumPyro, {LOOP} timed and scaled",
        here,
        loop,
        compilation,
        100,
    )


def _program(model: Gaussian, y: np.ndarray | None = None) -> None:
    mu = numpyro.sample("mu", dist.Normal(model.mean_loc, model.mean_scale))
    sigma = numpyro.sample("sigma", dist.HalfNormal(model.scale_scale))
    with numpyro.plate("obs", UNITS):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def _simuk(count: int) -> None:
    import simuk

    sampling = {
        "num_warmup": calibration.WARM_UP,
        "num_samples": calibration.DRAWS * calibration.THIN,
        "num_chains": 1,
        "progress_bar": False,
    }
    kernel = numpyro.infer.NUTS(partial(_program, Gaussian()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simuk.SBC(
            kernel,
            num_simulations=count,
            sample_kwargs=sampling,
            seed=0,
            data_dir={"y": np.zeros(UNITS)},
            keep_fits=False,
            progress_bar=False,
        ).run_simulations()
