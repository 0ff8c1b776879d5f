"""Sums over the rows of a mixture's E step: Σ_i P(j | row i) φ(row i) for features φ of a row."""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from models.errors import ConfigError
from models.settings import MOST

_BLOCK = 8_000
"""Rows of which an E step makes logits, responsibilities and sums while a cache holds them."""
_WIDE = 32
"""Features a row from which that is faster: narrower ones are read as fast as they are copied."""


def component_sums(rows: Any, natural: dict[str, Array]) -> dict[str, Array]:
    """Expected count, sum and sum of outer products of the rows of each component.

    Args:
        rows: shape (N, D).
        natural: the coefficients of 1, y and yyᵀ in the logit of each component, called `count`,
            `sum` and `square`, shapes (k,), (k, D) and (k, D, D).

    Returns:
        The sums by the same names, in the same shapes.
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
        odds = features @ (coefficients[1] - coefficients[0])
        second = jax.nn.sigmoid(odds) @ features
        return jnp.stack([features.sum(axis=0) - second, second])
    share = jax.nn.softmax(features @ coefficients.T, axis=1)
    # twice as fast by rows of the transpose, if that is really made first
    return jax.lax.optimization_barrier(share.T) @ features


def refuse_size(k: int, dim: int) -> None:
    """Refuses more covariance matrices than memory is meant for.

    Raises:
        ConfigError: says how many numbers they hold.
    """
    if (numbers := k * dim**2) > MOST:
        raise ConfigError(
            f"{k} covariance matrices of {dim} columns hold {numbers:,} numbers; expected at most "
            f"{MOST:,}: choose a smaller k or fewer columns"
        )
