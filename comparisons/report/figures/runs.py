"""Every method beside the others: intervals, densities, draws, seconds; chains of a sampler."""

from collections.abc import Sequence
from itertools import combinations

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from comparisons.reference import own_draws
from comparisons.report.draws import Comparable
from comparisons.report.figures import canvas
from comparisons.report.headline import Agreement, Row, family_name
from comparisons.report.result import CaseResult
from inference.estimate import Estimate
from inference.method import Method, label

_LEVELS = (0.055, 0.945, 0.25, 0.75)  # ends of the outer and of the inner interval
_FARTHEST = 8.0  # reference standard deviations beyond which a forest plot cuts
_POINTS = 1_500  # draws in a scatter plot
_DRAWS = 250  # of each chain in a rank plot, which takes them for independent


@canvas.drawing()
def forest(found: Agreement, drawn: Comparable, names: Sequence[str]) -> canvas.Picture | None:
    """Every method at the notable scalars, in units of the reference posterior."""
    if not drawn.methods or not names:
        return None
    labels = [canvas.marked(method, drawn) for method in drawn.methods]
    every, figures = np.moveaxis(_intervals(found, drawn), -1, 0), []
    low, high = max(every.min(), -_FARTHEST), min(every.max(), _FARTHEST)
    margin = 0.05 * (high - low) or 1.0
    for name, ends in zip(canvas.unique(names), every, strict=True):
        figure, axes = canvas.rows(labels, name)
        axes.axvline(0, color="#444444", linewidth=0.6, linestyle=":", zorder=0)
        for interval, width in ((ends[:2], 0.9), (ends[2:4], 2.4)):
            rows = np.arange(len(labels))
            axes.plot(interval, [rows, rows], color=canvas.COLOURS[0], linewidth=width)
        edge = {"markeredgecolor": canvas.COLOURS[0], "markersize": 3.6}
        axes.plot(ends[4], rows, "o", color="white", **edge)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel("reference standard deviations", fontsize=8)
        figures.append(figure)
    whose = f"reference, {label(found.reference)}" if found.reference else "widest method"
    intervals = "Thick 50 %, thin 89 % equal-tailed intervals and means"
    caption = f"{intervals}, in standard deviations of the {whose}.{_marks(drawn)}"
    if len(names) < len(found.scalars):
        caption += f" Of {len(found.scalars)} scalars, those that differ most; the tables have all."
    if every.min() < low or every.max() > high:
        caption += f" The axis is cut at {_FARTHEST:g} standard deviations."
    return canvas.picture(
        figures,
        "forest",
        f"Forest plot of {', '.join(names)} under {', '.join(map(label, drawn.methods))}, in "
        "standard deviations of the reference posterior; the numbers are in the tables below.",
        caption,
    )


def _intervals(found: Agreement, drawn: Comparable) -> np.ndarray:
    """Ends of the outer and inner interval, and mean: shape (5, methods, scalars)."""
    values = np.stack(
        [np.vstack([drawn.quantiles(m, _LEVELS), drawn.moments(m)[0]]) for m in drawn.methods], 1
    )
    if found.reference in drawn.methods:
        location, scale = drawn.moments(found.reference)
    else:
        location, scale = values[4].mean(axis=0), np.ptp(values[:2], axis=0).max(axis=0) / 3.2
    return (values - location) / np.where(scale > 0, scale, 1.0)


def _marks(drawn: Comparable) -> str:
    approximation = (
        " † sampling approximation: the method has no draws, so it is shown as N(estimate, sd²); "
        "without a standard error, as a point."
    )
    problems = " ‡ has problems (section 2): not to be relied on."
    return approximation * bool(drawn.normal) + problems * bool(drawn.unreliable)


@canvas.drawing()
def densities(drawn: Comparable, names: Sequence[str]) -> canvas.Picture | None:
    """The densities of all methods with a standard deviation: a panel for each scalar."""
    shown, chosen = names[: canvas.COLUMNS], dict[str, Method]()
    for method in drawn.methods:
        if (drawn.moments(method)[1][: len(shown)] > 0).all():
            chosen.setdefault(family_name(method), method)
    if not chosen or not shown:
        return None
    labels = canvas.unique([canvas.marked(method, drawn) for method in chosen.values()])
    figures = list[Figure]()
    for place, name in enumerate(canvas.unique(shown)):
        figure, axes = canvas.panel(2.0, name, left=0.15)
        for i, (text, method) in enumerate(zip(labels, chosen.values(), strict=True)):
            colour = canvas.COLOURS[i % len(canvas.COLOURS)]
            dashes = "--" if method in drawn.normal else "-"
            curve = _curve(drawn, method, place)
            axes.plot(*curve, dashes, color=colour, linewidth=1, label=text)
        axes.set_yticks([])
        axes.set_ylim(0)
        axes.spines["left"].set_visible(False)
        figures.append(figure)
    return canvas.picture(
        [*figures, canvas.key(*figures)],
        "densities",
        f"Densities of {', '.join(shown)} under {', '.join(map(label, chosen.values()))}.",
        "Density of every method with an sd, by one engine: kernel estimates from all draws; "
        f"dashed, a normal law is drawn as its curve.{_marks(drawn)}",
    )


def _curve(drawn: Comparable, method: Method, place: int) -> tuple[np.ndarray, np.ndarray]:
    """A density along an axis: the normal curve, or ArviZ's estimate from all draws."""
    if method in drawn.normal:
        mean, sd = (float(part[place]) for part in drawn.normal[method])
        x = mean + np.linspace(-4, 4, 100) * sd
        return x, norm.pdf(x, mean, sd)
    draws = drawn.draws[method][:, place]
    if not np.ptp(draws) > 0:  # an approximation that fell back on its mode has no density
        return draws[:1], np.zeros(1)
    x, y, _ = array_stats.kde(draws, grid_len=128)
    return x, y


@canvas.drawing()
def pairs(result: CaseResult, method: Method | None, names: Sequence[str]) -> canvas.Picture | None:
    """The joint posterior of the reference, two scalars at a time."""
    shown = names[:3]
    draws = own_draws(result.estimates[method], shown) if method else None
    if method is None or draws is None or len(shown) < 2:
        return None
    flat, figures = draws.reshape(-1, len(shown)), []
    for i, j in combinations(range(len(shown)), 2):
        figure, axes = canvas.panel(2.6, left=0.6)
        axes.plot(*flat[:: -(-len(flat) // _POINTS), [i, j]].T, ".", markersize=1.5, alpha=0.4)
        axes.set_xlabel(canvas.literal(shown[i]))
        axes.set_ylabel(canvas.literal(shown[j]))
        figures.append(figure)
    return canvas.picture(
        figures,
        "pairs",
        f"Scatter plots of the {label(method)} draws of {', '.join(shown)}, in pairs.",
        f"Joint draws of {label(method)}: where a cloud is tilted, a method without correlations "
        "is too narrow.",
    )


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
