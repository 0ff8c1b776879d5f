"""From posterior draws to an estimate: one labelling, moments with their errors, and the gate.

Exchangeable components are given one labelling first: with the best draw as pivot, each draw takes
the permutation π that minimises Σ_j |f_π(j) − f_j(pivot)|² over the standardised features f of its
components, an assignment problem.  Every mean and sd carries its Monte Carlo standard error, and
that of the law itself where the draws come from an estimated one.  A Markov chain is held to
R-hat < 1.01, bulk and tail ESS ≥ 400, no divergence and E-BFMI ≥ 0.3.
References: Stephens (2000), JRSS B 62 (labels); Vehtari, Gelman, Simpson, Carpenter & Bürkner
(2021), Bayesian Analysis 16 (R-hat, ESS, MCSE); Betancourt (2016), arXiv:1604.00695 (E-BFMI).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from inference.estimate import Estimate, Quantity
from inference.posterior.labels import canonical
from models.capabilities import HasLabels, HasSigns
from models.errors import FitError
from models.programs.compilation import once
from models.programs.density import density, flat_names, labelled, quantities, quantity_table, units
from models.spec import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jax import Array
    from jax.typing import ArrayLike

    from models.programs.density import Density
    from models.spec import Model, Values

R_HAT, ESS, E_BFMI = 1.01, 400, 0.3
"""The convergence gate."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHAINS = 4
"""Pseudo-chains of independent draws, for the sake of one shape with the samplers."""
_POINTWISE = 4_000
"""About how many draws keep the log-likelihood of each unit: evenly spaced ones."""
_LARGEST = 50_000_000
"""Most pointwise log-likelihoods that are kept."""
_AT_ONCE = 5_000_000
"""Most pointwise log-likelihoods in memory at a time while they are only summed."""


_CHUNK = 2_000
"""Draws per call of a compiled function: one shape, so that any number of draws compiles once."""


