"""Planted errors: how many replicates the study meant for each took to find it.

A study looks at its verdicts after 50 replicates and each time their number has doubled, until one
on the quantity named is DIFFER, one that an honest study leaves AGREE.  Rows are not about speed,
and so go to a table of their own.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from comparisons.runs import conduct as _conduct
from comparisons.store.entries import Store
from comparisons.studies import Setting, asymptotics, calibration
from models.catalogue.gaussian import Gaussian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

FIRST, MOST = 50, 51_200
HEADER = ("planted error", "study", "units", "replicates until DIFFER", "first found in")


def planted() -> Iterator[tuple[str, ...]]:
    """One row per planted error.

    Raises:
        RuntimeError: an error was not found.
    """
    vague = Gaussian(mean_scale=1.0, scale_scale=1.0)
    wider = Gaussian(mean_scale=1.2, scale_scale=1.2)

    def wider_prior(model: Any, template: Any, keys: Any) -> Any:
        return prior(wider, template, keys)

    prior = calibration.numpyro_prior
    ratio, exact = "mean standard error / sd", "mean − its exact value, in sd"
    ranks = calibration.TOGETHER
    for error, module, name, bug, model, n, quantity in (
        ("standard errors × 1.1", asymptotics, "replicate", _scaled_errors, Gaussian(), 200, ratio),
        ("n − 1 for n", asymptotics, "replicate", _unbiased, Gaussian(), 10, exact),
        ("prior scales × 1.2", calibration, "numpyro_prior", wider_prior, vague, 5, ranks),
    ):
        replicates, where = _found(module, name, bug, model, n, quantity)
        yield error, module.__name__.rpartition(".")[2], str(n), f"{replicates:,}", where


def _found(
    module: ModuleType, name: str, bug: Callable[..., Any], model: Gaussian, n: int, quantity: str
) -> tuple[int, str]:
    count = FIRST
    with ExitStack() as stack:
        store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.enter_context(patch.object(module, name, bug))
        while count <= MOST:
            with patch.object(_conduct, "FIRST", count):
                setting = Setting(model, 0)
                study = _conduct.conduct(module, setting, (n,), count, store, lambda *_: None)
            for verdict in study.verdicts:
                if verdict.quantity == quantity and verdict.outcome == "DIFFER":
                    return study.replicates, verdict.about
            count *= 2
    raise RuntimeError(f"{bug.__name__} was not found in {MOST:,} replicates")


_replicate = asymptotics.replicate


def _scaled_errors(model: Any, batch: Any) -> Any:
    fits = _replicate(model, batch)
    return fits._replace(standard_error=1.1 * fits.standard_error)


def _unbiased(model: Any, batch: Any) -> Any:
    fits = _replicate(model, batch)
    factor = np.array([1.0, np.sqrt(batch.n / (batch.n - 1))])  # mu, sigma
    return fits._replace(estimate=fits.estimate * factor)
