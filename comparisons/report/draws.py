"""Draws of every method in one shape, so that they can share a figure.

ArviZ joins methods of unequal numbers of chains or draws by filling up with NaN, and then draws
nothing: all are thinned to one shape first.  A method without draws is represented by draws from
N(estimate, covariance), its sampling approximation, and is marked as such.
"""

import zlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import numpy as np
import xarray as xr

from comparisons.reference import own_draws
from comparisons.report.result import CaseResult
from inference.estimate import Estimate
from inference.method import Method, label
from models.capabilities import HasOwnPrograms
from models.errors import ConcordError
from models.programs.density import flat_names, units
from models.programs.keys import key_of
from models.programs.numpyro import numpyro_prior, numpyro_trace
from models.spec import Model

CHAINS = 4
_MOST = 4_000
"""Draws of a method in a figure."""
REPLICATES = 100
"""Replicated data sets of a posterior predictive check."""


@final
@dataclass(frozen=True, slots=True)
class Comparable:
    """Draws of several methods in one shape.

    Attributes:
        draws: of every method, shape (CHAINS, draws, scalars).
        approximated: the methods that have no draws of their own.
        unreliable: the methods with problems.
    """

    draws: Mapping[Method, np.ndarray]
    approximated: frozenset[Method]
    unreliable: frozenset[Method]


@final
@dataclass(frozen=True, slots=True)
class Replicates:
    """Observed and replicated data.

    Attributes:
        observed: by column, one dimension.
        replicated: by column, shape (replicates, rows).
        source: label of the method whose draws were used.
    """

    observed: Mapping[str, np.ndarray]
    replicated: Mapping[str, np.ndarray]
    source: str


def comparable(result: CaseResult, names: Sequence[str]) -> Comparable:
    """Draws of every method that reports all the scalars, thinned to the shortest."""
    own, normal = {}, {}
    for method, fit in result.estimates.items():
        found = own_draws(fit, names)
        if found is not None and np.isfinite(found).all():
            own[method] = found.reshape(-1, len(names))
        elif set(names) <= set(map(str, fit.covariance["quantity"].values)):
            normal[method] = fit
    size = min([_MOST, *map(len, own.values())]) // CHAINS
    drawn = {}
    for method in result.estimates:
        if method in own:
            keep = np.linspace(0, len(own[method]) - 1, CHAINS * size).round().astype(int)
            drawn[method] = own[method][keep]
        elif method in normal:
            approximation = _normal(normal[method], names, CHAINS * size)
            if np.isfinite(approximation).all():
                drawn[method] = approximation
    return Comparable(
        {method: draws.reshape(CHAINS, size, len(names)) for method, draws in drawn.items()},
        frozenset(normal).intersection(drawn),
        frozenset(method for method in drawn if result.estimates[method].problems),
    )


