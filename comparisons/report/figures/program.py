"""The graph of a model."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from comparisons.report.figures import canvas
from comparisons.report.graph import levels

_NODES = 8
"""Sites side by side."""


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
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, wide)
    axes.set_ylim(0.5 - len(rows), 0.5)
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