def _chunked(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of arrays with a leading axis of draws, compiled for `_CHUNK` of them.

    The last chunk is filled by repeating draws, which are then dropped.
    """
    compiled = jax.jit(function)

    def of_any_number(arrays: Any) -> Any:
        count = int(jnp.shape(jax.tree.leaves(arrays)[0])[0])
        whole = -(-count // _CHUNK) * _CHUNK
        filled = jax.tree.map(lambda x: np.resize(x, (whole, *np.shape(x)[1:])), arrays)
        parts = [
            compiled(jax.tree.map(lambda x, at=at: x[at : at + _CHUNK], filled))
            for at in range(0, whole, _CHUNK)
        ]
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    return of_any_number


class _Terms(NamedTuple):
    """Terms of a density at many points, functions of an array of shape (s, k)."""

    totals: Callable[[ArrayLike], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """Log-likelihood, log prior and log-Jacobian, each of shape (s,)."""
    pointwise: Callable[[ArrayLike], np.ndarray]
    """log p(x_i | θ), shape (s, N)."""


@lru_cache(maxsize=64)
def terms(target: Density, n: int) -> _Terms:
    """The compiled terms of a density of n units, which all who ask for them share."""
    batch = max(1, min(256, _AT_ONCE // n))

    def totals(u: Array) -> tuple[Array, Array, Array]:
        return jnp.sum(target.log_likelihood(u)), target.log_prior(u), target.log_jacobian(u)

    return _Terms(
        _chunked(lambda points: jax.lax.map(totals, points, batch_size=batch)),
        _chunked(lambda points: jax.lax.map(target.log_likelihood, points, batch_size=batch)),
    )


@lru_cache(maxsize=64)
def _unconstrained(target: Density) -> Callable[[Any], np.ndarray]:
    return _chunked(jax.vmap(target.unconstrain))


@lru_cache(maxsize=64)
def _constrained(target: Density) -> Callable[[ArrayLike], dict[str, np.ndarray]]:
    return _chunked(jax.vmap(target.constrain))


def natural(target: Density, points: np.ndarray) -> dict[str, np.ndarray]:
    """Draws on the natural scale, shape (chain, draw, …), from the chart, (chain, draw, k)."""
    shape = points.shape[:2]
    values = _constrained(target)(points.reshape(-1, target.size))
    return {name: np.reshape(x, (*shape, *x.shape[1:])) for name, x in values.items()}


def chart(target: Density, values: Mapping[str, ArrayLike]) -> np.ndarray:
    """Draws in the chart, shape (s, k), from the natural scale, (s, …)."""
    return _unconstrained(target)(dict(values))


@lru_cache(maxsize=64)
def _reported(model: Model) -> Callable[[Values], Values]:
    """Parameters of many points ↦ what is reported of them, in the order of its table."""

    def one(values: Values) -> Values:
        found = quantities(model, values)
        return {parameter.name: found[parameter.name] for parameter in quantity_table(model)}

    return _chunked(jax.vmap(one))


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

    `log_likelihood` is taken at the mean of the draws in the unconstrained chart, or at the best
    draw where the draws lie in several modes and their mean in none.

    Args:
        model: the model.
        data: the data.
        draws: every parameter on the natural scale, shape (chain, draw, …).
        record: how the fit went; quantiles and diagnostics are added to it.
        sample_stats: of a Markov chain, by ArviZ's names, each of shape (chain, draw); its draws
            must pass the gate, and evenly spaced ones keep the log-likelihood of each unit.
            None: the draws are independent.
        repeated: one set of base draws through each of several equally good estimates of the law
            that `draws` come from, shape (estimate, draw, …); the spread of their moments is added
            to the errors.
        problems: what is known to be wrong already.

    Raises:
        FitError: the density is finite at no draw.
    """
    drawn = {p.name: np.asarray(draws[p.name]) for p in model.parameters}
    shape = next(iter(drawn.values())).shape[:2]
    values: Any = {name: x.reshape(-1, *x.shape[2:]) for name, x in drawn.items()}
    target, n = density(model, data), units(model, data)
    points = chart(target, values)
    log_likelihood, log_prior, _ = terms(target, n).totals(points)
    height = log_likelihood + log_prior
    if not np.isfinite(height).any():
        raise FitError(f"{model.name}: the density is finite at none of {height.size} draws")
    best = int(np.argmax(np.where(np.isfinite(height), height, -np.inf)))
    pivot = canonical(model, {name: x[best] for name, x in values.items()})
    diagnostics: dict[str, float] = {}
    if _exchangeable(model):
        diagnostics |= _worst(_flat(_reported(model)(values), shape), "_unaligned")
        values = align(model, values, pivot)
        points = chart(target, values)
    reported = _reported(model)(values)
    flat = _flat(reported, shape)
    table = quantity_table(model)
    names = flat_names({name: x[0] for name, x in reported.items()})
    found = [*problems, *not_finite(flat, names)]
    groups = {
        "posterior": _posterior(model, data, {**values, **reported}, shape),
        "log_prior": _sampled({"log_prior": log_prior.reshape(shape)}),
        "observed_data": data,
    }
    if sample_stats is not None:
        diagnostics |= _worst(flat)
        found += gate(flat, names, sample_stats)
        groups["sample_stats"] = _sampled(sample_stats)
        step = thinning(height.size, n)
        kept = points.reshape(*shape, target.size)[:, ::step]
        unit = np.asarray(terms(target, n).pointwise(kept.reshape(-1, target.size)))
        groups["log_likelihood"] = _sampled(
            {"y": unit.reshape(*kept.shape[:2], n)}, "unit", step=step
        )
    middle = points.mean(axis=0)
    point = target.constrain(jnp.asarray(middle))
    at_point = float(terms(target, n).totals(middle[None])[0][0])
    if not at_point >= np.median(log_likelihood):
        point, at_point = pivot, float(log_likelihood[best])
    found_moments = list(moments(flat))
    if repeated is not None:
        for place, scatter in zip((1, 3), _scatter(model, repeated, pivot), strict=True):
            found_moments[place] = np.hypot(found_moments[place], scatter)
    mean, mean_error, deviation, deviation_error = (
        labelled(table, data, _by_name(moment, reported)) for moment in found_moments
    )
    quantiles = _by_name(np.quantile(flat, QUANTILES, axis=(0, 1)), reported)
    rows = [Parameter(f"quantile_{p.name}", p.support, ("quantile", *p.dims)) for p in table]
    quantile = labelled(rows, data, {f"quantile_{name}": x for name, x in quantiles.items()})
    record = record.merge(quantile.assign_coords(quantile=np.array(QUANTILES)))
    return Estimate(
        location=Quantity(mean, mean_error),
        sd=Quantity(deviation, deviation_error),
        log_likelihood=at_point,
        draws=xr.DataTree.from_dict(groups),
        problems=tuple(found),
        point=labelled(model.parameters, data, point),
        covariance=xr.DataArray(
            np.atleast_2d(np.cov(flat.reshape(-1, flat.shape[2]), rowvar=False)),
            dims=("quantity", "quantity_"),
            coords={"quantity": names, "quantity_": names},
        ),
        sd_kind="posterior_sd",
        record=record.assign_attrs(diagnostics),
    )


def thinning(draws: int, n: int) -> int:
    """Of every how many draws of a Markov chain the log-likelihood of n units is kept."""
    return max(1, draws // _POINTWISE, -(-draws * n // _LARGEST))


# --- labels -------------------------------------------------------------------------------------


def _exchangeable(model: Model) -> bool:
    """Whether components can switch labels; an ordered parameter forbids it."""
    ordered = any(parameter.support == "ordered" for parameter in model.parameters)
    return isinstance(model, HasLabels) and model.labels > 1 and not ordered


def align(model: Model, values: Values, pivot: Values) -> Values:
    """Every draw with its components in the order of those of the pivot; arrays (s, …)."""
    assert isinstance(model, HasLabels)
    features = np.asarray(jax.vmap(model.label_features)(values))
    scale = features.std(axis=(0, 1))
    features = features / np.where(scale > 0, scale, 1.0)
    wanted = np.asarray(model.label_features(pivot)) / np.where(scale > 0, scale, 1.0)
    # cost[s, j, i] is that of taking component i of draw s as component j
    cost = ((wanted[:, None] - features[:, None]) ** 2).sum(axis=-1)
    cost = np.nan_to_num(cost, nan=0.0, posinf=0.0)
    permutation = np.stack([linear_sum_assignment(matrix)[1] for matrix in cost])
    return once(jax.vmap(model.relabel))(values, jnp.asarray(permutation))


@lru_cache(maxsize=64)
def _folded(model: HasSigns) -> Callable[[Any], Any]:
    return _chunked(jax.vmap(model.fold))


def fold(model: HasSigns, values: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Every draw with its signs positive; arrays (s, …)."""
    return _folded(model)(dict(values))


def one_fold(
    model: Model, target: Density, points: np.ndarray, pivot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The equal of each point in one of the folds that signs or labels make.

    Args:
        model: the model.
        target: its density.
        points: shape (s, k), in the chart.
        pivot: the point, shape (k,), that the labels are aligned to.

    Returns:
        The equal points, shape (s, k), and whether each is the point itself, shape (s,).
    """
    if not isinstance(model, HasSigns) and not _exchangeable(model):
        return points, np.ones(len(points), bool)
    values: Any = {name: x[0] for name, x in natural(target, points[None]).items()}
    if isinstance(model, HasSigns):
        equal: Any = fold(model, values)
    else:
        equal = align(model, values, target.constrain(jnp.asarray(pivot)))
    same = [(equal[name] == x).reshape(len(points), -1).all(axis=1) for name, x in values.items()]
    return chart(target, equal), np.logical_and.reduce(same)


# --- the gate -----------------------------------------------------------------------------------


def gate(
    flat: np.ndarray, names: Sequence[str], sample_stats: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Why the draws of a Markov chain must not be relied on, one sentence each.

    Args:
        flat: the reported scalars, shape (chain, draw, m); those that never move are not judged.
        names: their flat names, length m.
        sample_stats: by ArviZ's names, each of shape (chain, draw).
    """
    found = []
    moving = np.flatnonzero(_moving(flat))
    if moving.size:
        r_hat, bulk, tail = _diagnostics(flat[..., moving])
        if not r_hat.max() < R_HAT:
            worst = int(r_hat.argmax())
            found.append(
                f"the chains disagree: R-hat of {names[moving[worst]]} is {r_hat[worst]:.3f}; "
                f"expected below {R_HAT}"
            )
        for part, size in (("bulk", bulk), ("tail", tail)):
            if not size.min() >= ESS:
                worst = int(size.argmin())
                found.append(
                    f"too few effective draws: {part} ESS of {names[moving[worst]]} is "
                    f"{size[worst]:.0f}; expected at least {ESS}"
                )
    if "diverging" in sample_stats and (count := int(np.sum(sample_stats["diverging"]))):
        found.append(
            f"{count} of {flat.shape[0] * flat.shape[1]} transitions diverged; expected none"
        )
    if "energy" in sample_stats:
        energy = np.asarray(sample_stats["energy"])
        fraction = np.mean(np.diff(energy, axis=1) ** 2, axis=1) / np.var(energy, axis=1)
        if not fraction.min() >= E_BFMI:
            found.append(
                f"the energy is explored too slowly: E-BFMI of chain {int(fraction.argmin())} is "
                f"{fraction.min():.2f}; expected at least {E_BFMI}"
            )
    return tuple(found)


def not_finite(flat: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """The sentence about draws that are not finite numbers, if there are any."""
    bad = ~np.isfinite(flat)
    if not bad.any():
        return ()
    first = int(bad.any(axis=(0, 1)).argmax())
    return (f"{names[first]} is not a finite number in {int(bad[..., first].sum())} draws",)


def _moving(flat: np.ndarray) -> np.ndarray:
    """Which scalars are finite and vary beyond rounding, shape (m,)."""
    rows = flat.reshape(-1, flat.shape[-1])
    with np.errstate(invalid="ignore"):
        return np.isfinite(rows).all(axis=0) & (
            np.ptp(rows, axis=0) > 1e-12 * abs(rows).max(axis=0)
        )


def _diagnostics(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R-hat, bulk ESS and tail ESS of every scalar, each of shape (m,)."""
    from arviz_stats.base.array import array_stats

    axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
    r_hat = array_stats.rhat(flat, **axes)
    bulk = array_stats.ess(flat, method="bulk", **axes)
    tail = array_stats.ess(flat, method="tail", prob=(0.05, 0.95), **axes)
    return np.asarray(r_hat), np.asarray(bulk), np.asarray(tail)


def _worst(flat: np.ndarray, suffix: str = "") -> dict[str, float]:
    """The largest R-hat and the smallest ESS of what moves; nothing if nothing does."""
    moving = _moving(flat)
    if not moving.any():
        return {}
    r_hat, bulk, tail = _diagnostics(flat[..., moving])
    ess = float(min(bulk.min(), tail.min()))
    return {f"rhat{suffix}": float(r_hat.max()), f"ess{suffix}": ess}


def effective_size(flat: np.ndarray) -> float:
    """Smallest bulk or tail ESS of what moves in scalars (chain, draw, m); ∞ if nothing does."""
    return _worst(flat).get("ess", np.inf)


# --- summaries ----------------------------------------------------------------------------------


def moments(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its Monte Carlo error, sd and its error of scalars, shape (chain, draw, m).

    What never moves has no error; what is not finite has an undefined one.
    """
    from arviz_stats.base.array import array_stats

    moving = _moving(flat)
    errors = np.where(np.isfinite(flat).all(axis=(0, 1)), 0.0, np.nan)[None].repeat(2, axis=0)
    if moving.any():
        for row, method in zip(errors, ("mean", "sd"), strict=True):
            row[moving] = array_stats.mcse(
                flat[..., moving], chain_axis=0, draw_axis=1, method=method
            )
    with np.errstate(invalid="ignore"):
        mean, deviation = flat.mean(axis=(0, 1)), flat.std(axis=(0, 1), ddof=1)
    return mean, errors[0], np.where(moving | np.isnan(deviation), deviation, 0.0), errors[1]


def _scatter(
    model: Model, repeated: Mapping[str, ArrayLike], pivot: Values
) -> tuple[np.ndarray, np.ndarray]:
    """Sds over estimates of a law, which share base draws, of the means and sds of the scalars."""
    drawn = {p.name: np.asarray(repeated[p.name]) for p in model.parameters}
    shape = next(iter(drawn.values())).shape[:2]
    values: Any = {name: x.reshape(-1, *x.shape[2:]) for name, x in drawn.items()}
    if _exchangeable(model):
        values = align(model, values, pivot)
    flat = _flat(_reported(model)(values), shape)
    means, deviations = flat.mean(axis=1), flat.std(axis=1, ddof=1)
    return means.std(axis=0, ddof=1), deviations.std(axis=0, ddof=1)


def _flat(reported: Values, shape: tuple[int, ...]) -> np.ndarray:
    """Arrays of shape (s, …) as scalars, shape (chain, draw, m)."""
    columns = [np.asarray(x).reshape(*shape, -1) for x in reported.values()]
    return np.concatenate(columns, axis=-1)


def _by_name(flat: np.ndarray, like: Values) -> dict[str, np.ndarray]:
    """Scalars, shape (…, m), by name with the trailing shapes of arrays of shape (s, …)."""
    stops = np.cumsum([int(np.prod(x.shape[1:])) for x in like.values()])[:-1]
    return {
        name: part.reshape((*flat.shape[:-1], *x.shape[1:]))
        for (name, x), part in zip(like.items(), np.split(flat, stops, axis=-1), strict=True)
    }


def _posterior(
    model: Model, data: xr.Dataset, values: Values, shape: tuple[int, ...]
) -> xr.Dataset:
    """Parameters and quantities with dims (chain, draw, …); a name that is both appears once."""
    table = {p.name: p for p in (*model.parameters, *quantity_table(model))}
    rows = [Parameter(p.name, p.support, ("chain", "draw", *p.dims)) for p in table.values()]
    arrays = {name: jnp.reshape(values[name], (*shape, *values[name].shape[1:])) for name in table}
    steps = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    return labelled(rows, data, arrays).assign_coords(steps)


def _sampled(arrays: Mapping[str, np.ndarray], *dims: str, step: int = 1) -> xr.Dataset:
    """Arrays of shape (chain, draw, …), of every `step`-th draw, as a Dataset."""
    shape = next(iter(arrays.values())).shape
    return xr.Dataset(
        {name: (("chain", "draw", *dims), np.asarray(x)) for name, x in arrays.items()},
        {"chain": np.arange(shape[0]), "draw": step * np.arange(shape[1])},
    )
