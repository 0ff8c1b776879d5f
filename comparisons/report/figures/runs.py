"""How runs went: chains of samplers, energies, paths of iterative methods, and seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt

from comparisons.reference import own_draws
from comparisons.report.figures import canvas
from comparisons.report.result import CaseResult
from comparisons.report.tables import Row
from inference.estimate import Estimate
from inference.method import Method, label

_DRAWS = 250
"""Draws of each chain in a figure."""


def thinned(names: Sequence[str], draws: np.ndarray) -> tuple[xr.DataTree, str]:
    """At most _DRAWS draws of each chain, and a remark on it for the caption."""
    every = -(-draws.shape[1] // _DRAWS)
    kept = canvas.tree(names, draws).isel(draw=slice(None, None, every))
    return kept, f", one draw in {every}" if every > 1 else ""


_CHAINS: dict[str, tuple[Any, tuple[float, ...], dict[str, Any], str]] = {
    "rank": (
        azp.plot_rank,
        (0.04, 0.22, 0.98, 0.8, 0.15),
        {},
        (
            "difference between the distribution of each chain's ranks and the uniform one. p is "
            "the probability of differences at least as large among chains that draw alike; points "
            "that stand out below α are marked."
        ),
    ),
    "trace": (
        azp.plot_trace,
        (0.07, 0.2, 0.98, 0.88, 0.3),
        {"visuals": {"trace": {"width": 0.4}}},
        "draws in order; a healthy sampler has no drift and no chain of its own.",
    ),
}
"""The function, its margins and options, and how to read the figure."""


@canvas.drawing()
def chains(
    method: Method, fit: Estimate, names: Sequence[str], number: int
) -> list[canvas.Picture]:
    """Whether the chains of a sampler draw alike, and each one's path.

    Args:
        method: the sampler.
        fit: its estimate.
        names: scalars, of which three are shown.
        number: tells its anchors from those of other samplers.
    """
    shown = names[:3]
    draws = own_draws(fit, shown)
    if draws is None or not shown:
        return []
    kept, remark = thinned(shown, draws)
    pictures = []
    for name, (plot, margins, options, caption) in _CHAINS.items():
        if name == "rank" and draws.shape[0] < 2:
            continue
        figure = canvas.arviz(plot, kept, (canvas.WIDTH, 2.3), **options)
        figure.subplots_adjust(*margins)
        chain = f"the {draws.shape[0]} chains of {label(method)}"
        alt = f"{name.capitalize()} plot of {chain} for {', '.join(shown)}."
        text = f"{label(method)}{remark}: {caption}"
        pictures.append(canvas.picture(figure, f"{name}s-{number}", alt, text, "png"))
    return pictures


@canvas.drawing()
def energy(method: Method, fit: Estimate, number: int) -> canvas.Picture | None:
    """Whether the sampler's momentum explores the whole energy distribution."""
    if fit.draws is None or "sample_stats" not in fit.draws.children:
        return None
    stats = fit.draws["sample_stats"].to_dataset()
    if "energy" not in stats or not float(stats["energy"].std()) > 0:
        return None
    energies = stats[["energy"]].transpose("chain", "draw")
    data = xr.DataTree.from_dict({"sample_stats": energies})
    figure = canvas.arviz(azp.plot_energy, data, (canvas.WIDTH * 0.62, 2.2))
    figure.subplots_adjust(0.12, 0.16, 0.97, 0.88, 0.2)
    return canvas.picture(
        figure,
        f"energy-{number}",
        f"Marginal energy and energy transitions of {label(method)}.",
        f"{label(method)}: where the transition density is much narrower than the marginal one, "
        "the sampler does not reach the tails (E-BFMI below 0.3).",
    )


@canvas.drawing()
def paths(result: CaseResult) -> canvas.Picture | None:
    """EM's climb, the ELBO's path and where restarts ended."""
    kinds = (
        ("EM: nats below its last ℓ", _climb, "climb"),
        ("Gaussian VI: ELBO, nats", _elbo, "elbo"),
        ("restarts: nats below the best", _restarts, "restart_log_likelihood"),
    )
    panels = [(title, draw, found) for title, draw, r in kinds if (found := _records(result, r))]
    if not panels:
        return None
    longest = max(len(found) for _, _, found in panels)
    height = 2.5 + 0.14 * longest
    figure, grid = plt.subplots(1, len(panels), figsize=(canvas.WIDTH, height), squeeze=False)
    bottom = (0.65 + 0.14 * longest) / height
    figure.subplots_adjust(0.1, bottom, 0.98, 1 - 0.3 / height, 0.4)
    for axes, (title, draw, found) in zip(grid[0], panels, strict=True):
        axes.set_title(title)
        draw(axes, found)
        axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(-0.2, -0.22))
    return canvas.picture(
        figure,
        "paths",
        "Paths of the iterative methods: "
        + "; ".join(f"{title} for {', '.join(found)}" for title, _, found in panels),
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


def _elbo(axes: Any, found: Mapping[str, np.ndarray]) -> None:
    for place, (name, values) in enumerate(found.items()):
        keep = np.unique(np.linspace(0, values.size - 1, min(values.size, 600)).astype(int))
        colour = canvas.COLOURS[place % len(canvas.COLOURS)]
        axes.plot(keep, values[keep], color=colour, label=canvas.literal(name), linewidth=0.8)
    # the first steps are far below
    low = min(np.quantile(values, 0.1) for values in found.values())
    high = max(np.max(values) for values in found.values())
    axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlabel("step")


def _climb(axes: Any, found: Mapping[str, np.ndarray]) -> None:
    for name, values in found.items():
        below = np.maximum(values[-1] - values, 0.0)
        steps = np.flatnonzero(below > 1e-10)
        _below(axes, name, steps, below[steps], linewidth=1)
    axes.set_xlabel("iteration")


def _restarts(axes: Any, found: Mapping[str, np.ndarray]) -> None:
    for name, values in found.items():
        below = np.maximum(np.max(values) - np.sort(values)[::-1], 1e-10)
        places = np.arange(1, values.size + 1)
        _below(axes, name, places, below, marker="o", markersize=3, linewidth=0.6)
        axes.set_ylim(5e-11, max(1.0, axes.get_ylim()[1]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("restart, best first")


def _below(axes: Any, name: str, places: np.ndarray, values: np.ndarray, **look: Any) -> None:
    colour = canvas.COLOURS[len(axes.get_lines()) % len(canvas.COLOURS)]
    axes.semilogy(places, values, color=colour, label=canvas.literal(name), **look)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:.0e}")


@canvas.drawing()
def costs(rows: Sequence[Row]) -> canvas.Picture | None:
    """Seconds of every fit by part."""
    if not rows:
        return None
    figure, axes = canvas.method_axis([row["method"] for row in rows], 0.2, 0.98)
    left = np.zeros(len(rows))
    looks: dict[str, dict[str, Any]] = {
        "compile": {"color": "#999999"},
        "warm_up": {"color": "#e69f00", "hatch": "///"},
        "run": {"color": "#0072b2"},
    }
    for part, look in looks.items():
        width = np.nan_to_num([row[part] for row in rows])
        name = part.replace("_", "-")
        axes.barh(np.arange(len(rows)), width, 0.65, left, label=name, **look)
        left += width
    axes.set_xlabel("seconds")
    axes.legend(frameon=False, fontsize=7.5)
    return canvas.picture(
        figure,
        "costs",
        "Bars of the seconds that each method compiled, warmed up and ran: "
        + ", ".join(f"{row['method']} {row['total']:.2g} s" for row in rows),
        "Seconds by part. A stored fit shows the time it took when it was made.",
    )
