"""Draws of every method at chosen scalars, and data that a fit replicates.

A method without draws is represented by N(estimate, sd²), its sampling approximation, which is
exact in a figure: its curve and its quantiles are those of the law.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import xarray as xr
from scipy.stats import norm

from comparisons.reference import own_draws
from comparisons.report.result import CaseResult
from inference.method import Method, label
from models.data.dataset import column_names
from models.errors import ConcordError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import flat_names, program_on, units

REPLICATES = 100  # replicated data sets of a posterior predictive check


@final
@dataclass(frozen=True, slots=True)
class Comparable:
    """Every method that reports all of some scalars, in the order of the fits.

    `draws` are all draws of those that have some, shape (draws, scalars); `normal` mean and sd of
    the others, shape (scalars,), where an undefined sd is 0; `unreliable` are those with problems.
    """

    methods: tuple[Method, ...]
    draws: Mapping[Method, np.ndarray]
    normal: Mapping[Method, tuple[np.ndarray, np.ndarray]]
    unreliable: frozenset[Method]

    def moments(self, method: Method) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, shape (scalars,) each."""
        if method in self.normal:
            return self.normal[method]
        return self.draws[method].mean(axis=0), self.draws[method].std(axis=0)

    def quantiles(self, method: Method, levels: Sequence[float]) -> np.ndarray:
        """Quantiles, shape (levels, scalars)."""
        if method in self.normal:
            mean, sd = self.normal[method]
            return mean + np.multiply.outer(norm.ppf(levels), sd)
        return np.quantile(self.draws[method], levels, axis=0)


@final
@dataclass(frozen=True, slots=True)
class Replicates:
    """By column, observed data and replicated ones, (replicates, rows); and by whose draws.

    Missing and masked values are left out of both. Those of a model that knows one of its
    variables are made given that (`given`).
    """

    observed: Mapping[str, np.ndarray]
    replicated: Mapping[str, np.ndarray]
    source: str
    given: bool = False


def comparable(result: CaseResult, names: Sequence[str]) -> Comparable:
    """Every method that reports all the scalars."""
    draws, normal = {}, {}
    for method, fit in result.estimates.items():
        own = own_draws(fit, names)
        if own is not None and np.isfinite(own).all():
            draws[method] = own.reshape(-1, len(names))
            continue
        found = {n: one for v in map(str, fit.location.value) for n, one in fit.scalars(v).items()}
        if own is None and set(names) <= found.keys():
            location = np.array([found[name].location for name in names])
            if np.isfinite(location).all():
                sd = np.nan_to_num([found[name].sd for name in names], posinf=0.0)
                normal[method] = location, sd
    methods = tuple(method for method in result.estimates if method in draws or method in normal)
    troubled = frozenset(method for method in methods if result.estimates[method].problems)
    return Comparable(methods, draws, normal, troubled)


def replicates(result: CaseResult, source: Method) -> Replicates | str:
    """Data replicated at posterior draws of a fit; or why there are none.

    A user's own programs draw theirs; any other model simulates whole data sets; a model of
    several variables, some of which are known rather than modelled (standard errors, group
    labels), has its NumPyro program replicate the observed sites.
    """
    model, data = result.model, result.data
    names = [parameter.name for parameter in model.parameters]
    draws = result.estimates[source].draws
    posterior = xr.Dataset() if draws is None else draws["posterior"].to_dataset()
    if missing := [name for name in names if name not in posterior]:
        return f"{label(source)} keeps no draws of {', '.join(missing)}"
    rng = np.random.default_rng(zlib.crc32(f"{result.slug} replicates".encode()))
    flat = posterior[names].stack(one=("chain", "draw"), create_index=False).transpose("one", ...)
    places = np.linspace(0, flat.sizes["one"] - 1, min(REPLICATES, flat.sizes["one"]))
    values, observed = {n: flat[n].values[places.round().astype(int)] for n in names}, {}
    try:
        if isinstance(model, AdoptedModel):
            replicated = model.simulated_sets(rng, values)
        elif len(data.data_vars) == 1:
            n, rows = units(model, data), zip(*values.values(), strict=True)
            points: list[Any] = [dict(zip(values, row, strict=True)) for row in rows]
            sets = [model.simulate(rng, point, n) for point in points]
            replicated = {str(x): np.stack([one[x].values for one in sets]) for x in data.data_vars}
        else:
            program = program_on(model, data, "numpyro")
            seeds = rng.integers(2**63, size=len(next(iter(values.values()))))
            sets = program.draws(seeds, values)
            observed = {name: array for name, array in program.observed.items() if array.ndim}
            replicated = {name: sets[name] for name in observed}
        observed = observed or {name: data[name].values for name in replicated}
    except (ConcordError, NotImplementedError, KeyError, TypeError, ValueError) as error:
        return f"the model could not replicate the data: {type(error).__name__}: {error}"
    masked = model.masked if isinstance(model, AdoptedModel) else {}
    known = {n: np.where(masked.get(n, False), np.nan, array) for n, array in observed.items()}
    columns, sets = _columns(data, known), _columns(data, replicated, 1)
    places = {n: np.flatnonzero(~np.isnan(column)) for n, column in columns.items()}
    sets = {n: sets[n][:, kept] for n, kept in places.items() if kept.size}
    columns = {n: columns[n][places[n]] for n in sets}
    return Replicates(columns, sets, label(source), given=len(data.data_vars) > 1)


def _columns(
    data: xr.Dataset, arrays: Mapping[str, np.ndarray], leading: int = 0
) -> dict[str, np.ndarray]:
    """One entry per column of every variable, with `leading` dims before the rows."""
    found: dict[str, np.ndarray] = {}
    for name, given in arrays.items():
        array = given[..., None] if given.ndim == leading else given  # a single value is a row
        flat = array.reshape(*array.shape[: leading + 1], -1)
        row = array[(0,) * (leading + 1)]
        names = flat_names({name: row})
        if name in data and data[name].shape[1:] == row.shape and row.ndim < 2:
            names = column_names(data, name)
        found |= zip(names, np.moveaxis(flat, -1, 0), strict=True)
    return found
