"""Fits of a mixture of normals: where climbs start, the sums of an E step, and statsmodels' own.

A start is rows of the data, and the rows nearest to each.  The sums are Σ_i P(j | row i) φ(row i)
for features φ of a row.  statsmodels climbs a scipy density by numerical derivatives.
Reference: Arthur & Vassilvitskii (2007), k-means++, SODA.
"""

from __future__ import annotations

import warnings
from functools import reduce
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from models.catalogue._normal import spread
from models.errors import FitError

if TYPE_CHECKING:
    import xarray as xr

    from models.catalogue.gaussian_mixture import GaussianMixture
    from models.spec import Values

_STARTS = 8
"""Climbs by statsmodels, of which the best is kept."""

_BLOCK = 8_000
"""Rows of which an E step makes logits, responsibilities and sums while a cache holds them."""
_WIDE = 32
"""Features a row from which that is faster: narrower ones are read as fast as they are copied."""


def clustered(
    rng: np.random.Generator, rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components about k jittered rows, by k-means++ or, every other time, at random.

    How many rows are nearest to each, and one, (k,), its means and standard deviations, (k, D).
    """
    pooled, positive = rows.std(axis=0), spread(rows)
    standard = (rows - rows.mean(axis=0)) / positive
    chosen = _distant(rng, standard, k, greedy=bool(rng.integers(2)))
    nearest = ((standard[:, None] - standard[chosen]) ** 2).sum(axis=2).argmin(axis=1)
    share = np.bincount(nearest, minlength=k) + 1.0
    mean = rows[chosen] + 0.1 * pooled * rng.standard_normal((k, rows.shape[1]))
    own = (rows[nearest == j] for j in range(k))
    scale = np.stack([near.std(axis=0) if len(near) > 2 else pooled for near in own])
    return share, mean, np.maximum(scale, 0.1 * positive)


def _distant(rng: np.random.Generator, rows: np.ndarray, k: int, *, greedy: bool) -> np.ndarray:
    """Indices of k rows: k-means++ (far from each other with high probability) or uniform."""
    if not greedy:
        return rng.choice(rows.shape[0], size=k, replace=rows.shape[0] < k)
    chosen = [int(rng.integers(rows.shape[0]))]
    for _ in range(k - 1):
        distance = ((rows[:, None] - rows[chosen]) ** 2).sum(axis=2).min(axis=1)
        total = distance.sum()
        weights = distance / total if total > 0 else None
        chosen.append(int(rng.choice(rows.shape[0], p=weights)))
    return np.array(chosen)


def component_sums(rows: Any, natural: dict[str, Array]) -> dict[str, Array]:
    """Expected count, sum and sum of outer products of the rows, (N, D), of each component.

    `natural` are the coefficients of 1, y and yyᵀ in the logit of each component, called `count`,
    `sum` and `square`, shapes (k,), (k, D) and (k, D, D); so are the sums.
    """
    d = rows.shape[1]
    i, j = np.triu_indices(d)
    square = natural["square"]
    folded = jnp.where(i == j, square[:, i, j], square[:, i, j] + square[:, j, i])
    coefficients = jnp.concatenate([natural["count"][:, None], natural["sum"], folded], axis=1)
    if d == 1:
        sums = _power_sums(rows[:, 0], coefficients)
    else:
        # of plain arrays they are plain arrays, which are made once and not at every step
        numbers = jnp if isinstance(rows, jax.Array) else np
        ones = numbers.ones((len(rows), 1))
        features = numbers.concatenate([ones, rows, rows[:, i] * rows[:, j]], axis=1)
        sums = _feature_sums(coefficients, features)
    upper = sums[:, 1 + d :]
    outer = jnp.zeros_like(square).at[:, i, j].set(upper).at[:, j, i].set(upper)
    return {"count": sums[:, 0], "sum": sums[:, 1 : 1 + d], "square": outer}


def _power_sums(y: Array, coefficients: Array) -> Array:
    """Σ_i P(j | y_i) (1, y_i, y_i²) by component, in one pass over the rows."""

    def sums(share: Array) -> Array:
        return jnp.stack([share.sum(), (share * y).sum(), (share * y**2).sum()])

    logits = [a + y * (b + y * c) for a, b, c in coefficients]
    if len(logits) == 2:  # half the work
        second = sums(jax.nn.sigmoid(logits[1] - logits[0]))
        return jnp.stack([sums(jnp.ones_like(y)) - second, second])
    top = reduce(jnp.maximum, logits)
    odds = [jnp.exp(logit - top) for logit in logits]
    scale = 1 / sum(odds)
    return jnp.stack([sums(scale * one) for one in odds])


def _feature_sums(coefficients: Array, features: Any) -> Array:
    """Σ_i P(j | row i) features_i by component; wide rows by blocks, each read once from memory."""
    count = len(features) // _BLOCK
    if count < 2 or features.shape[1] < _WIDE:
        return _whole_sums(coefficients, features)
    blocks = features[: count * _BLOCK].reshape(count, _BLOCK, features.shape[1])

    def add(total: Array, block: Array) -> tuple[Array, None]:
        return total + _whole_sums(coefficients, block), None

    return jax.lax.scan(add, _whole_sums(coefficients, features[count * _BLOCK :]), blocks)[0]


def _whole_sums(coefficients: Array, features: Array) -> Array:
    """The same at once, as two matrix products."""
    if len(coefficients) == 2:  # half the work
        second = jax.nn.sigmoid(features @ (coefficients[1] - coefficients[0])) @ features
        return jnp.stack([features.sum(axis=0) - second, second])
    share = jax.nn.softmax(features @ coefficients.T, axis=1)
    # twice as fast by rows of the transpose, if that is really made first
    return jax.lax.optimization_barrier(share.T) @ features


def expected_deviance(statistics: dict[str, Array], mean: Array, factor: Array) -> Array:
    """−2 E[log N(x | μ_j, Σ_j)] summed over the rows of each component j, nats, shape (k,).

    The statistics are those of `component_sums`, the factors lower Cholesky ones of Σ_j.
    """
    count = statistics["count"]
    cross = statistics["sum"][:, :, None] * mean[:, None, :]
    scatter = (
        statistics["square"]
        - cross
        - jnp.swapaxes(cross, 1, 2)
        + count[:, None, None] * mean[:, :, None] * mean[:, None, :]
    )
    half = jax.vmap(lambda f, s: solve_triangular(f, s, lower=True))(factor, scatter)
    full = jax.vmap(lambda f, h: solve_triangular(f, h.T, lower=True))(factor, half)
    log_determinant = 2 * jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    gaussian = count * (mean.shape[1] * jnp.log(2 * jnp.pi) + log_determinant)
    return gaussian + jnp.trace(full, axis1=1, axis2=2)


def fit_by_statsmodels(model: GaussianMixture, data: xr.Dataset) -> tuple[Values, Values, float]:
    """The best non-degenerate optimum of a few starts, by its means, as `HasReferee` has it."""
    fits = []
    for seed in range(_STARTS):
        fit = _climbed(model, data, model.start(np.random.default_rng(seed), data))
        weights, mu, sigma = map(jnp.asarray, _mixture_at(np.asarray(fit.params), model.k))
        values = {"mu": mu, "sigma": sigma} | ({"weights": weights} if model.k > 1 else {})
        if fit.mle_retvals["converged"] and not model.degeneracy(values, data):
            fits.append((float(fit.llf), values, np.asarray(fit.bse)))
    if not fits:
        raise FitError("no start of statsmodels converged to a non-degenerate optimum")
    log_likelihood, values, error = max(fits, key=lambda fit: fit[0])
    mu_error, log_sigma_error = jnp.asarray(error[model.k - 1 :]).reshape(2, model.k)
    errors = {"mu": mu_error, "sigma": log_sigma_error * values["sigma"]}
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
            weights, mean, scale = _mixture_at(params, k)
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


def _mixture_at(params: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and standard deviations, each of shape (k,)."""
    weights = np.exp(np.append(0.0, params[: k - 1]))
    return weights / weights.sum(), params[k - 1 : 2 * k - 1], np.exp(params[2 * k - 1 :])
