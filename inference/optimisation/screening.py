"""Where hundreds of short EM climbs lead, run at once: the starts that deserve a search.

A mixture's likelihood has many maxima; few starts miss the best one, and EM from many is cheap.
Reference: Biernacki, Celeux & Govaert (2003), Computational Statistics & Data Analysis 41.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from models.capabilities import HasDegeneracy, HasEM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray as xr
    from jax import Array

    from models.programs.density import Density
    from models.spec import Model

_CLIMBS = 200
"""Climbs, at most."""
_STEPS = 200
"""EM steps of each."""
_WORK = 100_000_000
"""Rows that all climbs together look at, at most."""
_AT_ONCE = 10_000
"""Rows that are looked at at once, at least."""
_ALIKE = 0.05
"""Nats within which two climbs may lead to one maximum."""
_COPIES = 3
"""Climbs to one maximum that are searched from first: two must reach it."""


def promising(
    model: Model,
    data: xr.Dataset,
    target: Density,
    rng: np.random.Generator,
    count: int,
    *,
    ends: bool = True,
) -> Iterator[np.ndarray]:
    """Points in the unconstrained space from which to search, the most promising first.

    Args:
        model: the model.
        data: its data.
        target: its density, in whose unconstrained space the points are.
        rng: draws the starts.
        count: how many points.
        ends: where the climbs ended; else where they began, as EM itself needs it.
    """
    streams = rng.spawn(max(_CLIMBS, count))
    ahead = _screened(model, data, target, streams)[:count]
    yield from (end if ends else start for start, end in ahead)
    for stream in streams[len(ahead) : count]:
        yield np.asarray(target.unconstrain(model.start(stream, data)))


def _screened(
    model: Model, data: xr.Dataset, target: Density, streams: Sequence[np.random.Generator]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """From where EM leads where that is not degenerate, a few climbs to a maximum before others.

    Empty where the model has no EM, or its likelihood is not one of many maxima.
    """
    rows = next(iter(data.sizes.values()), 1)
    count = min(_CLIMBS, _WORK // (_STEPS * max(rows, 1)))
    if not isinstance(model, HasEM) or not isinstance(model, HasDegeneracy) or count < 2:
        return []
    starts = [target.unconstrain(model.start(stream, data)) for stream in streams[:count]]
    climb = _climb(model, target, max(1, _AT_ONCE // rows))
    ends, heights = map(np.asarray, climb(jnp.stack(starts)))
    fine = np.isfinite(heights) & np.isfinite(ends).all(axis=1)
    first, later, top, copies = [], [], np.inf, 0
    for i in sorted(np.flatnonzero(fine), key=lambda one: -heights[one]):
        if model.degeneracy(target.constrain(jnp.asarray(ends[i])), data):
            continue
        copies = copies + 1 if top - heights[i] < _ALIKE else 1
        top = top if copies > 1 else heights[i]
        (first if copies <= _COPIES else later).append((np.asarray(starts[i]), ends[i]))
    return first + later


@lru_cache(maxsize=16)
def _climb(model: Any, target: Density, at_once: int) -> Callable[[Array], tuple[Array, Array]]:
    """Starts, shape (starts, k) ↦ where EM leads from them, and the log-likelihood there."""

    def step(_: int, u: Array) -> Array:
        statistics = model.e_step(target.constrain(u), target.data)
        return target.unconstrain(model.m_step(statistics, target.data))

    def climb(u: Array) -> tuple[Array, Array]:
        end = jax.lax.fori_loop(0, _STEPS, step, u)
        return end, jnp.sum(target.log_likelihood(end))

    return jax.jit(lambda starts: jax.lax.map(climb, starts, batch_size=at_once))
