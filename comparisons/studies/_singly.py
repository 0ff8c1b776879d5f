"""Methods that fit one data set at a time, PyMC's among them, in studies of repeated data sets."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from comparisons.reference import own_draws
from comparisons.studies._study import Setting
from inference.method import Method, label
from inference.replicates.simulated import Batch
from models.errors import FitError
from models.programs.density import Language, languages

NUTS, LAPLACE = "nuts[numpyro]", "laplace[numpyro]"
MEAN_FIELD, POSTERIOR = "gaussian_vi[mean_field]", "posterior"
"""Columns of the posteriors that a study finds in all data sets of a batch at once."""


class Drawn(NamedTuple):
    """Draws of a method in R data sets, m flat quantities."""

    column: str
    """Its label, told apart from the study's own methods."""
    draws: np.ndarray
    """Evenly spaced among all draws of all chains, shape (R, count, m)."""
    usable: np.ndarray
    """Boolean, shape (R,): there is a fit, and it has no problems."""


def columns(setting: Setting) -> dict[str, Method]:
    """The further methods of a setting, by the column of each."""
    own = NUTS, LAPLACE, MEAN_FIELD, POSTERIOR
    named = ((label(method), method) for method in setting.methods)
    return {f"{name}, one at a time" if name in own else name: method for name, method in named}


def normal(setting: Setting) -> dict[str, Language | None]:
    """The columns of normal approximations, of which no draws are exact at a finite N.

    By the language in whose unconstrained space the coordinates are independent; None where they
    need not be.
    """
    found: dict[str, Language | None] = {LAPLACE: None, MEAN_FIELD: languages(setting.model)[0]}
    for column, method in columns(setting).items():
        if method.kind in ("laplace", "variational"):
            found[column] = method.language if method.family == "mean_field" else None
    return found


def drawn(setting: Setting, batch: Batch, indices: Sequence[int], count: int) -> Iterator[Drawn]:
    """The draws of every further method of a setting, one after the other.

    Args:
        setting: what is studied.
        batch: the data sets.
        indices: their numbers, on which the streams depend, as on their size.
        count: draws kept of each fit.
    """
    for column, method in columns(setting).items():
        word = int.from_bytes(hashlib.sha256(label(method).encode()).digest()[:4])
        kept = np.full((batch.count, count, len(setting.names)), np.nan)
        for place, (index, data) in enumerate(zip(indices, batch.sets, strict=True)):
            stream = np.random.SeedSequence(setting.seed, spawn_key=(batch.n, index, word))
            try:
                fit = method.fit(setting.model, data, np.random.default_rng(stream))
            except FitError:
                continue
            draws = own_draws(fit, setting.names)
            if draws is not None and not fit.problems:
                every = draws.reshape(-1, draws.shape[-1])
                kept[place] = every[np.linspace(0, len(every) - 1, count).round().astype(int)]
        yield Drawn(column, kept, np.isfinite(kept).all(axis=(1, 2)))
