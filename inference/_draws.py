"""From posterior draws to an estimate, and the gate that says whether they can be relied on.

Draws of exchangeable components are first aligned to one labelling: each draw takes the permutation
of components that brings it closest to a pivot (an assignment problem).  No verdict rests on draws
that fail R-hat < 1.01, ESS ≥ 400 (bulk and tail), 0 divergences, E-BFMI ≥ 0.3.
References: Vehtari et al. (2021), Bayesian Analysis 16; Stephens (2000), JRSS B 62; Betancourt
(2016), arXiv 1604.00695.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from inference._estimate import Estimate, Quantity
from inference._labels import canonical
from models._density import density, flat_names, labelled, quantities, quantity_table
from models._spec import HasLabels, Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models._density import Density
    from models._spec import Model, Values

R_HAT, ESS, E_BFMI = 1.01, 400, 0.3
"""The convergence gate."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LARGEST = 50_000_000
"""Most pointwise log-likelihoods that are kept."""


def estimate_from_draws(
    model: Model,
    data: xr.Dataset,
    draws: dict[str, Any],
    *,
    record: xr.Dataset,
    sample_stats: dict[str, Any] | None = None,
    problems: Sequence[str] = (),
) -> Estimate:
    """Summarises draws of the parameters.

    Args:
        model: the model.
        data: the data.
        draws: parameters on the natural scale, each of shape (chain, draw, …).
        record: how the fit went; quantiles and alignment are added to it.
        sample_stats: `energy`, `diverging` and the like, shape (chain, draw).
        problems: what the sampler itself found wrong.
    """
    import arviz as az

    of = density(model, data)
    shape = next(iter(draws.values())).shape[:2]
    flat = {p.name: jnp.asarray(draws[p.name]) for p in model.parameters}
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in flat.items()}
    attrs = dict(record.attrs)
    flat = _aligned(model, of, flat, shape, attrs)
    reported = jax.jit(jax.vmap(lambda values: quantities(model, values)))(flat)
    table = quantity_table(model)
    rows: dict[str, Parameter] = {p.name: p for p in (*model.parameters, *table)}
    posterior = {
        name: np.asarray(array).reshape(*shape, *array.shape[1:])
        for name, array in {**flat, **reported}.items()
    }
    groups: dict[str, Any] = {"posterior": posterior}
    if sample_stats:
        groups["sample_stats"] = sample_stats
    pointwise = shape[0] * shape[1] * of.log_likelihood(_first(of, flat)).size
    if pointwise <= _LARGEST:
        both = jax.jit(lambda u: jax.lax.map(_terms(of), u, batch_size=200))
        unit, prior = both(jax.vmap(of.unconstrain)(flat))
        groups["log_likelihood"] = {"y": np.asarray(unit).reshape(*shape, -1)}
        groups["log_prior"] = {"total": np.asarray(prior).reshape(shape)}
    coords, dims = _labels(rows, data, posterior)
    tree = az.from_dict(groups, coords=coords, dims=dims | {"y": ["unit"]})
    found = [*problems, *gate(tree)]

    summary = tree["posterior"].to_dataset()[[p.name for p in table]]
    over = ["chain", "draw"]
    mean, deviation = summary.mean(over), summary.std(over, ddof=1)
    mean_error = az.mcse(summary, method="mean").fillna(0.0)
    deviation_error = az.mcse(summary, method="sd").fillna(0.0)
    quantile = summary.quantile(np.array(QUANTILES), dim=over)
    names = flat_names({p.name: posterior[p.name][0, 0] for p in table})
    matrix = np.concatenate(
        [posterior[p.name].reshape(shape[0] * shape[1], -1) for p in table], axis=1
    )
    middle = jnp.mean(jax.vmap(of.unconstrain)(flat), axis=0)
    return Estimate(
        center=Quantity(mean, mean_error),
        spread=Quantity(deviation, deviation_error),
        log_likelihood=float(jnp.sum(of.log_likelihood(middle))),
        draws=tree,
        problems=tuple(found),
        point=labelled(model.parameters, data, of.constrain(middle)),
        covariance=xr.DataArray(
            np.atleast_2d(np.cov(matrix, rowvar=False)),
            dims=("quantity", "quantity_"),
            coords={"quantity": names, "quantity_": names},
        ),
        spread_kind="posterior_sd",
        record=xr.merge(
            [record, quantile.rename({name: f"quantile_{name}" for name in quantile.data_vars})],
            compat="override",
        ).assign_attrs(attrs),
    )


