"""Numbers along an axis: statistics by number of units, and the curves of the theory."""

from textwrap import fill
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt

from comparisons.exhibits import Curves
from comparisons.report.figures import canvas
from comparisons.report.headline import NOTABLE

_TICKS = 6
"""Most places that have a tick each on a logarithmic axis."""
_SPARSE = 30
"""Points below which a curve has markers."""


@canvas.drawing()
def ladder(name: str, table: xr.Dataset) -> canvas.Picture:
    """Statistics of estimators against the number of units: a panel for each statistic."""
    rows = table.to_dataframe()
    shown = rows[rows["quantity"].isin(list(dict.fromkeys(rows["quantity"]))[:NOTABLE])]
    statistics = list(dict.fromkeys(shown["statistic"]))
    lines = list(dict.fromkeys(zip(shown["estimator"], shown["quantity"], strict=True)))
    down, legend = (len(statistics) + 1) // 2, 0.16 * ((len(lines) + 1) // 2) + 0.2
    size = (canvas.WIDTH, 2.3 * down + legend)
    figure, grid = plt.subplots(
        down, min(2, len(statistics)), figsize=size, squeeze=False, sharex=True
    )
    bottom, top = (legend + 0.4) / size[1], 1 - 0.3 / size[1]
    figure.subplots_adjust(0.09, bottom, 0.98, top, hspace=0.25, wspace=0.25)
    for axes in grid.flat[len(statistics) :]:
        axes.set_axis_off()
    for axes, statistic in zip(grid.flat, statistics, strict=False):
        axes.set_title(canvas.literal(statistic))
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(rows["n"])), sorted(set(rows["n"])))
        axes.minorticks_off()
        for place, line in enumerate(lines):
            aside = 1 + 0.015 * (place - (len(lines) - 1) / 2)
            _rungs(axes, shown[shown["statistic"] == statistic], line, place, aside)
    for axes in grid[-1]:
        axes.set_xlabel("units")
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=2, frameon=False, fontsize=8)
    hidden = rows["quantity"].nunique() - shown["quantity"].nunique()
    return canvas.picture(
        figure,
        f"ladder-{name}",
        f"{'; '.join(statistics)} against the number of units, for "
        + ", ".join(" by ".join(reversed(line)) for line in lines),
        "Against the number of units, with 95 % Monte Carlo intervals; dashed: theory."
        + (f" {hidden} more quantities are in the table." if hidden else ""),
    )


def _rungs(axes: Any, rows: pd.DataFrame, line: tuple[str, str], place: int, aside: float) -> None:
    """A statistic of one quantity by one estimator, with its errors; dashed: theory."""
    estimator, quantity = line
    chosen = rows[(rows["estimator"] == estimator) & (rows["quantity"] == quantity)]
    chosen = chosen.sort_values("n")
    colour = canvas.COLOURS[place % len(canvas.COLOURS)]
    axes.errorbar(
        chosen["n"] * aside,
        chosen["value"],
        yerr=1.96 * chosen["error"].fillna(0.0),
        fmt="o-",
        markersize=3,
        linewidth=0.9,
        color=colour,
        label=canvas.literal(f"{quantity}, {estimator}" if quantity else estimator),
    )
    axes.plot(chosen["n"], chosen["theory"], "--", color=colour, linewidth=0.8)


@canvas.drawing()
def curves(name: str, shown: Curves) -> canvas.Picture:
    """The measurements of a theory entry, with markers where they are sparse; dashed: theory."""
    lines = [*shown.measured, *(line for line in shown.theory if line not in shown.measured)]
    legend = 0.17 * ((len(lines) + 1) // 2) + 0.2
    height = 2.6 + legend
    figure, axes = plt.subplots(figsize=(canvas.WIDTH * 0.8, height))
    figure.subplots_adjust(0.14, (legend + 0.45) / height, 0.97, 1 - 0.3 / height)
    axes.set_title(canvas.literal(shown.title, 90))
    for place, line in enumerate(lines):
        _curve(axes, shown, line, canvas.COLOURS[place % len(canvas.COLOURS)])
    if "x" in shown.logarithmic:
        axes.set_xscale("log")
        places = sorted({place for x, _ in shown.measured.values() for place in x})
        if len(places) <= _TICKS:
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.minorticks_off()
    if "y" in shown.logarithmic:
        axes.set_yscale("log")
    axes.set_xlabel(canvas.literal(shown.x, 90))
    axes.set_ylabel(fill(canvas.literal(shown.y, 60), 36))
    figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=8)
    return canvas.picture(
        figure,
        f"curves-{name}",
        f"{shown.title}: {shown.y} against {shown.x}, for {', '.join(lines)}",
        f"{shown.title}." + (" Dashed: theory, or what is fitted." if shown.theory else ""),
    )


def _curve(axes: Any, shown: Curves, line: str, colour: str) -> None:
    look = {"color": colour, "markersize": 3, "linewidth": 1}
    if line in shown.measured:
        x, y = shown.measured[line]
        mark = "o" if len(x) < _SPARSE else ""
        # points alone, where a line of theory runs through them
        dashes = "none" if mark and line in shown.theory else "-"
        axes.plot(x, y, linestyle=dashes, marker=mark, label=canvas.literal(line), **look)
    if line in shown.theory:
        label = None if line in shown.measured else canvas.literal(line)
        axes.plot(*shown.theory[line], linestyle="--", label=label, **look)
