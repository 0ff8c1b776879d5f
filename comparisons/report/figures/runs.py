"""How runs went: chains of samplers, and seconds."""

from collections.abc import Sequence

import arviz_plots as azp
import numpy as np
import xarray as xr

from comparisons.reference import own_draws
from comparisons.report.figures import canvas
from comparisons.report.headline import Row
from inference.estimate import Estimate
from inference.method import Method, label

_DRAWS = 250  # of each chain in a rank plot, which takes them for independent


@canvas.drawing()
def ranks(method: Method, fit: Estimate, names: Sequence[str]) -> canvas.Picture | None:
    """Whether the chains of a sampler draw alike, in three scalars."""
    shown = names[:3]
    draws = own_draws(fit, shown)
    if draws is None or not shown or len(draws) < 2:
        return None
    every = -(-draws.shape[1] // _DRAWS)
    draws = draws[:, ::every]
    figures, coords = [], {"chain": np.arange(len(draws)), "draw": np.arange(draws.shape[1])}
    for place, name in enumerate(canvas.unique(shown)):
        one = xr.Dataset({name: (("chain", "draw"), draws[..., place])}, coords)
        tree = xr.DataTree.from_dict({"posterior": one})
        figures.append(canvas.arviz(azp.plot_rank, tree, 2.2))
        figures[-1].subplots_adjust(0.12, 0.22, 0.97, 0.86)
    return canvas.picture(
        figures,
        "ranks",
        f"Rank plot of the {len(draws)} chains of {label(method)} for {', '.join(shown)}.",
        f"{label(method)}, one draw in {every}: each chain's ranks less uniform ones. p is the "
        "probability of differences at least as large among chains that draw alike; points that "
        "stand out below α are marked.",
    )


@canvas.drawing()
def costs(rows: Sequence[Row]) -> canvas.Picture | None:
    """Seconds of every fit by part."""
    if not rows:
        return None
    figure, axes = canvas.rows([row["method"] for row in rows])
    left = np.zeros(len(rows))
    for part, colour, hatch in (
        ("compile", "#999999", ""),
        ("warm_up", "#e69f00", "///"),
        ("run", "#0072b2", ""),
    ):
        width = np.nan_to_num([row[part] for row in rows])
        name, places = part.replace("_", "-"), np.arange(len(rows))
        axes.barh(places, width, 0.3, left, color=colour, hatch=hatch, label=name)
        left += width
    axes.set_xlabel("seconds")
    axes.legend(frameon=False, fontsize=7.5)
    told = (f"{row['method']} {row['total']:.2g} s" for row in rows)
    return canvas.picture(
        [figure],
        "costs",
        f"Bars of the seconds that each method compiled, warmed up and ran: {', '.join(told)}",
        "Seconds by part. A stored fit shows the time it took when it was made.",
    )
