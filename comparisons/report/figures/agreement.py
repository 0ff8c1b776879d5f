"""Every method beside the others: intervals, densities, joint draws, standard deviations."""

from collections.abc import Sequence
from math import isfinite

import arviz_plots as azp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from comparisons.reference import own_draws
from comparisons.report.draws import Comparable
from comparisons.report.figures import canvas
from comparisons.report.headline import Agreement, family_name
from comparisons.report.result import CaseResult
from inference.method import Method, label

_LEVELS = (0.055, 0.945, 0.25, 0.75)
"""Ends of the outer and of the inner interval."""
_FARTHEST = 8.0
"""Reference standard deviations beyond which a forest plot cuts."""
_WIDE = 10.2
"""Inches; the forest plot's."""
_MARKERS = "osD^vP*X<>hd"


@canvas.drawing()
def forest(found: Agreement, drawn: Comparable, names: Sequence[str]) -> canvas.Picture | None:
    """Every method at the notable scalars, in units of the reference posterior."""
    if not drawn.draws or not names:
        return None
    labels = [canvas.marked(method, drawn) for method in drawn.draws]
    rows, height = np.arange(len(labels)), 0.85 + 0.165 * len(labels)
    figure, grid = plt.subplots(
        1, len(names), figsize=(_WIDE, height), sharex=True, sharey=True, squeeze=False
    )
    every = np.moveaxis(_intervals(found, drawn), -1, 0)
    for axes, name, ends in zip(grid[0], canvas.unique(names), every, strict=True):
        axes.set_title(name)
        axes.axvline(0, color="#444444", linewidth=0.6, linestyle=":", zorder=0)
        for interval, width in ((ends[:2], 0.9), (ends[2:4], 2.4)):
            axes.plot(interval, [rows, rows], color=canvas.COLOURS[0], linewidth=width)
        edge = {"markeredgecolor": canvas.COLOURS[0], "markersize": 3.6}
        axes.plot(ends[4], rows, "o", color="white", **edge)
        axes.tick_params(axis="y", length=0)
    first = grid[0, 0]
    first.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    first.set_yticks(rows, labels)
    first.set_ylim(len(labels) - 0.4, -0.6)
    low, high = first.get_xlim()
    first.set_xlim(max(low, -_FARTHEST), min(high, _FARTHEST))
    against = found.reference and f"{canvas.literal(label(found.reference))} mean"
    text = f"standard deviations from the {against or 'mean of all methods'}"
    figure.supxlabel(text, fontsize=8.5)
    left = canvas.room(labels) / _WIDE
    figure.subplots_adjust(left, 0.5 / height, 0.995, 1 - 0.25 / height, 0.08)
    caption = _forest_caption(found, drawn, names)
    if low < -_FARTHEST or high > _FARTHEST:
        caption += f" The axis is cut at {_FARTHEST:g} standard deviations."
    return canvas.picture(
        figure,
        "forest",
        f"Forest plot of {', '.join(names)} under {', '.join(map(label, drawn.draws))}, in "
        "standard deviations of the reference posterior; the numbers are in the tables of "
        "sections 3 and 4.",
        caption,
    )


def _intervals(found: Agreement, drawn: Comparable) -> np.ndarray:
    """Ends of the outer and inner interval, and mean: shape (5, methods, scalars)."""
    every = list(drawn.draws.values())
    unit = drawn.draws.get(found.reference) if found.reference else None
    unit = np.concatenate(every) if unit is None else unit
    location, scale = unit.mean(axis=(0, 1)), unit.std(axis=(0, 1))
    scale = np.where(scale > 0, scale, 1.0)
    values = np.stack([(draws - location) / scale for draws in every])
    return np.stack([*np.quantile(values, _LEVELS, axis=(1, 2)), values.mean(axis=(1, 2))])


def _forest_caption(found: Agreement, drawn: Comparable, names: Sequence[str]) -> str:
    whose = f"reference, {label(found.reference)}" if found.reference else "draws of all methods"
    intervals = "Thick 50 %, thin 89 % equal-tailed intervals and means"
    caption = f"{intervals}, in standard deviations of the {whose}.{_marks(drawn)}"
    if len(names) < len(found.scalars):
        which = "those on which the methods differ most" if found.reference else "the first"
        shown = f"Of {len(found.scalars)} scalars {len(names)} are drawn, {which}"
        caption += f" {shown}; the tables have all."
    return caption


def _marks(drawn: Comparable) -> str:
    approximation = (
        " † sampling approximation: the method has no draws, so it is shown as draws from "
        "N(estimate, covariance); without a standard error, as a point."
    )
    problems = " ‡ has problems (section 2): not to be relied on."
    return approximation * bool(drawn.approximated) + problems * bool(drawn.unreliable)


