"""Many normal samples: maximum likelihood with standard errors.

The loop fits by `scipy.stats.norm.fit` and takes its standard errors from statsmodels' numerical
Hessian at that point; data sets are the same.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from _row import Row, compiled, timed
from scipy.stats import norm

from inference.replicates.fits import replicate
from inference.replicates.simulated import simulated
from models.catalogue.gaussian import Gaussian

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICATES, UNITS, LOOP, REPEATS = 10_000, 1_000, 100, 5


def rows() -> Iterator[Row]:
    """Fits with standard errors against the loop."""
    model = Gaussian()
    batch = simulated(model, model.truth, UNITS, range(REPLICATES), 0)
    few = simulated(model, model.truth, UNITS, range(200), 0)
    compilation = compiled(lambda: replicate(model, few))
    sets = [np.asarray(data["y"].data) for data in batch.sets[:LOOP]]
    _scipy_and_statsmodels(sets[0])  # its imports are no part of the loop
    # in turns, so that both sides meet the same machine
    ours, theirs = partial(replicate, model, batch), partial(_loop, sets)
    seconds = [(timed(ours), timed(theirs)) for _ in range(REPEATS)]
    here, loop = np.min(seconds, axis=0)
    yield Row(
        f"{REPLICATES:,} Gaussian fits with standard errors, N = {UNITS:,}",
        f"a loop of `scipy.stats.norm.fit` and statsmodels, {LOOP} timed and scaled",
        here,
        loop / LOOP * REPLICATES,
        compilation,
        100,
    )


def _loop(sets: list[np.ndarray]) -> None:
    for y in sets:
        _scipy_and_statsmodels(y)


def _scipy_and_statsmodels(y: np.ndarray) -> None:
    from statsmodels.base.model import GenericLikelihoodModel

    class Normal(GenericLikelihoodModel):
        def loglikeobs(self, params: np.ndarray) -> np.ndarray:
            return norm.logpdf(y, params[0], params[1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Normal(y, np.ones((y.size, 1)), extra_params_names=["sigma"])
        np.sqrt(np.diag(np.linalg.inv(-model.hessian(np.array(norm.fit(y))))))
