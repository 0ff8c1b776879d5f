"""Methods that fit one data set at a time, PyMC's among them, in studies of repeated data sets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comparisons._scalars import own_draws
from inference._estimate import label
from models._errors import FitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons._study import Setting
    from inference._replicates import Batch


class Drawn(NamedTuple):
    """What a method drew in R data sets, m flat quantities."""

    method: str
    """Its label."""
    draws: np.ndarray
    """Evenly spaced among all draws of all chains, shape (R, count, m)."""
    usable: np.ndarray
    """Boolean, shape (R,): there is a fit, and it has no problems."""


def drawn(setting: Setting, batch: Batch, indices: Sequence[int], count: int) -> Iterator[Drawn]:
    """The draws of every further method of a setting.

    Args:
        setting: what is studied.
        batch: the data sets.
        indices: their numbers, on which the streams depend.
        count: draws kept of each fit.
    """
    for method in setting.methods:
        name = label(method)
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        kept = np.full((len(batch.sets), count, len(setting.names)), np.nan)
        for place, (index, data) in enumerate(zip(indices, batch.sets, strict=True)):
            stream = np.random.SeedSequence(setting.seed, spawn_key=(index, word))
            try:
                fit = method.fit(setting.model, data, np.random.default_rng(stream))
            except FitError:
                continue
            draws = own_draws(fit, setting.names)
            if draws is not None and not fit.problems:
                every = draws.reshape(-1, draws.shape[-1])
                kept[place] = every[np.linspace(0, len(every) - 1, count).round().astype(int)]
        yield Drawn(name, kept, np.isfinite(kept).all(axis=(1, 2)))