@canvas.drawing()
def densities(drawn: Comparable, names: Sequence[str]) -> canvas.Picture | None:
    """The densities of all methods with a standard deviation, on one axis per scalar."""
    shown = names[: canvas.COLUMNS]
    moving: dict[Method, np.ndarray] = {}
    for method, draws in drawn.draws.items():
        moves = (draws[..., : len(shown)].std(axis=(0, 1)) > 0).all()
        if moves and family_name(method) not in map(family_name, moving):
            moving[method] = draws[..., : len(shown)]
    if not moving or not shown:
        return None
    labels = canvas.unique([canvas.marked(method, drawn) for method in moving])
    trees = {k: canvas.tree(shown, draws) for k, draws in zip(labels, moving.values(), strict=True)}
    several = {"color": list(canvas.COLOURS)} if len(trees) > 1 else {}
    height = 2.1 * ((len(shown) + 1) // 2) + 0.16 * len(labels) + 0.2
    hidden = ("point_estimate", "point_estimate_text", "credible_interval")
    figure = canvas.arviz(
        azp.plot_dist,
        trees if several else trees[labels[0]],
        (canvas.WIDTH, height),
        kind="kde",
        visuals=dict.fromkeys(hidden, False),
        col_wrap=2,
        **several,
    )
    for axes in figure.axes[len(shown) :]:
        axes.set_visible(False)
    lines = figure.axes[0].get_lines()[: len(labels)]
    figure.legend(lines, labels, loc="lower center", ncols=2, frameon=False, fontsize=8)
    bottom = 0.16 * ((len(labels) + 1) // 2) + 0.5
    figure.subplots_adjust(0.05, bottom / height, 0.97, 1 - 0.3 / height, hspace=0.45)
    return canvas.picture(
        figure,
        "densities",
        f"Kernel density estimates of {', '.join(shown)} under {', '.join(map(label, moving))}.",
        "Density of every method with an sd, by one engine, on one axis per scalar."
        + _marks(drawn),
    )


@canvas.drawing()
def pairs(result: CaseResult, method: Method | None, names: Sequence[str]) -> canvas.Picture | None:
    """The joint posterior of the reference."""
    shown = names[:3]
    draws = own_draws(result.estimates[method], shown) if method else None
    if method is None or draws is None or len(shown) < 2:
        return None
    side = 1.7 * len(shown) + 0.4
    points = {"alpha": 0.25, "size": 4, "color": canvas.COLOURS[0]}
    figure = canvas.arviz(
        azp.plot_pair,
        canvas.thinned(shown, draws)[0],
        (side, side),
        marginal=True,
        visuals={"scatter": points, "divergence": False},
    )
    figure.subplots_adjust(0.13, 0.1, 0.98, 0.98, 0.35, 0.25)
    return canvas.picture(
        figure,
        "pairs",
        f"Scatter plots of the {label(method)} draws of {', '.join(shown)}, in pairs.",
        f"Joint draws of {label(method)}: where a cloud is tilted, a method without correlations "
        "is too narrow.",
    )


@canvas.drawing()
def deviations(found: Agreement, names: Sequence[str]) -> canvas.Picture | None:
    """Each method's standard error or deviation over the reference's."""
    rows = [row for row in found.rows if row["parameter"] in names and isfinite(row["ratio"])]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    if not methods or found.reference is None:
        return None
    against = label(found.reference)
    figure, axes = canvas.method_axis(methods, 0.23, 0.8)
    axes.axvspan(0.95, 1.05, color="#dfe6ee", zorder=0)
    axes.axvline(1, color="#444444", linewidth=0.6, linestyle=":")
    for place, name in enumerate(names[: len(_MARKERS)]):
        aside = 0.5 * ((place + 0.5) / len(names) - 0.5)
        own = [row for row in rows if row["parameter"] == name]
        axes.errorbar(
            [row["ratio"] for row in own],
            [methods.index(row["method"]) + aside for row in own],
            xerr=[2 * row["ratio_error"] for row in own],
            fmt=_MARKERS[place],
            markersize=4,
            linewidth=0.8,
            color=canvas.COLOURS[place],
            label=canvas.literal(name, 24),
        )
    axes.set_xlabel(f"sd / sd of {canvas.literal(against)}")
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return canvas.picture(
        figure,
        "deviations",
        f"Standard errors and standard deviations of {', '.join(methods)} over those of "
        f"{against}, for {', '.join(names)}.",
        f"Standard errors and posterior standard deviations over those of {against}, with two "
        "Monte Carlo standard errors; the band is ±5 %. The statements below hold them against "
        "the Fisher information.",
    )
