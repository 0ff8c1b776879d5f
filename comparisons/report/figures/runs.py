"""How runs went: chains of samplers, paths of iterative methods, and seconds."""

from collections.abc import Sequence
from typing import Any

import arviz_plots as azp
import numpy as np
from matplotlib import pyplot as plt

from comparisons.reference import own_draws
from comparisons.report.figures import canvas
from comparisons.report.files import slug
from comparisons.report.headline import Row
from comparisons.report.result import CaseResult
from inference.estimate import Estimate
from inference.method import Method, label


@canvas.drawing()
def ranks(method: Method, fit: Estimate, names: Sequence[str]) -> canvas.Picture | None:
    """Whether the chains of a sampler draw alike, in three scalars."""
    shown = names[:3]
    draws = own_draws(fit, shown)
    if draws is None or not shown or len(draws) < 2:
        return None
    kept, remark = canvas.thinned(shown, draws)
    figure = canvas.arviz(azp.plot_rank, kept, (canvas.WIDTH, 2.3))
    figure.subplots_adjust(0.04, 0.22, 0.98, 0.8, 0.15)
    return canvas.picture(
        figure,
        f"ranks-{slug(label(method))}",
        f"Rank plot of the {len(draws)} chains of {label(method)} for {', '.join(shown)}.",
        f"{label(method)}{remark}: difference between the distribution of each chain's ranks and "
        "the uniform one. p is the probability of differences at least as large among chains that "
        "draw alike; points that stand out below α are marked.",
    )


@canvas.drawing()
def paths(result: CaseResult) -> canvas.Picture | None:
    """EM's climb, the ELBO's path and where restarts ended."""
    kinds = (
        ("EM: nats below its last ℓ", "climb", "iteration", _climb),
        ("Gaussian VI: ELBO, nats", "elbo", "step", _elbo),
        ("restarts: nats below the best", "restart_log_likelihood", "restart, best first", _ends),
    )
    panels = [(*kind, found) for kind in kinds if (found := _records(result, kind[1]))]
    if not panels:
        return None
    longest = max(len(found) for *_, found in panels)
    height = 2.5 + 0.14 * longest
    figure, grid = plt.subplots(1, len(panels), figsize=(canvas.WIDTH, height), squeeze=False)
    bottom = (0.65 + 0.14 * longest) / height
    figure.subplots_adjust(0.1, bottom, 0.98, 1 - 0.3 / height, 0.4)
    for axes, (title, _, along, draw, found) in zip(grid[0], panels, strict=True):
        axes.set_title(title)
        axes.set_xlabel(along)
        for place, (name, values) in enumerate(found.items()):
            colour = canvas.COLOURS[place % len(canvas.COLOURS)]
            draw(axes, values, color=colour, label=canvas.literal(name))
        axes.minorticks_off()
        axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(-0.2, -0.22))
    told = (f"{title} for {', '.join(found)}" for title, *_, found in panels)
    return canvas.picture(
        figure,
        "paths",
        f"Paths of the iterative methods: {'; '.join(told)}",
        "EM climbs at every step. The ELBO must have levelled off. Restarts that share the "
        "lowest line found the same optimum.",
    )


def _records(result: CaseResult, name: str) -> dict[str, np.ndarray]:
    """The finite values that fits keep under a name, by label."""
    found = {}
    for method, fit in result.estimates.items():
        values = np.ravel(fit.record[name].values) if name in fit.record else np.empty(0)
        if (finite := values[np.isfinite(values)]).size:
            found[label(method)] = finite
    return found


def _elbo(axes: Any, values: np.ndarray, **look: Any) -> None:
    keep = np.unique(np.linspace(0, values.size - 1, min(values.size, 600)).astype(int))
    axes.plot(keep, values[keep], linewidth=0.8, **look)
    axes.ticklabel_format(axis="y", useOffset=False)
    # the first steps are far below
    every = [line.get_ydata() for line in axes.get_lines()]
    low, high = min(np.quantile(one, 0.1) for one in every), max(np.max(one) for one in every)
    axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)


def _climb(axes: Any, values: np.ndarray, **look: Any) -> None:
    below = np.maximum(values[-1] - values, 0.0)
    steps = np.flatnonzero(below > 1e-10)
    axes.semilogy(steps, below[steps], linewidth=1, **look)
    axes.yaxis.set_major_formatter("{x:.0e}")


def _ends(axes: Any, values: np.ndarray, **look: Any) -> None:
    below = np.maximum(np.max(values) - np.sort(values)[::-1], 1e-10)
    places = np.arange(1, values.size + 1)
    axes.semilogy(places, below, marker="o", markersize=3, linewidth=0.6, **look)
    axes.yaxis.set_major_formatter("{x:.0e}")
    axes.set_ylim(5e-11, max(1.0, axes.get_ylim()[1]))
    axes.xaxis.get_major_locator().set_params(integer=True)


@canvas.drawing()
def costs(rows: Sequence[Row]) -> canvas.Picture | None:
    """Seconds of every fit by part."""
    if not rows:
        return None
    figure, axes = canvas.method_axis([row["method"] for row in rows], 0.2, 0.98)
    left = np.zeros(len(rows))
    for part, colour, hatch in (
        ("compile", "#999999", ""),
        ("warm_up", "#e69f00", "///"),
        ("run", "#0072b2", ""),
    ):
        width = np.nan_to_num([row[part] for row in rows])
        name, places = part.replace("_", "-"), np.arange(len(rows))
        axes.barh(places, width, 0.65, left, color=colour, hatch=hatch, label=name)
        left += width
    axes.set_xlabel("seconds")
    axes.legend(frameon=False, fontsize=7.5)
    told = (f"{row['method']} {row['total']:.2g} s" for row in rows)
    return canvas.picture(
        figure,
        "costs",
        f"Bars of the seconds that each method compiled, warmed up and ran: {', '.join(told)}",
        "Seconds by part. A stored fit shows the time it took when it was made.",
    )
