"""A model's graph, replicated data sets beside the data, the prior beside the posterior.

The graph says what the factor of each site depends on, as read off the NumPyro program.
"""

from collections.abc import Mapping

import arviz_plots as azp
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.interpreters.partial_eval import dce_jaxpr
from matplotlib.figure import Figure

from comparisons.report.draws import Replicates
from comparisons.report.figures import canvas
from models.capabilities import HasOwnPrograms
from models.programs.numpyro import numpyro_terms
from models.spec import Model, Values

_NODES = 8
"""Sites side by side."""
_SETS = 20
"""Replicated data sets in a figure."""
_BANDWIDTH = {"bw": "scott"}


def parents(model: Model, data: xr.Dataset) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The parameters that each site's density depends on beside its own value; what is observed.

    Nothing is computed: of the traced program, what each density does not need is left out.
    """
    if isinstance(model, HasOwnPrograms):
        program = model.adopted.named
        start = {site.name: jnp.zeros(site.unconstrained) for site in program.sites}

        def terms(parts: Values) -> tuple[Values, Values]:
            found = program.at(parts)
            return found.prior, {**found.likelihood, **found.factors}

    else:
        start = model.start(np.random.default_rng(0), data)

        def terms(parts: Values) -> tuple[Values, Values]:
            return numpyro_terms(model, data, parts)

    traced, (prior, likelihood) = jax.make_jaxpr(terms, return_shape=True)(start)
    sites = [*sorted(prior), *sorted(likelihood)]
    found = {}
    for place, site in enumerate(sites):
        _, needed = dce_jaxpr(traced.jaxpr, [i == place for i in range(len(sites))])
        names = zip(sorted(start), needed, strict=True)
        found[site] = tuple(name for name, used in names if used and name != site)
    return found, frozenset(likelihood)


def levels(graph: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """How many arrows at most lead to each site; a cycle is entered at its first one."""
    found: dict[str, int] = {}
    while left := [site for site in graph if site not in found]:
        for site in [s for s in left if found.keys() >= set(graph[s])] or left[:1]:
            found[site] = 1 + max((found.get(name, -1) for name in graph[site]), default=-1)
    return found


@canvas.drawing()
def graph(
    parents: Mapping[str, tuple[str, ...]], observed: frozenset[str]
) -> canvas.Picture | None:
    """The sites of the program and what each one's density depends on."""
    rows: dict[int, list[str]] = {}
    for site, level in levels(parents).items():
        rows.setdefault(level, []).append(site)
    wide = max(map(len, rows.values()), default=0)
    if not 0 < wide <= _NODES:
        return None
    places = {
        site: ((i + 0.5) * wide / len(row), -level)
        for level, row in rows.items()
        for i, site in enumerate(row)
    }
    arrow = {"arrowstyle": "->", "shrinkA": 11, "shrinkB": 11, "lw": 0.8}
    box = {"boxstyle": "round,pad=0.45", "linewidth": 0.8}
    figure = Figure(figsize=(max(2.5, 1.6 * wide), 0.75 * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(0.5 - len(rows), 0.5))
    axes.set_axis_off()
    for site, above in parents.items():
        for parent in above:
            axes.annotate("", places[site], places[parent], arrowprops=arrow)
        ground = {"facecolor": "#d5dce4" if site in observed else "white"}
        text = canvas.literal(site, 24)
        axes.text(*places[site], text, ha="center", va="center", bbox={**box, **ground})
    told = (f"{site} depends on {', '.join(p) or 'nothing'}" for site, p in parents.items())
    return canvas.picture(
        figure,
        "graph",
        f"Graph of the model: {'; '.join(told)}",
        "What the density of each site depends on; grey is observed.",
    )


@canvas.drawing()
def predictive(replicates: Replicates) -> canvas.Picture | None:
    """Densities of replicated data against the data's; of counts, distribution functions."""
    columns = _varying(replicates)
    if not columns:
        return None
    predicted, observed, counts = {}, {}, False
    for title, name in zip(canvas.unique(columns), columns, strict=True):
        row, data, sets = f"row of {title}", replicates.observed[name], replicates.replicated[name]
        predicted[title], observed[title] = (("chain", "draw", row), sets[None]), ((row,), data)
        counts |= not ((data % 1).any() or (sets % 1).any())
    groups = {"posterior_predictive": xr.Dataset(predicted), "observed_data": xr.Dataset(observed)}
    figure = canvas.arviz(
        azp.plot_ppc_dist,
        xr.DataTree.from_dict(groups),
        (canvas.WIDTH, 2.3 * ((len(columns) + 1) // 2)),
        kind="ecdf" if counts else "kde",
        num_samples=_SETS,
        stats={} if counts else dict.fromkeys(("predictive_dist", "observed_dist"), _BANDWIDTH),
        col_wrap=min(2, len(columns)),
        visuals={
            "predictive_dist": {"alpha": 0.5, "width": 0.7, "color": canvas.COLOURS[4]},
            "observed_dist": {"color": "#000000", "width": 1.8},
        },
    )
    figure.subplots_adjust(0.04, 0.12, 0.98, 0.88, hspace=0.4)
    for axes, name in zip(figure.axes, columns, strict=False):
        data = replicates.observed[name]
        middle, half = np.median(data), 1.25 * np.ptp(data)
        axes.set_xlim(middle - half, middle + half)
    shown = "Distribution function" if counts else "Density"
    return canvas.picture(
        figure,
        "predictive",
        f"{shown} of the data and of {_SETS} data sets replicated from {replicates.source}, "
        f"for {', '.join(columns)}.",
        f"{shown}; black: the data, blue: {_SETS} data sets replicated at posterior draws of "
        f"{replicates.source}. Data that leave the bundle do not fit the model.",
    )


def _varying(replicates: Replicates) -> list[str]:
    varying = [name for name, values in replicates.observed.items() if np.ptp(values) > 0]
    return varying[: canvas.COLUMNS]


@canvas.drawing()
def pit(replicates: Replicates) -> canvas.Picture | None:
    """Where the data lie among their replicates, against the uniform distribution."""
    data, columns = replicates.observed, _varying(replicates)
    if not columns:
        return None
    columns = [name for name in columns if data[name].size == data[columns[0]].size]
    ranks = [_transforms(data[name], replicates.replicated[name]) for name in columns]
    figure = canvas.arviz(
        azp.plot_ecdf_pit,
        canvas.tree(columns, np.stack(ranks, axis=-1)[None]),
        (canvas.WIDTH, 2.3),
        group="posterior",
        col_wrap=len(columns),
    )
    figure.subplots_adjust(0.09, 0.22, 0.98, 0.85, 0.35)
    return canvas.picture(
        figure,
        "pit",
        "Difference between the distribution of the probability integral transforms of "
        f"{', '.join(columns)} under {replicates.source} and the uniform one.",
        "Share of the replicates below each datum (ties at random), less the uniform one. The "
        "data chose the posterior, so it is flatter than for new data; p is small where the "
        "model does not fit.",
    )


def _transforms(observed: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """The data's ranks among their replicates, in (0, 1); ties are broken at random."""
    share = np.random.default_rng(0).random(observed.size)
    below = (replicated < observed).sum(axis=0) + share * (replicated == observed).sum(axis=0)
    return (below + 0.5) / (len(replicated) + 1)


@canvas.drawing()
def prior_posterior(
    prior: Mapping[str, np.ndarray], posterior: Mapping[str, np.ndarray], label: str
) -> canvas.Picture | None:
    """The prior beside the posterior, to show what the data added."""
    if not prior:
        return None
    groups = {
        group: canvas.tree(list(prior), np.stack([draws[n] for n in prior], axis=-1)[None])
        for group, draws in (("prior", prior), ("posterior", posterior))
    }
    figure = canvas.arviz(
        azp.plot_prior_posterior,
        xr.DataTree.from_dict({n: tree["posterior"].to_dataset() for n, tree in groups.items()}),
        (canvas.WIDTH, 2.1),
        kind="kde",
        col_wrap=len(prior),
        color=list(canvas.COLOURS[1::-1]),
    )
    figure.subplots_adjust(0.03, 0.15, 0.98, 0.85, 0.15)
    return canvas.picture(
        figure,
        "prior-posterior",
        f"Densities of the prior and of the posterior by {label} of {', '.join(prior)}.",
        "Orange: the prior, between its 5 % and 95 % quantiles. Blue: the posterior by "
        f"{label}. Where the two are alike, the data say little.",
    )
