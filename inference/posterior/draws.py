"""From posterior draws to an estimate: one labelling, moments with their errors, and the gate.

Exchangeable components are given one labelling first, that of the best draw.  Every mean and sd
carries its Monte Carlo standard error, and that of the law itself where the draws come from an
estimated one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from inference.estimate import Estimate, Quantity, named_covariance
from inference.posterior.diagnostics import divergences, gate, moments, not_finite, worst
from inference.posterior.labels import align, canonical, exchangeable
from inference.posterior.points import each, reported, terms, to_unconstrained
from models.errors import FitError
from models.programs.adopted.model import AdoptedModel
from models.programs.density import density, flat_names, labelled, quantity_table, units
from models.spec import Model, Parameter, Values

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHAINS = 4  # pseudo-chains of independent draws, for the sake of one shape with the samplers
_POINTWISE = 4_000  # about how many draws keep the log-likelihood of each unit: evenly spaced ones
_SUMMED = 20_000_000  # most of them that are summed to find the best draw
_LARGEST = 50_000_000  # most pointwise log-likelihoods that are kept


def estimate_from_draws(
    model: Model,
    data: xr.Dataset,
    draws: Mapping[str, ArrayLike],
    *,
    record: xr.Dataset,
    sample_stats: Mapping[str, np.ndarray] | None = None,
    repeated: Mapping[str, ArrayLike] | None = None,
    problems: Sequence[str] = (),
) -> Estimate:
    """The estimate that posterior draws make.

    Args:
        model: the model.
        data: the data.
        draws: every parameter on the natural scale, shape (chain, draw, …).
        record: how the fit went; quantiles and diagnostics are added to it.
        sample_stats: (chain, draw) by ArviZ's names, if it is a Markov chain, held to the gate.
        repeated: one set of base draws through each of several equally good estimates of their law,
            shape (estimate, draw, …); the scatter of their moments is added to the errors.
        problems: those that are known already.
    """
    drawn = _drawn(model, data, draws)
    scalars = reported(model)(drawn.values)
    flat, one = _flat(scalars, drawn.shape), {name: x[0] for name, x in scalars.items()}
    numbers, table = moments(flat), quantity_table(model)
    if repeated is not None:
        numbers = _with_scatter(model, numbers, repeated, drawn.pivot)
    mean, mean_error, sd, sd_error = (labelled(table, data, by_name(x, one)) for x in numbers)
    names = flat_names({name: mean[name] for name in scalars})
    found, diagnostics = [*problems, *not_finite(flat, names)], drawn.diagnostics
    if sample_stats is not None:
        diagnostics = diagnostics | worst(flat)
        if note := divergences(flat, sample_stats)[1]:
            diagnostics["note"] = note
        found += gate(flat, names, sample_stats)
    point, log_likelihood = _point(model, data, drawn)
    quantiles = _quantiles(model, data, by_name(np.quantile(flat, QUANTILES, axis=(0, 1)), one))
    covariance = np.atleast_2d(np.cov(flat.reshape(-1, flat.shape[2]), rowvar=False))
    return Estimate(
        location=Quantity(mean, mean_error),
        sd=Quantity(sd, sd_error),
        log_likelihood=log_likelihood,
        draws=_tree(model, data, drawn, scalars, sample_stats),
        problems=tuple(found),
        point=labelled(model.parameters, data, point),
        covariance=named_covariance(covariance, names),
        sd_kind="posterior_sd",
        record=record.merge(quantiles).assign_attrs(diagnostics),
    )


def _integrated(model: Model) -> tuple[Parameter, ...]:
    return model.integrated if isinstance(model, AdoptedModel) else ()


def _quantiles(model: Model, data: xr.Dataset, found: Mapping[str, np.ndarray]) -> xr.Dataset:
    table = quantity_table(model)
    rows = [Parameter(f"quantile_{p.name}", p.support, ("quantile", *p.dims)) for p in table]
    named = labelled(rows, data, {f"quantile_{name}": x for name, x in found.items()})
    return named.assign_coords(quantile=np.array(QUANTILES))


class _Drawn(NamedTuple):
    """Draws in one labelling, s of them, that of the best one, which is the pivot."""

    values: Any  # by parameter, shape (s, …)
    shape: tuple[int, ...]  # (chain, draw)
    points: np.ndarray  # unconstrained, shape (s, k)
    median: float  # of ℓ, nats
    log_prior: np.ndarray
    pivot: Values
    highest: float  # ℓ there, nats
    diagnostics: dict[str, Any]


def _drawn(model: Model, data: xr.Dataset, draws: Mapping[str, ArrayLike]) -> _Drawn:
    values, shape = _rows(model, draws)
    target, n = density(model, data), units(model, data)
    points = to_unconstrained(target, values)
    step = -(-len(points) * n // _SUMMED)  # of many units, evenly spaced draws tell the best
    log_likelihood, log_prior, _ = terms(target).totals(points[::step])
    log_density = log_likelihood + log_prior
    if not np.isfinite(log_density).any():
        raise FitError(f"{model.name}: the density is finite at none of {log_density.size} draws")
    best = int(np.argmax(np.where(np.isfinite(log_density), log_density, -np.inf)))
    pivot = canonical(model, {name: x[step * best] for name, x in values.items()})
    if step > 1:
        log_prior = each(target.log_prior)(points)
    ends = float(np.median(log_likelihood)), float(log_likelihood[best])
    diagnostics: dict[str, Any] = {}
    if exchangeable(model):
        diagnostics = worst(_flat(reported(model)(values), shape), "_unaligned")
        values = align(model, values, pivot)
        points = to_unconstrained(target, values)
    return _Drawn(values, shape, points, ends[0], log_prior, pivot, ends[1], diagnostics)


def _point(model: Model, data: xr.Dataset, drawn: _Drawn) -> tuple[Values, float]:
    """The mean of the draws, or the best of them where that is in no mode; and ℓ there."""
    target, middle = density(model, data), drawn.points.mean(axis=0)
    at_mean = float(terms(target).totals(middle[None])[0][0])
    if at_mean >= drawn.median:
        return target.constrain(jnp.asarray(middle)), at_mean
    return drawn.pivot, drawn.highest


def thinning(draws: int, n: int) -> int:
    """One of so many draws of a Markov chain keeps the log-likelihood of its n units."""
    return max(1, draws // _POINTWISE, -(-draws * n // _LARGEST))


def _rows(model: Model, draws: Mapping[str, ArrayLike]) -> tuple[Any, tuple[int, ...]]:
    """Parameters of shape (s, …) from shape (chain, draw, …), and (chain, draw)."""
    latent = [p for p in _integrated(model) if p.name in draws]
    drawn = {p.name: np.asarray(draws[p.name]) for p in (*model.parameters, *latent)}
    shape = next(iter(drawn.values())).shape[:2]
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in drawn.items()}, shape


def _tree(
    model: Model,
    data: xr.Dataset,
    drawn: _Drawn,
    scalars: Values,
    sample_stats: Mapping[str, np.ndarray] | None,
) -> xr.DataTree:
    """The draws as ArviZ's groups; of a chain, with each unit's ℓ at evenly spaced draws."""
    groups = {
        "posterior": posterior_group(model, data, {**drawn.values, **scalars}, drawn.shape),
        "log_prior": sampled({"log_prior": drawn.log_prior.reshape(drawn.shape)}),
        "observed_data": data,
    }
    if sample_stats is not None:
        groups["sample_stats"] = sampled(sample_stats)
        groups["log_likelihood"] = pointwise(model, data, drawn.points.reshape(*drawn.shape, -1))
    return xr.DataTree.from_dict(groups)


def pointwise(model: Model, data: xr.Dataset, points: np.ndarray) -> xr.Dataset:
    """log p(x_i | θ) at evenly spaced draws of a Markov chain, dims (chain, draw, unit).

    The draws are in the unconstrained space, shape (chain, draw, k).
    """
    n, k = units(model, data), points.shape[2]
    step = thinning(points.shape[0] * points.shape[1], n)
    kept = points[:, ::step]
    unit = np.asarray(terms(density(model, data)).pointwise(kept.reshape(-1, k)))
    return sampled({"y": unit.reshape(*kept.shape[:2], n)}, "unit", step=step)


def _with_scatter(
    model: Model, numbers: Sequence[np.ndarray], repeated: Mapping[str, ArrayLike], pivot: Values
) -> list[np.ndarray]:
    """Moments and their errors, which also hold the scatter of those of repeated estimates."""
    values, shape = _rows(model, repeated)
    if exchangeable(model):
        values = align(model, values, pivot)
    again, (mean, mean_error, sd, sd_error) = _flat(reported(model)(values), shape), numbers
    means, sds = again.mean(axis=1).std(axis=0, ddof=1), again.std(axis=1, ddof=1)
    scatter = sds.std(axis=0, ddof=1)
    return [mean, np.hypot(mean_error, means), sd, np.hypot(sd_error, scatter)]


def _flat(scalars: Values, shape: tuple[int, ...]) -> np.ndarray:
    """Arrays of shape (s, …) as scalars, shape (chain, draw, m)."""
    columns = [np.asarray(x).reshape(*shape, -1) for x in scalars.values()]
    return np.concatenate(columns, axis=-1)


def by_name(flat: np.ndarray, like: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Scalars, shape (…, m), by name with the trailing shapes of the arrays of one point."""
    shapes = {name: np.shape(x) for name, x in like.items()}
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    parts = zip(shapes.items(), np.split(flat, stops, axis=-1), strict=True)
    return {name: part.reshape((*flat.shape[:-1], *shape)) for (name, shape), part in parts}


