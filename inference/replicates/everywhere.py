"""A batched function of many replicates, on all cores, as many a call as a cache holds.

Every call has a full batch, so that nothing compiles twice; which call a replicate is in changes no
number.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from inference.threads import pool

BATCH = 50  # most replicates per call
NUMBERS = 250_000
"""Most numbers per call, unless one replicate has more: a few times these are in memory."""
_ACCELERATED = 40  # times as many of both on an accelerator, which computes them side by side


def everywhere(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rows: np.ndarray | None = None,
    *,
    most: int = 0,
    numbers: int = 0,
) -> Any:
    """Calls it with some rows of its arguments at a time, which have a leading axis of replicates.

    Args:
        function: arguments with a leading axis ↦ arrays, or trees of them, with one.
        arguments: arrays of all replicates, or trees of them.
        rows: which replicates; all by default.
        most: replicates per call; `BATCH` if 0.
        numbers: what a replicate counts for; the size of its arguments if 0.
    """
    leaves = jax.tree.leaves(arguments)
    rows = np.arange(len(leaves[0])) if rows is None else rows
    numbers = numbers or sum(leaf[0].size for leaf in leaves)
    times = 1 if jax.default_backend() == "cpu" else _ACCELERATED
    batch = max(1, times * min(most or BATCH, NUMBERS // numbers))

    def one(chunk: np.ndarray) -> Any:
        whole = chunk[-1] - chunk[0] + 1 == chunk.size  # a slice of an array is no copy
        part = slice(chunk[0], chunk[-1] + 1) if whole else chunk
        some = jax.tree.map(lambda array: array[part], arguments)
        if short := batch - chunk.size:  # filled by repeating the last replicate
            some = jax.tree.map(
                lambda array: np.concatenate([array, np.repeat(array[-1:], short, axis=0)]), some
            )
        found = jax.device_get(function(*some))
        return jax.tree.map(lambda array: array[: chunk.size], found) if short else found

    chunks = np.split(rows, range(batch, rows.size, batch))
    with pool() as threads:
        return jax.tree.map(lambda *parts: np.concatenate(parts), *threads.map(one, chunks))
