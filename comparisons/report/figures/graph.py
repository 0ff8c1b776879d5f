"""The graph of a model: what the factor of each site depends on, read off the NumPyro program."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.interpreters.partial_eval import dce_jaxpr
from matplotlib.figure import Figure

from comparisons.report.figures import canvas
from models.capabilities import HasOwnPrograms
from models.programs.numpyro import numpyro_terms
from models.spec import Model, Values

_NODES = 8
"""Sites side by side."""


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
