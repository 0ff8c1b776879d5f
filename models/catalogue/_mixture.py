"""Fits of a mixture of normals: where climbs start, and the sums of an E step.

A start is rows of the data, and the rows nearest to each.  The sums are Σ_i P(j | row i) φ(row i)
for features φ of a row.
Reference: Arthur & Vassilvitskii (2007), k-means++, SODA.
"""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular

from models.catalogue._normal import spread


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
    """Σ_i P(j | row i) features_i by component, as two matrix products."""
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
