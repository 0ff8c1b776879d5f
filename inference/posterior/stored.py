"""An estimate's draws as a store keeps them, and how they are completed when they are read.

Left out is what costs most and can be had again: quantities that the parameters determine, the
log-likelihoods of single units at most of a Markov chain's draws, and, of the draws of a fitted
normal law, those that figures do not show: what is read of these counts the draws that are left.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from inference.estimate import Estimate
from inference.posterior.draws import pointwise, posterior_group
from inference.posterior.points import reported, to_unconstrained
from models.programs.density import density, quantity_table
from models.spec import Model

_SHOWN = 4_000  # about how many draws of a fitted law are kept: as many as a figure shows
_POINTWISE = 200  # most draws of a chain that keep the log-likelihood of each unit in a store
_THINNED = "thinned"


def reduced(model: Model, data: xr.Dataset, estimate: Estimate, *, fitted: bool) -> Estimate:
    """The estimate as a store keeps it.

    Args:
        model: the model.
        data: the data.
        estimate: the estimate, with all that its method gave it.
        fitted: whether its draws are independent ones of a law that was fitted to the posterior.
    """
    groups = _groups(estimate)
    if "posterior" not in groups:
        return estimate
    if fitted:
        sizes = groups["posterior"].sizes
        step = max(1, sizes["chain"] * sizes["draw"] // _SHOWN)
        groups |= {
            name: group.isel(draw=slice(None, None, step))
            for name, group in groups.items()
            if "draw" in group.dims
        }
    if "log_likelihood" in groups:
        group = groups["log_likelihood"]
        step = -(-group.sizes["draw"] // _POINTWISE)
        if step > 1:
            kept = group.isel(draw=slice(None, None, step))
            groups["log_likelihood"] = kept.assign_attrs({_THINNED: step})
    whole, names = groups["posterior"], [parameter.name for parameter in model.parameters]
    if set(names) < set(whole.data_vars):
        groups["posterior"] = whole[names]
        again = _groups(completed(model, data, _with(estimate, groups)))["posterior"]
        if not again.identical(whole):  # a model whose quantities do not follow from these draws
            groups["posterior"] = whole
    return _with(estimate, groups)


def completed(model: Model, data: xr.Dataset, estimate: Estimate) -> Estimate:
    """A stored estimate with the quantities that its parameters determine, bit for bit.

    Raises:
        ValueError: it is no estimate of this model.
    """
    groups = _groups(estimate)
    posterior = groups.get("posterior")
    names = [parameter.name for parameter in model.parameters]
    location = estimate.location.value
    expected = {quantity.name: quantity.dims for quantity in quantity_table(model)}
    if any(location[name].dims != d for name, d in expected.items() if name in location):
        raise ValueError("it is no estimate of this model")
    if posterior is None or not set(names) <= set(posterior.data_vars):
        return estimate
    values: Any = {name: _flat(posterior[name]) for name in names}
    found = reported(model)(values)
    if set(found) <= set(posterior.data_vars):
        return estimate
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    whole = posterior_group(model, data, {**found, **values}, shape)
    groups["posterior"] = whole.assign_coords(draw=posterior["draw"]).assign_attrs(posterior.attrs)
    return _with(estimate, groups)


def log_likelihoods(model: Model, data: xr.Dataset, draws: xr.DataTree) -> xr.Dataset:
    """log p(x_i | θ) at evenly spaced draws of a Markov chain, dims (chain, draw, unit).

    Computed anew where a store has kept those of fewer draws.
    """
    found = draws["log_likelihood"].to_dataset()
    if _THINNED not in found.attrs:
        return found
    posterior = draws["posterior"].to_dataset()
    values = {p.name: _flat(posterior[p.name]) for p in model.parameters}
    points = to_unconstrained(density(model, data), values)
    return pointwise(model, data, points.reshape(posterior.sizes["chain"], -1, points.shape[1]))


def _groups(estimate: Estimate) -> dict[str, xr.Dataset]:
    children = {} if estimate.draws is None else estimate.draws.children
    return {name: child.to_dataset() for name, child in children.items()}


def _with(estimate: Estimate, groups: dict[str, xr.Dataset]) -> Estimate:
    return dataclasses.replace(estimate, draws=xr.DataTree.from_dict(groups))


def _flat(draws: xr.DataArray) -> np.ndarray:
    array = draws.transpose("chain", "draw", ...).to_numpy()
    return array.reshape(-1, *array.shape[2:])