def gate(tree: xr.DataTree) -> list[str]:
    """Why draws must not be relied on, one sentence each; judged on what varies."""
    import arviz as az

    posterior = tree["posterior"].to_dataset()
    found = []
    bad = [str(n) for n, a in posterior.items() if not np.isfinite(a.data).all()]
    if bad:
        return [f"draws of {', '.join(bad)} are not finite"]
    for title, values, limit, over in (
        ("R-hat", az.rhat(posterior), R_HAT, True),
        ("bulk ESS", az.ess(posterior, method="bulk"), ESS, False),
        ("tail ESS", az.ess(posterior, method="tail"), ESS, False),
    ):
        worst, where = None, ""
        for name, array in values.items():
            moving = posterior[name].std(["chain", "draw"]).data > 1e-12
            for index in zip(*np.nonzero(np.atleast_1d(moving)), strict=True):
                value = float(np.atleast_1d(array.data)[index])
                if worst is None or (value > worst if over else value < worst):
                    place = f"[{', '.join(map(str, index))}]" if moving.ndim else ""
                    worst, where = value, f"{name}{place}"
        if worst is not None and not (worst < limit if over else worst >= limit):
            sign = "<" if over else "≥"
            found.append(f"{title} of {where} is {worst:.4g}; expected {sign} {limit}")
    if "sample_stats" in tree.children:
        stats = tree["sample_stats"].to_dataset()
        if "diverging" in stats and (count := int(stats["diverging"].sum())):
            found.append(f"{count} divergent transitions; expected 0")
        if "energy" in stats:
            energy = stats["energy"].data
            ratio = (np.diff(energy, axis=1) ** 2).mean(axis=1) / energy.var(axis=1)
            if not ratio.min() >= E_BFMI:
                found.append(f"E-BFMI is {ratio.min():.2f}; expected ≥ {E_BFMI}")
    return found


def _first(of: Density, flat: Values) -> Any:
    return of.unconstrain({name: array[0] for name, array in flat.items()})


def _terms(of: Density) -> Any:
    return lambda u: (of.log_likelihood(u), of.log_prior(u))


def _labels(
    rows: dict[str, Parameter], data: xr.Dataset, posterior: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    coords: dict[str, Any] = {}
    dims = {}
    for name, array in posterior.items():
        dims[name] = list(rows[name].dims)
        for dim, size in zip(dims[name], array.shape[2:], strict=True):
            source = dim.rstrip("_")
            coords[dim] = data.coords[source].data if source in data.coords else np.arange(size)
    return coords, dims


def _aligned(
    model: Model, of: Density, flat: Values, shape: tuple[int, ...], attrs: dict[str, Any]
) -> Values:
    """Every draw in the labelling closest to the pivot, the draw of highest likelihood."""
    exchangeable = isinstance(model, HasLabels) and model.labels > 1
    if not exchangeable or any(p.support == "ordered" for p in model.parameters):
        return flat
    import arviz as az

    def worst(values: Values) -> float:
        features = np.asarray(jax.vmap(model.label_features)(values))
        tree = az.from_dict({"posterior": {"f": features.reshape(*shape, *features.shape[1:])}})
        return float(az.rhat(tree["posterior"].to_dataset())["f"].max())

    attrs["rhat_before_alignment"] = worst(flat)
    height = jax.jit(
        lambda values: jax.lax.map(
            lambda v: jnp.sum(of.log_likelihood(of.unconstrain(v))), values, batch_size=200
        )
    )(flat)
    best = int(jnp.argmax(height))
    pivot = model.label_features(
        canonical(model, {name: array[best] for name, array in flat.items()})
    )
    features = jax.vmap(model.label_features)(flat)
    scale = features.reshape(-1, features.shape[-1]).std(axis=0)
    orders = jnp.array(list(itertools.permutations(range(model.labels))))

    def cost(feature: Any) -> Any:
        return jnp.sum(((feature[orders] - pivot) / scale) ** 2, axis=(1, 2))

    chosen = orders[jnp.argmin(jax.vmap(cost)(features), axis=1)]
    flat = jax.vmap(model.relabel)(flat, chosen)
    attrs["rhat_after_alignment"] = worst(flat)
    return flat