def posterior_group(
    model: Model, data: xr.Dataset, values: Values, shape: tuple[int, ...]
) -> xr.Dataset:
    """Parameters and quantities as a group with dims (chain, draw, …); a name that is both once.

    Args:
        model: the model.
        data: the data, for coordinates of dims.
        values: both by name, with a leading dimension of draws, chain after chain.
        shape: (chains, draws).
    """
    latent = [p for p in _integrated(model) if p.name in values]
    table = {p.name: p for p in (*model.parameters, *quantity_table(model), *latent)}
    rows = [Parameter(p.name, p.support, ("chain", "draw", *p.dims)) for p in table.values()]
    arrays = {name: jnp.reshape(values[name], (*shape, *values[name].shape[1:])) for name in table}
    steps = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    return labelled(rows, data, arrays).assign_coords(steps)


def sampled(arrays: Mapping[str, np.ndarray], *dims: str, step: int = 1) -> xr.Dataset:
    """Arrays of shape (chain, draw, …), of every `step`-th draw, as a Dataset."""
    shape = next(iter(arrays.values())).shape
    return xr.Dataset(
        {name: (("chain", "draw", *dims), np.asarray(x)) for name, x in arrays.items()},
        {"chain": np.arange(shape[0]), "draw": step * np.arange(shape[1])},
    )
