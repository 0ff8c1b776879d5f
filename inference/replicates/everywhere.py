"""A batched function of many replicates, on all cores, as many a call as a cache holds.

Every call has a full batch, so that nothing compiles twice; which call a replicate is in changes no
number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

BATCH = 50
"""Most replicates per call."""
NUMBERS = 250_000
"""Most numbers per call, unless one replicate has more: a few times these are in memory."""
_ACCELERATED = 40
"""Times as many of both on an accelerator, which computes them side by side."""


def everywhere(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rows: np.ndarray,
    pool: ThreadPoolExecutor,
    most: int = 0,
    numbers: int = 0,
) -> Any:
    """Calls it with some rows of its arguments at a time, which have a leading axis of replicates.

    Args:
        function: arguments with a leading axis ↦ arrays with one.
        arguments: arrays of all replicates, or trees of them.
        rows: which replicates.
        pool: the threads that call.
        most: replicates per call; `BATCH` if 0.
        numbers: what a replicate counts for; the size of its arguments if 0.
    """
    numbers = numbers or sum(leaf[0].size for leaf in jax.tree.leaves(arguments))
    times = 1 if jax.default_backend() == "cpu" else _ACCELERATED
    batch = max(1, times * min(most or BATCH, NUMBERS // numbers))

    def one(chunk: np.ndarray) -> Any:
        whole = chunk[-1] - chunk[0] + 1 == chunk.size  # a slice of an array is no copy
        part = slice(chunk[0], chunk[-1] + 1) if whole else chunk
        return _padded(function, jax.tree.map(lambda array: array[part], arguments), batch)

    chunks = np.split(rows, range(batch, rows.size, batch))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pool.map(one, chunks))


def _padded(function: Callable[..., Any], arguments: tuple[Any, ...], batch: int) -> Any:
    """Calls with a full batch, the last replicate repeated, so that nothing compiles twice."""
    size = jax.tree.leaves(arguments)[0].shape[0]
    if size == batch:
        return jax.device_get(function(*arguments))
    full = jax.tree.map(
        lambda array: np.concatenate([array, np.repeat(array[-1:], batch - size, axis=0)]),
        arguments,
    )
    return jax.tree.map(lambda array: array[:size], jax.device_get(function(*full)))
