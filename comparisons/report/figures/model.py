"""A model's graph, and replicated data sets beside the data.

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
from models.programs.adopted.model import AdoptedModel
from models.programs.density import program_on
from models.spec import Model, Values

_LINE = 30  # letters of the names of sites side by side
_NODES = 24  # sites of a graph that can be read
_SETS = 20  # replicated data sets in a figure
_BANDWIDTH = {"bw": "scott"}
_UNEQUAL = 1.5  # ratio of the replicated sds of two rows beyond which rows are standardised first


def parents(model: Model, data: xr.Dataset) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The parameters that each site's density depends on beside its own value; what is observed.

    Nothing is computed: of the traced program, what each density does not need is left out.
    """
    own = isinstance(model, AdoptedModel)
    program = model.adopted.named if own else program_on(model, data, "numpyro")
    start = {site.name: jnp.zeros(site.unconstrained) for site in program.sites}

    def terms(parts: Values) -> tuple[Values, Values]:
        found = program.at(parts)
        return found.prior, {**found.likelihood, **found.factors}

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


def _lines(parents: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """The sites by level, as many side by side as there is room for."""
    rows: list[list[str]] = []
    last = -1
    for site, level in sorted(levels(parents).items(), key=lambda pair: pair[1]):
        full = rows and len("".join([*rows[-1], site])) + 4 * len(rows[-1]) > _LINE
        if level > last or full:
            rows.append([])
        rows[-1].append(site)
        last = level
    return rows


@canvas.drawing()
def graph(
    parents: Mapping[str, tuple[str, ...]], observed: frozenset[str]
) -> canvas.Picture | None:
    """The sites of the program and what each one's density depends on."""
    rows = _lines(parents)
    if not 0 < len(parents) <= _NODES:
        return None
    places = {
        site: ((i + 0.5) / len(row), -line)
        for line, row in enumerate(rows)
        for i, site in enumerate(row)
    }
    arrow = {"arrowstyle": "->", "shrinkA": 11, "shrinkB": 11, "lw": 0.8}
    box = {"boxstyle": "round,pad=0.45", "linewidth": 0.8}
    figure = Figure(figsize=(canvas.WIDTH, 0.6 * len(rows)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0.5 - len(rows), 0.5))
    axes.set_axis_off()
    for site, above in parents.items():
        for parent in above:
            axes.annotate("", places[site], places[parent], arrowprops=arrow)
        ground = {"facecolor": "#d5dce4" if site in observed else "white"}
        text = canvas.literal(site, 24)
        axes.text(*places[site], text, ha="center", va="center", bbox={**box, **ground})
    told = (f"{site} depends on {', '.join(p) or 'nothing'}" for site, p in parents.items())
    return canvas.picture(
        [figure],
        "graph",
        f"Graph of the model: {'; '.join(told)}",
        "What the density of each site depends on; grey is observed.",
    )


@canvas.drawing()
def predictive(replicates: Replicates) -> canvas.Picture | None:
    """Densities of replicated data against the data's; of counts, distribution functions."""
    varying = [name for name, values in replicates.observed.items() if np.ptp(values) > 0]
    columns, figures, told, shown = varying[: canvas.COLUMNS], [], "", "Density"
    for title, name in zip(canvas.unique(columns), columns, strict=True):
        data, sets = replicates.observed[name], replicates.replicated[name]
        counts = not ((data % 1).any() or (sets % 1).any())
        sd, shown = sets.std(axis=0), "Distribution function" if counts else shown
        if replicates.given and not counts and sd.max() > _UNEQUAL * sd.min() > 0:
            data, sets = ((x - sets.mean(axis=0)) / sd for x in (data, sets))
            told = " Rows of unequal variance are standardised: less the mean of their replicates,"
            told += " over its sd."
        figures.append(_beside(title, data, sets, counts=counts))
    if not columns:
        return None
    return canvas.picture(
        figures,
        "predictive",
        f"{shown} of the data and of {_SETS} data sets replicated from {replicates.source}, "
        f"for {', '.join(columns)}.",
        f"{shown}; black: the data, blue: {_SETS} data sets replicated at posterior draws of "
        f"{replicates.source}. Data that leave the bundle do not fit the model.{told}",
    )


def _beside(title: str, data: np.ndarray, sets: np.ndarray, *, counts: bool) -> Figure:
    """One column of the data among replicated ones, shape (replicates, rows)."""
    groups = {
        "posterior_predictive": xr.Dataset({title: (("chain", "draw", "row"), sets[None])}),
        "observed_data": xr.Dataset({title: (("row",), data)}),
    }
    figure = canvas.arviz(
        azp.plot_ppc_dist,
        xr.DataTree.from_dict(groups),
        2.3,
        kind="ecdf" if counts else "kde",
        num_samples=_SETS,
        stats={} if counts else dict.fromkeys(("predictive_dist", "observed_dist"), _BANDWIDTH),
        visuals={
            "predictive_dist": {"alpha": 0.5, "width": 0.7, "color": canvas.COLOURS[4]},
            "observed_dist": {"color": "#000000", "width": 1.8},
        },
    )
    figure.subplots_adjust(0.05 if not counts else 0.14, 0.14, 0.97, 0.88)
    middle, half = np.median(data), 1.25 * np.ptp(data)
    figure.axes[0].set_xlim(middle - half, middle + half)
    return figure
