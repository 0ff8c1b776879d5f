"""The distinct scalars of an estimate, by flat name, with their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inference.posterior.draws import chart, fold
from models.capabilities import HasSigns
from models.programs.density import quantity_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comparisons.case import Case
    from inference.estimate import Estimate
    from models.programs.density import Density
    from models.spec import Model


class Scalar(NamedTuple):
    """One reported number of an estimate: centre and spread, each with its Monte Carlo error."""

    location: float
    location_error: float
    sd: float
    sd_error: float


def scalars(model: Model, estimate: Estimate) -> dict[str, Scalar]:
    """By flat name: the lower triangle of a covariance only, and no constants."""
    found = {}
    for parameter in quantity_table(model):
        name = parameter.name
        arrays = [
            np.asarray(part[name].data)
            for quantity in (estimate.location, estimate.sd)
            for part in (quantity.value, quantity.error)
        ]
        for index in np.ndindex(arrays[0].shape):
            if parameter.support == "covariance" and index[-1] > index[-2]:
                continue
            scalar = Scalar(*(float(array[index]) for array in arrays))
            if scalar.sd != 0:
                label = f"{name}[{', '.join(map(str, index))}]" if index else name
                found[label] = scalar
    return found


def shared(model: Model, a: Estimate, b: Estimate) -> Iterator[tuple[str, Scalar, Scalar]]:
    """The scalars that both estimates report."""
    first, second = scalars(model, a), scalars(model, b)
    for name in first:
        if name in second:
            yield name, first[name], second[name]


def positions(estimate: Estimate) -> dict[str, int]:
    """Place of each flat name in the estimate's covariance."""
    return {str(name): i for i, name in enumerate(estimate.covariance["quantity"].data)}


def reference_posterior(case: Case) -> tuple[str, Estimate] | None:
    """The posterior that the others are held against: exact if there is one, else NUTS.

    Among the samplers, the first in catalogue order without problems; None if there is none.
    """
    fits = case.estimates("posterior")
    if "exact_posterior" in fits:
        return "exact_posterior", fits["exact_posterior"]
    samplers = {name: fit for name, fit in fits.items() if name.startswith("nuts")}
    for name, fit in samplers.items():
        if not fit.problems:
            return name, fit
    return None


def unreliable(name: str, estimate: Estimate) -> str:
    """Why no verdict may rest on the estimate; "" if one may."""
    return f"{name}: {'; '.join(estimate.problems)}" if estimate.problems else ""


def posterior_size(posterior: Estimate) -> float:
    """Smallest effective number of draws behind any reported mean."""
    sizes = []
    for variable in posterior.location.value.data_vars:
        sd = np.ravel(posterior.sd.value[variable].data)
        error = np.ravel(posterior.location.error[variable].data)
        sizes += list((sd[error > 0] / error[error > 0]) ** 2)
    return float(min(sizes))


def chart_draws(case: Case, posterior: Estimate, of: Density) -> np.ndarray:
    """Posterior draws in the unconstrained chart, of one fold of equal modes, shape (draws, k)."""
    assert posterior.draws is not None
    group = posterior.draws["posterior"]
    values = {}
    for parameter in case.model.parameters:
        array = np.asarray(group[parameter.name].data)
        values[parameter.name] = array.reshape(-1, *array.shape[2:])
    if isinstance(case.model, HasSigns):
        values = fold(case.model, values)
    return chart(of, values)


def own_draws(estimate: Estimate, names: Sequence[str]) -> np.ndarray | None:
    """The estimate's posterior draws of scalars, shape (chain, draw, scalars); None without."""
    if estimate.draws is None or "posterior" not in estimate.draws.children:
        return None
    posterior = estimate.draws["posterior"]
    flat: dict[str, np.ndarray] = {}
    for variable in map(str, estimate.location.value.data_vars):
        if variable not in posterior.data_vars:
            return None
        array = posterior[variable].transpose("chain", "draw", ...).to_numpy()
        for index in np.ndindex(array.shape[2:]):
            label = f"{variable}[{', '.join(map(str, index))}]" if index else variable
            flat[label] = array[(..., *index)]
    if not set(names) <= flat.keys():
        return None
    return np.stack([flat[name] for name in names], axis=-1)
