"""What a store leaves out of draws comes back bit for bit, and nothing else is left out."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from comparisons.case import Case
from comparisons.store.entries import Store
from inference import Laplace
from inference.estimate import Estimate
from inference.posterior.draws import estimate_from_draws
from inference.posterior.stored import completed, log_likelihoods, reduced
from models import Gaussian
from models.data.dataset import as_dataset

MODEL = Gaussian(dim=2)
DATA = as_dataset(np.random.default_rng(0).normal(size=(30, 2)), MODEL)


@cache
def laplace() -> Estimate:
    return Laplace(draws=2_500).fit(MODEL, DATA, np.random.default_rng(1))


def groups(estimate: Estimate) -> xr.DataTree:
    assert estimate.draws is not None
    return estimate.draws


def test_a_fitted_law_keeps_the_draws_that_figures_show() -> None:
    whole = groups(laplace())["posterior"].to_dataset()
    kept = reduced(MODEL, DATA, laplace(), fitted=True)
    names = {parameter.name for parameter in MODEL.parameters}
    assert set(groups(kept)["posterior"].data_vars) == names < set(whole.data_vars)
    again = groups(completed(MODEL, DATA, kept))
    step = whole.sizes["draw"] // again["posterior"].sizes["draw"]
    assert step == 2
    assert again["posterior"].to_dataset().identical(whole.isel(draw=slice(None, None, step)))
    assert again["log_prior"].sizes["draw"] == again["posterior"].sizes["draw"]
    xr.testing.assert_identical(kept.location.value, laplace().location.value)


def test_a_markov_chain_keeps_every_draw_and_a_part_of_the_pointwise_terms() -> None:
    draws = groups(laplace())["posterior"]
    values = {p.name: draws[p.name].to_numpy() for p in MODEL.parameters}
    stats = {"diverging": np.zeros((4, 2_500), bool), "energy": np.ones((4, 2_500))}
    stats["energy"] += np.random.default_rng(2).normal(size=(4, 2_500))
    whole = estimate_from_draws(MODEL, DATA, values, record=xr.Dataset(), sample_stats=stats)
    kept = reduced(MODEL, DATA, whole, fitted=False)
    assert groups(kept)["log_likelihood"].sizes["draw"] <= 200
    again = completed(MODEL, DATA, kept)
    for name in ("posterior", "sample_stats", "log_prior"):
        assert groups(again)[name].to_dataset().identical(groups(whole)[name].to_dataset())
    expected = log_likelihoods(MODEL, DATA, groups(whole))
    found = log_likelihoods(MODEL, DATA, groups(again))
    assert found.sizes["draw"] > 500
    xr.testing.assert_equal(found, expected)


def test_a_case_with_a_store_reads_what_it_wrote(tmp_path: Path) -> None:
    method = Laplace(draws=2_500)
    first = Case(MODEL, DATA, methods=(method,), store=Store(tmp_path)).fit(method)
    second = Case(MODEL, DATA, methods=(method,), store=Store(tmp_path)).fit(method)
    xr.testing.assert_identical(first.location.value, second.location.value)
    part, whole = groups(second)["posterior"].to_dataset(), groups(first)["posterior"].to_dataset()
    assert part.identical(whole.isel(draw=slice(None, None, 2)))


def test_quantities_that_parameters_do_not_determine_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def others(model: Gaussian):
        return lambda values: {name: x + 1 for name, x in values.items()} | {"more": 0}

    monkeypatch.setattr("inference.posterior.stored.reported", others)
    monkeypatch.setattr(
        "inference.posterior.stored.posterior_group",
        lambda model, data, values, shape: groups(laplace())["posterior"].to_dataset() + 1,
    )
    kept = reduced(MODEL, DATA, laplace(), fitted=False)
    assert (
        groups(kept)["posterior"]
        .to_dataset()
        .identical(groups(laplace())["posterior"].to_dataset())
    )