def _normal(estimate: Estimate, names: Sequence[str], size: int) -> np.ndarray:
    """Draws from N(estimate, covariance); a scalar of undefined sd stays where it is.

    The noise is the same for every estimate, so that equal ones look equal, and symmetric, so
    that their mean is the estimate.
    """
    location = np.concatenate([np.ravel(v.values) for v in estimate.location.value.values()])
    place = {str(name): i for i, name in enumerate(estimate.covariance["quantity"].values)}
    chosen = [place[name] for name in names]
    covariance = np.nan_to_num(estimate.covariance.values[np.ix_(chosen, chosen)])
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    factor = vectors * np.sqrt(np.clip(values, 0, None))
    half = np.random.default_rng(0).standard_normal((size // 2, len(names)))
    noise = np.concatenate([half, -half])
    return location[chosen] + noise @ factor.T


def replicates(result: CaseResult, source: Method) -> tuple[Replicates | None, str]:
    """Data replicated at posterior draws of a fit; or why there are none.

    Draws of the group `posterior_predictive` are used where the fit has them; else the model
    simulates whole data sets; a model of several variables, some of which are known rather than
    modelled (standard errors, group labels), has its NumPyro program replicate the observed sites.
    """
    draws, model, data = result.estimates[source].draws, result.model, result.data
    if draws is None:
        return None, f"{label(source)} has no draws"
    if "posterior_predictive" in draws.children:
        kept = _flat(draws["posterior_predictive"].to_dataset(), data)
        replicated = {name: _thinned(array) for name, array in kept.items()}
        observed = {name: data[name].values for name in replicated}
    else:
        names = [parameter.name for parameter in model.parameters]
        values = _flat(draws["posterior"].to_dataset(), names)
        if missing := [name for name in names if name not in values]:
            return None, f"{label(source)} keeps no draws of {', '.join(missing)}"
        rng = np.random.default_rng(zlib.crc32(f"{result.slug} replicates".encode()))
        values, observed = {name: _thinned(values[name]) for name in names}, {}
        try:
            if isinstance(model, HasOwnPrograms):
                replicated = model.simulated_sets(rng, values)
            elif len(data.data_vars) == 1:
                replicated = _simulated(model, data, values, rng)
            else:
                observed, replicated = _conditional(model, data, values, rng)
            observed = observed or {name: data[name].values for name in replicated}
        except (ConcordError, NotImplementedError, KeyError, TypeError, ValueError) as error:
            return None, f"the model could not replicate the data: {type(error).__name__}: {error}"
    return Replicates(_columns(data, observed), _columns(data, replicated, 1), label(source)), ""


def _flat(group: xr.Dataset, names: Iterable[Hashable]) -> dict[str, np.ndarray]:
    """Draws of the variables of a group that are among the names, shape (chains × draws, …)."""
    arrays = {
        str(name): group[name].transpose("chain", "draw", ...).to_numpy()
        for name in names
        if name in group
    }
    return {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}


def prior_and_posterior(
    result: CaseResult, source: Method
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws of the first entry that varies of each parameter, from the prior and from a fit.

    Of the prior's draws only the quantiles between 5 % and 95 % are kept: a heavy tail would leave
    nothing else to be seen.
    """
    draws, model = result.estimates[source].draws, result.model
    group = draws["posterior"].to_dataset() if draws else xr.Dataset()
    posterior = _flat(group, [parameter.name for parameter in model.parameters])
    rng = np.random.default_rng(zlib.crc32(f"{result.slug} prior".encode()))
    if isinstance(model, HasOwnPrograms):
        prior = model.prior_draws(rng, 1000)
    else:
        prior = numpyro_prior(model, result.data, jax.random.split(key_of(rng), 1000))
    found: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    for name, drawn in posterior.items():
        if name not in prior:
            continue
        entries = flat_names({name: group[name].isel(chain=0, draw=0)})
        for entry, index in zip(entries, np.ndindex(drawn.shape[1:]), strict=True):
            before, after = prior[name][(..., *index)], drawn[(..., *index)]
            if not (np.allclose(before, before[0]) or np.allclose(after, after[0])):
                levels = np.linspace(0.05, 0.95, 1000)
                found[0][entry] = np.quantile(before, levels)
                places = np.linspace(0, after.size - 1, 1000).astype(int)
                found[1][entry] = after[places]
                break
    return found


def _simulated(
    model: Model, data: xr.Dataset, values: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Whole data sets."""
    n, size = units(model, data), len(next(iter(values.values())))
    points: list[Any] = [{name: x[index] for name, x in values.items()} for index in range(size)]
    sets = [model.simulate(rng, point, n) for point in points]
    return {str(name): np.stack([one[name].values for one in sets]) for name in data.data_vars}


def _conditional(
    model: Model, data: xr.Dataset, values: Mapping[str, np.ndarray], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The observed sites of the NumPyro program, and their replicates."""
    point: dict[str, Any] = {name: array[0] for name, array in values.items()}
    sites = numpyro_trace(model, data, point)
    names = [
        name
        for name, site in sites.items()
        if site["type"] == "sample" and site["is_observed"] and np.ndim(site["value"])
    ]

    def one(key: Any, at: Any) -> dict[str, Any]:
        found = numpyro_trace(model, data, at)
        keys = jax.random.split(key, len(names))
        return {name: found[name]["fn"].sample(k) for name, k in zip(names, keys, strict=True)}

    keys = jax.random.split(key_of(rng), len(next(iter(values.values()))))
    drawn = jax.jit(jax.vmap(one))(keys, dict(values))
    return (
        {name: np.asarray(sites[name]["value"]) for name in names},
        {name: np.asarray(drawn[name]) for name in names},
    )


def _thinned(flat: np.ndarray) -> np.ndarray:
    """At most REPLICATES of the draws, spread evenly."""
    return flat[np.linspace(0, len(flat) - 1, min(REPLICATES, len(flat))).round().astype(int)]


def _columns(
    data: xr.Dataset, arrays: Mapping[str, np.ndarray], leading: int = 0
) -> dict[str, np.ndarray]:
    """One entry per column of every variable, with `leading` dims before the rows."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        flat = array.reshape(*array.shape[: leading + 1], -1)
        row = array[(0,) * (leading + 1)]
        if name in data and data[name].shape[1:] == row.shape:
            row = data[name][0]
        found |= zip(flat_names({name: row}), np.moveaxis(flat, -1, 0), strict=True)
    return found
