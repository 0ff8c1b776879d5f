"""A univariate mixture fitted by statsmodels: a scipy density with numerical derivatives."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from models.errors import FitError
from models.spec import Values

if TYPE_CHECKING:
    from models.catalogue.gaussian_mixture import GaussianMixture

_STARTS = 8


def fit_by_statsmodels(model: GaussianMixture, data: xr.Dataset) -> tuple[Values, Values, float]:
    """The best non-degenerate optimum of a few starts, ordered by the means.

    Returns:
        The estimate, standard errors of mu and sigma, and the log-likelihood in nats.

    Raises:
        FitError: there is none.
    """
    k = model.k
    fits = []
    for seed in range(_STARTS):
        fit = _climbed(model, data, model.start(np.random.default_rng(seed), data))
        params = np.asarray(fit.params)
        values = {"mu": params[k - 1 : 2 * k - 1], "sigma": np.exp(params[2 * k - 1 :])}
        if k > 1:
            values["weights"] = _softmax(params[: k - 1])
        values = {name: jnp.asarray(value) for name, value in values.items()}
        if fit.mle_retvals["converged"] and not model.degeneracy(values, data):
            fits.append((float(fit.llf), values, np.asarray(fit.bse)))
    if not fits:
        raise FitError("no start of statsmodels converged to a non-degenerate optimum")
    log_likelihood, values, error = max(fits, key=lambda fit: fit[0])
    sigma_error = jnp.asarray(error[2 * k - 1 :]) * values["sigma"]
    errors = {"mu": jnp.asarray(error[k - 1 : 2 * k - 1]), "sigma": sigma_error}
    order = jnp.argsort(values["mu"])
    return model.relabel(values, order), model.relabel(errors, order), log_likelihood


def _climbed(model: GaussianMixture, data: xr.Dataset, start: Values) -> Any:
    """The result of a climb in log odds of the weights, means and log standard deviations."""
    from scipy.special import logsumexp
    from scipy.stats import norm
    from statsmodels.base.model import GenericLikelihoodModel

    y, k = np.asarray(data["y"].data), model.k

    class Mixture(GenericLikelihoodModel):
        def loglikeobs(self, params: np.ndarray) -> np.ndarray:
            weights = _softmax(params[: k - 1])
            mean, scale = params[k - 1 : 2 * k - 1], np.exp(params[2 * k - 1 :])
            return logsumexp(norm.logpdf(y[:, None], mean, scale) + np.log(weights), axis=1)

    names = [f"p{i}" for i in range(3 * k - 1)]
    weights = np.asarray(start["weights"]) if k > 1 else np.ones(1)
    point = [np.log(weights[1:] / weights[0]), start["mu"], np.log(start["sigma"])]
    fitted = Mixture(y, np.ones((y.size, 1)), extra_params_names=names)
    fitted.exog_names[:] = names
    with warnings.catch_warnings():
        # statsmodels warns of every start; only the one that is kept is judged
        warnings.simplefilter("ignore")
        return fitted.fit(np.concatenate(point), method="bfgs", gtol=1e-6, maxiter=500, disp=0)


def _softmax(free: np.ndarray) -> np.ndarray:
    weights = np.exp(np.append(0.0, free))
    return weights / weights.sum()
