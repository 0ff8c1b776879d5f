"""Draws of every method in one shape, so that they can share a figure.

ArviZ joins methods of unequal numbers of chains or draws by filling up with NaN, and then draws
nothing: all are thinned to one shape first.  A method without draws is represented by draws from
N(estimate, covariance), its sampling approximation, and is marked as such.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import numpy as np
import xarray as xr

from comparisons.reference import own_draws, positions
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
    """Draws of several methods in one shape, (CHAINS, draws, scalars).

    Those that have no draws of their own are approximated, those with problems unreliable.
    """

    draws: Mapping[Method, np.ndarray]
    approximated: frozenset[Method]
    unreliable: frozenset[Method]


@final
@dataclass(frozen=True, slots=True)
class Replicates:
    """By column, observed data and replicated ones, (replicates, rows); and by whose draws."""

    observed: Mapping[str, np.ndarray]
    replicated: Mapping[str, np.ndarray]
    source: str


def comparable(result: CaseResult, names: Sequence[str]) -> Comparable:
    """Draws of every method that reports all the scalars, thinned to the shortest."""
    own = {method: own_draws(fit, names) for method, fit in result.estimates.items()}
    flat = {
        method: draws.reshape(-1, len(names))
        for method, draws in own.items()
        if draws is not None and np.isfinite(draws).all()
    }
    size = min([_MOST, *map(len, flat.values())]) // CHAINS
    drawn = {}
    for method, fit in result.estimates.items():
        if method in flat:
            found = _thinned(flat[method], CHAINS * size)
        elif set(names) <= positions(fit).keys():
            found = _normal(fit, names, CHAINS * size)
        else:
            continue
        if np.isfinite(found).all():
            drawn[method] = found.reshape(CHAINS, size, len(names))
    troubled = frozenset(method for method in drawn if result.estimates[method].problems)
    return Comparable(drawn, frozenset(drawn) - flat.keys(), troubled)


def _thinned(flat: np.ndarray, most: int) -> np.ndarray:
    """So many of the draws, or all if there are fewer, spread evenly."""
    return flat[np.linspace(0, len(flat) - 1, min(most, len(flat))).round().astype(int)]


def _normal(estimate: Estimate, names: Sequence[str], size: int) -> np.ndarray:
    """Draws from N(estimate, covariance); a scalar of undefined sd stays where it is.

    The noise is the same for every estimate, so that equal ones look equal, and symmetric, so
    that their mean is the estimate.
    """
    location = np.concatenate([np.ravel(v.values) for v in estimate.location.value.values()])
    chosen = [positions(estimate)[name] for name in names]
    covariance = np.nan_to_num(estimate.covariance.values[np.ix_(chosen, chosen)])
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    factor = vectors * np.sqrt(np.clip(values, 0, None))
    half = np.random.default_rng(0).standard_normal((size // 2, len(names)))
    return location[chosen] + np.concatenate([half, -half]) @ factor.T


def replicates(result: CaseResult, source: Method) -> Replicates | str:
    """Data replicated at posterior draws of a fit; or why there are none.

    A user's own programs draw theirs; any other model simulates whole data sets; a model of
    several variables, some of which are known rather than modelled (standard errors, group
    labels), has its NumPyro program replicate the observed sites.
    """
    model, data = result.model, result.data
    names = [parameter.name for parameter in model.parameters]
    drawn = _flat(_posterior(result, source), names)
    if missing := [name for name in names if name not in drawn]:
        return f"{label(source)} keeps no draws of {', '.join(missing)}"
    rng = np.random.default_rng(zlib.crc32(f"{result.slug} replicates".encode()))
    values, observed = {name: _thinned(drawn[name], REPLICATES) for name in names}, {}
    try:
        if isinstance(model, HasOwnPrograms):
            replicated = model.simulated_sets(rng, values)
        elif len(data.data_vars) == 1:
            replicated = _simulated(model, data, values, rng)
        else:
            observed, replicated = _conditional(model, data, values, rng)
        observed = observed or {name: data[name].values for name in replicated}
    except (ConcordError, NotImplementedError, KeyError, TypeError, ValueError) as error:
        return f"the model could not replicate the data: {type(error).__name__}: {error}"
    return Replicates(_columns(data, observed), _columns(data, replicated, 1), label(source))


def _posterior(result: CaseResult, source: Method) -> xr.Dataset:
    draws = result.estimates[source].draws
    return xr.Dataset() if draws is None else draws["posterior"].to_dataset()


def _flat(group: xr.Dataset, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Draws of the variables that a group has, shape (chains × draws, …)."""
    kept = (name for name in names if name in group)
    arrays = {name: group[name].transpose("chain", "draw", ...).to_numpy() for name in kept}
    return {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}


def prior_and_posterior(
    result: CaseResult, source: Method
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws of the first entry that varies of each parameter, from the prior and from a fit.

    Of the prior's draws only the quantiles between 5 % and 95 % are kept: a heavy tail would leave
    nothing else to be seen.
    """
    model, group = result.model, _posterior(result, source)
    rng = np.random.default_rng(zlib.crc32(f"{result.slug} prior".encode()))
    if isinstance(model, HasOwnPrograms):
        prior = model.prior_draws(rng, 1000)
    else:
        prior = numpyro_prior(model, result.data, jax.random.split(key_of(rng), 1000))
    found: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    names = [parameter.name for parameter in model.parameters if parameter.name in prior]
    for name, drawn in _flat(group, names).items():
        entries = flat_names({name: group[name].isel(chain=0, draw=0)})
        for entry, index in zip(entries, np.ndindex(drawn.shape[1:]), strict=True):
            before, after = prior[name][(..., *index)], drawn[(..., *index)]
            if not (np.allclose(before, before[0]) or np.allclose(after, after[0])):
                found[0][entry] = np.quantile(before, np.linspace(0.05, 0.95, 1000))
                found[1][entry] = after[np.linspace(0, after.size - 1, 1000).astype(int)]
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
    observed = {
        name: np.asarray(site["value"])
        for name, site in numpyro_trace(model, data, point).items()
        if site["type"] == "sample" and site["is_observed"] and np.ndim(site["value"])
    }

    def one(key: Any, at: Any) -> dict[str, Any]:
        found = numpyro_trace(model, data, at)
        keys = jax.random.split(key, len(observed))
        return {name: found[name]["fn"].sample(k) for name, k in zip(observed, keys, strict=True)}

    keys = jax.random.split(key_of(rng), len(next(iter(values.values()))))
    drawn = jax.jit(jax.vmap(one))(keys, dict(values))
    return observed, {name: np.asarray(drawn[name]) for name in observed}


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
