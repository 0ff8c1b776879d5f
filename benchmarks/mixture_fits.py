"""Many mixtures of two normals: maximum likelihood with standard errors, and EM alone.

Both sides have the same data sets and the same starts, one each.  statsmodels maximises by BFGS and
differentiates numerically; scikit-learn's EM stops where the mean log-likelihood changes by less
than the tolerance in a step, ours where it changes by less in six.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from _row import Row, compiled, timed
from scipy.special import logsumexp
from scipy.stats import norm

from inference.posterior.points import each
from inference.replicates.everywhere import everywhere
from inference.replicates.fits import em_steps, log_likelihood, replicate, starts
from inference.replicates.simulated import simulated
from inference.replicates.stages import compiled as stages_of
from models.catalogue.gaussian_mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.replicates.simulated import Batch

REPLICATES, UNITS, LOOP = 10_000, 200, 60
TOLERANCE = 1e-6


def rows() -> Iterator[Row]:
    """Maximum likelihood against statsmodels, EM against scikit-learn."""
    model = GaussianMixture(2)
    batch = simulated(model, model.truth, UNITS, range(REPLICATES), 0)
    u = starts(model, batch)
    few = simulated(model, model.truth, UNITS, range(200), 0)
    compilation = compiled(lambda: replicate(model, few, u[:200]))
    here = timed(lambda: replicate(model, batch, u))
    values = each(stages_of(model, batch).target.constrain)(u)
    cases = [
        (np.asarray(data["y"].data), {name: array[i] for name, array in values.items()})
        for i, data in enumerate(batch.sets)
    ]
    _statsmodels(*cases[0])  # its imports are no part of the loop, nor are those of the next one
    loop = timed(lambda: [_statsmodels(*case) for case in cases[:LOOP]]) / LOOP * REPLICATES
    name = f"{REPLICATES:,} mixture fits (N = {UNITS}, k = 2)"
    yield Row(
        f"{name}: MLE and observed standard errors",
        f"a loop of statsmodels `GenericLikelihoodModel`, {LOOP} timed and scaled",
        here,
        loop,
        compilation,
        100,
    )
    compilation = compiled(lambda: _em(model, few, u[:200]))
    here = timed(lambda: _em(model, batch, u))
    count = 10 * LOOP
    _sklearn(*cases[0])
    loop = timed(lambda: [_sklearn(*case) for case in cases[:count]]) / count * REPLICATES
    yield Row(
        f"{name}: EM alone",
        f"a loop of scikit-learn `GaussianMixture`, {count} timed and scaled",
        here,
        loop,
        compilation,
        60,
    )


def _em(model: GaussianMixture, batch: Batch, u: np.ndarray) -> np.ndarray:
    """EM of every data set from its start, until its log-likelihood changes no more."""
    stages, arrays, u = stages_of(model, batch), batch.arrays, np.array(u)
    going, before = np.arange(len(u)), np.full(len(u), -np.inf)
    while going.size:
        u[going], _ = everywhere(stages.batched(em_steps), (arrays, u), going)
        now = everywhere(stages.batched(log_likelihood), (arrays, u), going)
        still = now - before[going] > TOLERANCE * UNITS
        before[going] = now
        going = going[still]
    return u


def _sklearn(y: np.ndarray, start: dict[str, np.ndarray]) -> None:
    from sklearn.mixture import GaussianMixture as Theirs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Theirs(
            2,
            tol=TOLERANCE,
            max_iter=3_000,
            reg_covar=0.0,
            weights_init=start["weights"],
            means_init=start["mu"][:, None],
            precisions_init=1 / start["sigma"][:, None, None] ** 2,
            init_params="random_from_data",
        ).fit(y[:, None])


def _statsmodels(y: np.ndarray, start: dict[str, np.ndarray]) -> None:
    """BFGS, then standard errors from a numerical Hessian."""
    from statsmodels.base.model import GenericLikelihoodModel

    class Mixture(GenericLikelihoodModel):
        def loglikeobs(self, params: np.ndarray) -> np.ndarray:
            log_weights = -np.logaddexp(0, [params[0], -params[0]])
            density = norm.logpdf(y[:, None], params[1:3], np.exp(params[3:]))
            return logsumexp(density + log_weights, axis=1)

    model = Mixture(y, np.ones((y.size, 1)), extra_params_names=[f"p{i}" for i in range(5)])
    model.exog_names[:] = [f"p{i}" for i in range(5)]
    odds = np.log(start["weights"][1] / start["weights"][0])
    at = np.concatenate([[odds], start["mu"], np.log(start["sigma"])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.asarray(model.fit(at, method="bfgs", maxiter=500, disp=0).bse)
