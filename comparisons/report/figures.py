"""Figures by ArviZ (matplotlib): drawn on a white card, closed after use, no global state left.

Every function returns None where there is nothing to draw.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import warnings
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, final

import arviz_plots as azp
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from comparisons.reference import own_draws
from comparisons.report.formats import short
from comparisons.report.graph import levels
from comparisons.report.headline import without_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from comparisons.exhibits import Curves
    from comparisons.report.draws import Comparable, Replicates
    from comparisons.report.headline import Agreement
    from comparisons.report.result import CaseResult
    from comparisons.report.tables import Row
    from inference.estimate import Estimate

PANELS = 6
"""Scalars in figures that show every method."""
_PANELS = 4
_NODES = 8
"""Sites side by side in a graph."""
_DRAWS = 250
"""Draws of each chain in a figure."""
_SETS = 20
"""Replicated data sets in a figure."""
_OUTER, _INNER = 0.89, 0.5
_FARTHEST = 8.0
"""Reference standard deviations beyond which a forest plot cuts."""
_WIDTH = 7.2
"""Inches."""
_WIDE = 10.2
"""Inches; the forest plot's."""
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c564b",
    "#7f7f7f", "#9467bd", "#bcbd22", "#17becf",
)  # fmt: skip
_STYLE = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "concord",
}
_BACKEND: dict[str, Any] = {"backend": "matplotlib"}


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """A figure ready to be embedded.

    Attributes:
        name: its anchor on the page.
        uri: the image as a data URI.
        alt: what it shows, for those who do not see it.
        caption: how to read it.
        width, height: in CSS pixels.
    """

    name: str
    uri: str
    alt: str
    caption: str
    width: int
    height: int


def notable(found: Agreement, room: int) -> tuple[str, ...]:
    """At most `room` scalars: those on which the methods differ most, in their own order."""
    if len(found.scalars) <= room:
        return found.scalars

    def disagreement(name: str) -> float:
        cells = [cells[name] for cells in found.cells.values() if name in cells]
        sizes = [abs(cell.shift) for cell in cells]
        sizes += [abs(math.log(cell.ratio)) for cell in cells if cell.ratio > 0]
        return max((size for size in sizes if math.isfinite(size)), default=0.0)

    chosen = sorted(found.scalars, key=disagreement, reverse=True)[:room]
    return tuple(name for name in found.scalars if name in chosen)


def forest(found: Agreement, drawn: Comparable, names: Sequence[str]) -> Picture | None:
    """Every method at the notable scalars, in units of the reference posterior."""
    if not drawn.draws or not names:
        return None
    pooled = np.concatenate(list(drawn.draws.values()))
    unit = drawn.draws.get(found.reference, pooled)
    location, scale = unit.mean(axis=(0, 1)), unit.std(axis=(0, 1))
    scale = np.where(scale > 0, scale, 1.0)
    labels = [_marked(label, drawn) for label in drawn.draws]
    tail = (1 - _OUTER) / 2, (1 - _INNER) / 2
    values = np.stack([(draws - location) / scale for draws in drawn.draws.values()])
    summary = np.stack(
        [
            *np.quantile(values, (tail[0], 1 - tail[0], tail[1], 1 - tail[1]), axis=(1, 2)),
            values.mean(axis=(1, 2)),
        ]
    )
    tree = xr.Dataset(
        {name: (("end", "method"), summary[..., j]) for j, name in enumerate(_unique(names))}
    )
    height = 0.85 + 0.165 * len(labels)
    with _drawing() as done:
        collection = azp.PlotCollection.wrap(
            tree,
            cols=["__variable__"],
            col_wrap=len(names),
            figure_kwargs={**_size(_WIDE, height), "sharex": True, "sharey": True},
            **_BACKEND,
        )
        collection.map(_intervals)
        figure = _figure_of(collection)
        for axes, name in zip(figure.axes, _unique(names), strict=True):
            axes.set_title(name)
        first = figure.axes[0]
        first.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
        first.set_yticks(range(len(labels)), labels)
        first.set_ylim(len(labels) - 0.4, -0.6)
        low, high = first.get_xlim()
        first.set_xlim(max(low, -_FARTHEST), min(high, _FARTHEST))
        against = f"{_text(found.reference)} mean" if found.reference else "mean of all methods"
        figure.supxlabel(f"standard deviations from the {against}", fontsize=8.5)
        figure.subplots_adjust(
            left=_room(labels) / _WIDE, right=0.995, top=1 - 0.25 / height,
            bottom=0.5 / height, wspace=0.08,
        )  # fmt: skip
        cut = bool(low < -_FARTHEST or high > _FARTHEST)
        return done(
            figure,
            "forest",
            f"Forest plot of {', '.join(names)} under {', '.join(drawn.draws)}, in standard "
            "deviations of the reference posterior; the numbers are in the tables of sections 3 "
            "and 4.",
            _forest_caption(found, drawn, names, cut),
        )


def _intervals(ends: xr.DataArray, target: Any) -> None:
    """Outer and inner interval and mean of every method, one below the other."""
    outer, inner, mean = ends.values[:2], ends.values[2:4], ends.values[4]
    rows = np.arange(mean.size)
    target.axvline(0, color="#444444", linewidth=0.6, linestyle=":", zorder=0)
    target.plot(outer, np.stack([rows, rows]), color=_COLOURS[0], linewidth=0.9)
    target.plot(inner, np.stack([rows, rows]), color=_COLOURS[0], linewidth=2.4)
    target.plot(mean, rows, "o", color="white", markeredgecolor=_COLOURS[0], markersize=3.6)
    target.tick_params(axis="y", length=0)


def _forest_caption(found: Agreement, drawn: Comparable, names: Sequence[str], cut: bool) -> str:
    parts = [
        "Thick 50 %, thin 89 % equal-tailed intervals and means, in standard deviations of the "
        + (f"reference, {found.reference}." if found.reference else "draws of all methods.")
    ]
    if drawn.approximated:
        parts.append(
            "† sampling approximation: the method has no draws, so it is shown as draws from "
            "N(estimate, covariance); without a standard error, as a point."
        )
    if drawn.unreliable:
        parts.append("‡ has problems (section 2): not to be relied on.")
    hidden = len(found.scalars) - len(names)
    if hidden > 0:
        which = "those on which the methods differ most" if found.reference else "the first"
        parts.append(
            f"Of {len(found.scalars)} scalars {len(names)} are drawn, {which}; the tables have all."
        )
    if cut:
        parts.append(f"The axis is cut at {_FARTHEST:g} standard deviations.")
    return " ".join(parts)


def densities(drawn: Comparable, names: Sequence[str]) -> Picture | None:
    """The densities of all methods with a spread, on one axis per scalar."""
    shown = names[:_PANELS]
    size = len(shown)
    moving: dict[str, np.ndarray] = {}
    for label, draws in drawn.draws.items():
        twins = map(without_engine, moving)
        if (draws[..., :size].std(axis=(0, 1)) > 0).all() and without_engine(label) not in twins:
            moving[label] = draws[..., :size]
    if not moving or not size:
        return None
    labels = _unique([_marked(label, drawn) for label in moving])
    titles = _unique(shown)
    trees = {
        label: _tree({title: draws[..., j] for j, title in enumerate(titles)})
        for label, draws in zip(labels, moving.values(), strict=True)
    }
    rows = (size + 1) // 2
    height = 2.1 * rows + 0.16 * len(labels) + 0.2
    with _drawing() as done:
        collection = azp.plot_dist(
            trees if len(trees) > 1 else next(iter(trees.values())),
            kind="kde",
            visuals={
                "point_estimate": False,
                "point_estimate_text": False,
                "credible_interval": False,
            },
            col_wrap=2,
            figure_kwargs={
                "figsize": (_WIDTH, height),
                "figsize_units": "inches",
                "layout": "none",
            },
            **({"color": list(_COLOURS)} if len(trees) > 1 else {}),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        for axes in figure.axes[size:]:
            axes.set_visible(False)
        lines = figure.axes[0].get_lines()
        figure.legend(
            lines[: len(labels)], labels, loc="lower center", ncols=2, frameon=False, fontsize=8
        )
        legend = 0.16 * ((len(labels) + 1) // 2) + 0.15
        figure.subplots_adjust(
            left=0.05,
            right=0.97,
            top=1 - 0.3 / height,
            bottom=(legend + 0.35) / height,
            hspace=0.45,
        )
        note = " † sampling approximation, N(estimate, covariance)." if drawn.approximated else ""
        note += " ‡ has problems (section 2)." if drawn.unreliable else ""
        return done(
            figure,
            "densities",
            f"Kernel density estimates of {', '.join(shown)} under {', '.join(moving)}.",
            "Density of every method with a spread, by one engine, on one axis per scalar." + note,
        )


def pairs(result: CaseResult, label: str, names: Sequence[str]) -> Picture | None:
    """The joint posterior of the reference."""
    shown = names[:3]
    draws = own_draws(result.estimates[label], shown) if label else None
    if draws is None or len(shown) < 2:
        return None
    tree, _ = _thin(_tree({t: draws[..., j] for j, t in enumerate(_unique(shown))}))
    side = 1.7 * len(shown) + 0.4
    with _drawing() as done:
        collection = azp.plot_pair(
            tree,
            marginal=True,
            visuals={
                "scatter": {"alpha": 0.25, "size": 4, "color": _COLOURS[0]},
                "divergence": False,
            },
            figure_kwargs=_size(side, side),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(
            left=0.13, right=0.98, top=0.98, bottom=0.1, wspace=0.35, hspace=0.25
        )
        return done(
            figure,
            "pairs",
            f"Scatter plots of the {label} draws of {', '.join(shown)}, in pairs.",
            f"Joint draws of {label}: where a cloud is tilted, a method without correlations is "
            "too narrow.",
            "png",
        )


def ranks(label: str, fit: Estimate, names: Sequence[str], number: int) -> Picture | None:
    """Whether the chains of a sampler draw alike."""
    shown = names[:3]
    draws = own_draws(fit, shown)
    if draws is None or not shown or draws.shape[0] < 2:
        return None
    tree, every = _thin(_tree({t: draws[..., j] for j, t in enumerate(_unique(shown))}))
    thinned = f", one draw in {every}" if every > 1 else ""
    with _drawing() as done:
        collection = azp.plot_rank(
            tree,
            figure_kwargs=_size(_WIDTH, 2.3),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.04, right=0.98, top=0.8, bottom=0.22, wspace=0.15)
        return done(
            figure,
            f"ranks-{number}",
            f"Rank plot of the {draws.shape[0]} chains of {label} for {', '.join(shown)}.",
            f"{label}{thinned}: difference between the distribution of each chain's ranks and the "
            "uniform one. p is the probability of differences at least as large among chains that "
            "draw alike; points that stand out below α are marked.",
            "png",
        )


def traces(label: str, fit: Estimate, names: Sequence[str], number: int) -> Picture | None:
    """Each chain's path."""
    shown = names[:3]
    draws = own_draws(fit, shown)
    if draws is None or not shown:
        return None
    tree, every = _thin(_tree({t: draws[..., j] for j, t in enumerate(_unique(shown))}))
    thinned = f", one draw in {every}" if every > 1 else ""
    with _drawing() as done:
        collection = azp.plot_trace(
            tree,
            visuals={"trace": {"width": 0.4}},
            figure_kwargs=_size(_WIDTH, 2.3),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.07, right=0.98, top=0.88, bottom=0.2, wspace=0.3)
        return done(
            figure,
            f"traces-{number}",
            f"Trace plot of the {draws.shape[0]} chains of {label} for {', '.join(shown)}.",
            f"{label}{thinned}: draws in order; a healthy sampler has no drift and no chain of its "
            "own.",
            "png",
        )


def energy(label: str, fit: Estimate, number: int) -> Picture | None:
    """Whether the sampler's momentum explores the whole energy distribution."""
    if fit.draws is None or "sample_stats" not in fit.draws.children:
        return None
    stats = fit.draws["sample_stats"].to_dataset()
    if "energy" not in stats or not float(stats["energy"].std()) > 0:
        return None
    energies = stats[["energy"]].transpose("chain", "draw")
    tree = xr.DataTree.from_dict({"sample_stats": energies})
    with _drawing() as done:
        collection = azp.plot_energy(
            tree,
            figure_kwargs=_size(_WIDTH * 0.62, 2.2),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.12, right=0.97, top=0.88, bottom=0.16, wspace=0.2)
        return done(
            figure,
            f"energy-{number}",
            f"Marginal energy and energy transitions of {label}.",
            f"{label}: where the transition density is much narrower than the marginal one, the "
            "sampler does not reach the tails (E-BFMI below 0.3).",
        )


def paths(result: CaseResult) -> Picture | None:
    """EM's climb, the ELBO's path and where restarts ended."""
    climbs = _records(result, "climb")
    elbos = _records(result, "elbo")
    restarts = _records(result, "restart_log_likelihood")
    panels = [
        (title, kind, found)
        for title, kind, found in (
            ("EM: nats below its last ℓ", "climb", climbs),
            ("Gaussian VI: ELBO, nats", "elbo", elbos),
            ("restarts: nats below the best", "restart", restarts),
        )
        if found
    ]
    if not panels:
        return None
    with _drawing() as done:
        longest = max(len(found) for _, _, found in panels)
        height = 2.5 + 0.14 * longest
        figure, grid = plt.subplots(1, len(panels), figsize=(_WIDTH, height), squeeze=False)
        figure.subplots_adjust(
            left=0.1, right=0.98, top=1 - 0.3 / height, bottom=(0.65 + 0.14 * longest) / height,
            wspace=0.4,
        )  # fmt: skip
        for axes, (title, kind, found) in zip(grid[0], panels, strict=True):
            axes.set_title(title)
            for place, (label, values) in enumerate(found.items()):
                _path(axes, kind, label, values, _COLOURS[place % len(_COLOURS)])
            axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(-0.2, -0.22))
            if kind == "elbo":  # the first steps are far below
                low = min(np.nanquantile(values, 0.1) for values in found.values())
                high = max(np.nanmax(values) for values in found.values())
                axes.set_ylim(low - 0.1 * (high - low) - 1e-9, high + 0.1 * (high - low) + 1e-9)
            else:
                axes.minorticks_off()
                axes.yaxis.set_major_formatter("{x:.0e}")
        return done(
            figure,
            "paths",
            "Paths of the iterative methods: "
            + "; ".join(f"{title} for {', '.join(found)}" for title, _, found in panels),
            "EM climbs at every step. The ELBO must have levelled off. Restarts that share the "
            "lowest line found the same optimum.",
        )


def _path(axes: Any, kind: str, label: str, values: np.ndarray, colour: str) -> None:
    name = _text(label)
    values = values[np.isfinite(values)]
    if kind == "elbo":
        keep = np.unique(np.linspace(0, values.size - 1, min(values.size, 600)).astype(int))
        axes.plot(keep, values[keep], color=colour, label=name, linewidth=0.8)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_xlabel("step")
    elif kind == "climb":
        short_of = np.maximum(values[-1] - values, 0.0)
        steps = np.flatnonzero(short_of > 1e-10)
        axes.semilogy(steps, short_of[steps], color=colour, label=name, linewidth=1)
        axes.set_xlabel("iteration")
    else:
        short_of = np.maximum(np.max(values) - np.sort(values)[::-1], 1e-10)
        axes.semilogy(
            np.arange(1, values.size + 1), short_of, "o-", color=colour, label=name, markersize=3,
            linewidth=0.6,
        )  # fmt: skip
        axes.set_ylim(5e-11, max(1.0, axes.get_ylim()[1]))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("restart, best first")


def _records(result: CaseResult, name: str) -> dict[str, np.ndarray]:
    found = {
        label: np.asarray(fit.record[name].values, float).ravel()
        for label, fit in result.estimates.items()
        if name in fit.record
    }
    return {label: values for label, values in found.items() if np.isfinite(values).any()}


def spreads(found: Agreement, names: Sequence[str]) -> Picture | None:
    """Each method's spread over the reference's."""
    cells = {label: [c[n] for n in names if n in c] for label, c in found.cells.items()}
    cells = {label: row for label, row in cells.items() if any(np.isfinite(c.ratio) for c in row)}
    if not cells:
        return None
    height = 0.75 + 0.23 * len(cells)
    with _drawing() as done:
        figure, axes = plt.subplots(figsize=(_WIDTH, height))
        figure.subplots_adjust(
            left=_room(cells) / _WIDTH, right=0.8, top=1 - 0.1 / height, bottom=0.5 / height
        )
        axes.axvspan(0.95, 1.05, color="#dfe6ee", zorder=0)
        axes.axvline(1, color="#444444", linewidth=0.6, linestyle=":")
        markers = "osD^vP*X<>hd"
        for place, name in enumerate(names[: len(markers)]):
            rows = [
                (y, label_cells[place])
                for y, label_cells in enumerate(cells.values())
                if place < len(label_cells)
            ]
            axes.errorbar(
                [cell.ratio for _, cell in rows],
                [y + 0.5 * ((place + 0.5) / len(names) - 0.5) for y, _ in rows],
                xerr=[2 * cell.ratio_error for _, cell in rows],
                fmt=markers[place], markersize=4, linewidth=0.8, color=_COLOURS[place % 12],
                label=_text(name, 24),
            )  # fmt: skip
        axes.set_yticks(range(len(cells)), _unique(list(cells)))
        axes.invert_yaxis()
        axes.set_xlabel(f"spread / spread of {_text(found.reference)}")
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return done(
            figure,
            "spreads",
            f"Standard errors and standard deviations of {', '.join(cells)} over those of "
            f"{found.reference}, for {', '.join(names)}.",
            "Standard errors and posterior standard deviations over those of "
            f"{found.reference}, with two Monte Carlo standard errors; the band is ±5 %. The "
            "statements below hold them against the Fisher information.",
        )


def orders(rows: Sequence[Row]) -> Picture | None:
    """Information criteria by order."""
    curves: dict[str, dict[int, tuple[float, float]]] = {}
    for row in rows:
        order = str(row["method"]).removeprefix("order ")
        criterion = str(row["criterion"]).removesuffix(" (singular)")
        if order != row["method"] and order.isdecimal() and criterion in ("aic", "bic", "wbic"):
            curves.setdefault(criterion, {})[int(order)] = (row["value"], row["error"])
    curves = {c: points for c, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    with _drawing() as done:
        figure, axes = plt.subplots(figsize=(_WIDTH * 0.75, 2.8))
        figure.subplots_adjust(left=0.14, right=0.98, top=0.96, bottom=0.17)
        for (criterion, points), marker, colour in zip(
            curves.items(), "osD", _COLOURS, strict=False
        ):
            places = sorted(points)
            values = [points[place][0] for place in places]
            errors = [2 * np.nan_to_num(points[place][1]) for place in places]
            axes.errorbar(
                places, values, yerr=errors, fmt=f"{marker}-", color=colour, markersize=4,
                linewidth=0.9, label=criterion.upper(),
            )  # fmt: skip
        axes.set_xticks(sorted({place for points in curves.values() for place in points}))
        axes.set_xlabel("order")
        axes.set_ylabel("criterion, smaller is better")
        axes.legend(frameon=False)
        return done(
            figure,
            "orders",
            f"{', '.join(map(str.upper, curves))} by order; the numbers are in the table below.",
            "Each criterion by order, with two standard errors where it has one; the lowest point "
            "is its choice.",
        )


def predictive(replicates: Replicates) -> Picture | None:
    """Densities of replicated data against the data's."""
    columns = _varying(replicates)
    if not columns:
        return None
    wide = min(2, len(columns))
    rows = (len(columns) + 1) // 2
    with _drawing() as done:
        collection = azp.plot_ppc_dist(
            _predicted(replicates, columns),
            kind="kde",
            num_samples=_SETS,
            stats={"predictive_dist": {"bw": "scott"}, "observed_dist": {"bw": "scott"}},
            col_wrap=wide,
            visuals={
                "predictive_dist": {"alpha": 0.5, "width": 0.7, "color": _COLOURS[4]},
                "observed_dist": {"color": "#000000", "width": 1.8},
            },
            figure_kwargs=_size(_WIDTH, 2.3 * rows),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.04, right=0.98, top=0.88, bottom=0.12, hspace=0.4)
        for axes, name in zip(figure.axes, columns, strict=False):
            observed = replicates.observed[name]
            middle, half = np.median(observed), 1.25 * np.ptp(observed)
            axes.set_xlim(middle - half, middle + half)
        return done(
            figure,
            "predictive",
            f"Density of the data and of {_SETS} data sets replicated from {replicates.source}, "
            f"for {', '.join(columns)}.",
            f"Black: the data. Blue: {_SETS} data sets replicated at posterior draws of "
            f"{replicates.source}. Data that leave the bundle do not fit the model.",
        )


def _varying(replicates: Replicates) -> list[str]:
    return [name for name, values in replicates.observed.items() if np.ptp(values) > 0][:_PANELS]


def _predicted(replicates: Replicates, columns: Sequence[str]) -> xr.DataTree:
    titles = _unique(columns)
    groups = {
        "posterior_predictive": {
            title: (("chain", "draw", f"row_{j}"), replicates.replicated[name][None])
            for j, (title, name) in enumerate(zip(titles, columns, strict=True))
        },
        "observed_data": {
            title: ((f"row_{j}",), replicates.observed[name])
            for j, (title, name) in enumerate(zip(titles, columns, strict=True))
        },
    }
    return xr.DataTree.from_dict({name: xr.Dataset(group) for name, group in groups.items()})


def pit(replicates: Replicates) -> Picture | None:
    """Where the data lie among their replicates, against the uniform distribution."""
    columns = _varying(replicates)
    if not columns:
        return None
    first = replicates.observed[columns[0]]
    columns = [name for name in columns if replicates.observed[name].size == first.size]
    tree = _tree(
        {
            title: _transforms(replicates.observed[name], replicates.replicated[name])[None]
            for title, name in zip(_unique(columns), columns, strict=True)
        }
    )
    with _drawing() as done:
        collection = azp.plot_ecdf_pit(
            tree,
            group="posterior",
            col_wrap=len(columns),
            figure_kwargs=_size(_WIDTH, 2.3),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.09, right=0.98, top=0.85, bottom=0.22, wspace=0.35)
        return done(
            figure,
            "pit",
            "Difference between the distribution of the probability integral transforms of "
            f"{', '.join(columns)} under {replicates.source} and the uniform one.",
            "Share of the replicates below each datum: its distribution less the uniform one. The "
            "data chose the posterior, so it is flatter than for new data; p is small where the "
            "model does not fit.",
        )


def _transforms(observed: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """Midpoints of the data's ranks among their replicates, in (0, 1)."""
    below = (replicated < observed).sum(axis=0) + 0.5 * (replicated == observed).sum(axis=0)
    return (below + 0.5) / (len(replicated) + 1)


def prior_posterior(
    prior: Mapping[str, np.ndarray], posterior: Mapping[str, np.ndarray], label: str
) -> Picture | None:
    """What the data added to the prior."""
    names = list(prior)
    if not names:
        return None
    titles = _unique(names)
    groups = {
        group: xr.Dataset(
            {
                title: (("chain", "draw"), draws[name][None])
                for title, name in zip(titles, names, strict=True)
            }
        )
        for group, draws in (("prior", prior), ("posterior", posterior))
    }
    with _drawing() as done:
        collection = azp.plot_prior_posterior(
            xr.DataTree.from_dict(groups),
            kind="kde",
            col_wrap=len(names),
            color=list(_COLOURS[1::-1]),
            figure_kwargs=_size(_WIDTH, 2.1),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(left=0.03, right=0.98, top=0.85, bottom=0.15, wspace=0.15)
        return done(
            figure,
            "prior-posterior",
            f"Densities of the prior and of the posterior by {label} of {', '.join(names)}.",
            f"Orange: the prior, between its 5 % and 95 % quantiles. Blue: the posterior by "
            f"{label}. Where the two are alike, the data say little.",
        )


def graph(parents: Mapping[str, tuple[str, ...]], observed: frozenset[str]) -> Picture | None:
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
    with _drawing() as done:
        figure = Figure(figsize=(max(2.5, 1.6 * wide), 0.75 * len(rows)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, wide)
        axes.set_ylim(0.5 - len(rows), 0.5)
        for site, above in parents.items():
            for parent in above:
                axes.annotate(
                    "", places[site], places[parent],
                    arrowprops={"arrowstyle": "->", "shrinkA": 11, "shrinkB": 11, "lw": 0.8},
                )  # fmt: skip
            ground = "#d5dce4" if site in observed else "white"
            axes.text(
                *places[site], _text(site, 24), ha="center", va="center",
                bbox={"boxstyle": "round,pad=0.45", "facecolor": ground, "linewidth": 0.8},
            )  # fmt: skip
        return done(
            figure,
            "graph",
            "Graph of the model: "
            + "; ".join(
                f"{site} depends on {', '.join(above) or 'nothing'}"
                for site, above in parents.items()
            ),
            "What the density of each site depends on; grey is observed.",
        )


def compared(table: pd.DataFrame, name: str, data: str) -> Picture:
    """Models of the same data by their expected log predictive density."""
    labels = _unique(list(map(str, table.index)))
    height = 0.6 + 0.35 * len(table)
    with _drawing() as done:
        collection = azp.plot_compare(
            table.set_axis(labels),
            visuals={"title": False},
            figure_kwargs=_size(_WIDTH, height),
            **_BACKEND,
        )
        figure = _figure_of(collection)
        figure.subplots_adjust(
            left=_room(labels) / _WIDTH, right=0.97, top=1 - 0.15 / height, bottom=0.45 / height
        )
        figure.axes[0].margins(y=0.4 / len(table))  # else the edge cuts the outer marks
        return done(
            figure,
            name,
            f"Expected log predictive density of {', '.join(table.index)} on {data}, less the "
            "best one's.",
            "Expected log pointwise predictive density by leave-one-out cross-validation, less the "
            "best model's, with one standard error of the difference.",
        )


def ladder(name: str, table: xr.Dataset) -> Picture:
    """Statistics of estimators against the number of units: a panel for each statistic."""
    rows = table.to_dataframe()
    shown = rows[rows["quantity"].isin(list(dict.fromkeys(rows["quantity"]))[:PANELS])]
    statistics = list(dict.fromkeys(shown["statistic"]))
    lines = list(dict.fromkeys(zip(shown["estimator"], shown["quantity"], strict=True)))
    down, legend = (len(statistics) + 1) // 2, 0.16 * ((len(lines) + 1) // 2) + 0.2
    height = 2.3 * down + legend
    with _drawing() as done:
        figure, grid = plt.subplots(
            down, min(2, len(statistics)), figsize=(_WIDTH, height), squeeze=False, sharex=True
        )
        figure.subplots_adjust(
            left=0.09, right=0.98, top=1 - 0.3 / height, bottom=(legend + 0.4) / height,
            hspace=0.25, wspace=0.25,
        )  # fmt: skip
        for axes in grid.flat[len(statistics) :]:
            axes.set_axis_off()
        for axes, statistic in zip(grid.flat, statistics, strict=False):
            axes.set_title(_text(statistic))
            axes.set_xscale("log")
            axes.set_xticks(sorted(set(rows["n"])), sorted(set(rows["n"])))
            axes.minorticks_off()
            for place, (estimator, quantity) in enumerate(lines):
                line = shown[
                    (shown["statistic"] == statistic)
                    & (shown["estimator"] == estimator)
                    & (shown["quantity"] == quantity)
                ].sort_values("n")
                colour = _COLOURS[place % len(_COLOURS)]
                aside = 1 + 0.015 * (place - (len(lines) - 1) / 2)
                axes.errorbar(
                    line["n"] * aside, line["value"], yerr=1.96 * line["error"].fillna(0.0),
                    fmt="o-", markersize=3, linewidth=0.9, color=colour,
                    label=_text(f"{quantity}, {estimator}" if quantity else estimator),
                )  # fmt: skip
                axes.plot(line["n"], line["theory"], "--", color=colour, linewidth=0.8)
        for axes in grid[-1]:
            axes.set_xlabel("units")
        figure.legend(
            *grid[0, 0].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False,
            fontsize=8,
        )  # fmt: skip
        hidden = rows["quantity"].nunique() - shown["quantity"].nunique()
        return done(
            figure,
            f"ladder-{name}",
            f"{'; '.join(statistics)} against the number of units, for "
            + ", ".join(" by ".join(reversed(line)) for line in lines),
            "Against the number of units, with 95 % Monte Carlo intervals; dashed: theory."
            + (f" {hidden} more quantities are in the table." if hidden else ""),
        )


_TICKS = 6
"""Most places that have a tick each on a logarithmic axis."""


def curves(name: str, shown: Curves) -> Picture:
    """What a theory entry measured, with markers where it is sparse; dashed: theory."""
    lines = [*shown.measured, *(line for line in shown.theory if line not in shown.measured)]
    legend = 0.17 * ((len(lines) + 1) // 2) + 0.2
    height = 2.6 + legend
    with _drawing() as done:
        figure, axes = plt.subplots(figsize=(_WIDTH * 0.8, height))
        figure.subplots_adjust(
            left=0.14, right=0.97, top=1 - 0.3 / height, bottom=(legend + 0.45) / height
        )
        axes.set_title(_text(shown.title, 90))
        for place, line in enumerate(lines):
            colour = _COLOURS[place % len(_COLOURS)]
            for found, dashes in ((shown.measured, "-"), (shown.theory, "--")):
                if line in found:
                    x, y = found[line]
                    mark = "o" if len(x) < 30 and dashes == "-" else ""
                    # points alone, where a line of theory runs through them
                    style = "none" if mark and line in shown.theory else dashes
                    label = _text(line) if dashes == "-" or line not in shown.measured else None
                    axes.plot(
                        x, y, linestyle=style, marker=mark, markersize=3, linewidth=1,
                        color=colour, label=label,
                    )  # fmt: skip
        if "x" in shown.logarithmic:
            axes.set_xscale("log")
            places = sorted({place for x, _ in shown.measured.values() for place in x})
            if len(places) <= _TICKS:
                axes.set_xticks(places, [f"{place:g}" for place in places])
                axes.minorticks_off()
        if "y" in shown.logarithmic:
            axes.set_yscale("log")
        axes.set_xlabel(_text(shown.x, 90))
        axes.set_ylabel(fill(_text(shown.y, 60), 36))
        figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=8)
        return done(
            figure,
            f"curves-{name}",
            f"{shown.title}: {shown.y} against {shown.x}, for {', '.join(lines)}",
            f"{shown.title}." + (" Dashed: theory, or what is fitted." if shown.theory else ""),
        )


def costs(rows: Sequence[Row]) -> Picture | None:
    """Where the seconds went."""
    if not rows:
        return None
    with _drawing() as done:
        height = 0.75 + 0.2 * len(rows)
        figure, axes = plt.subplots(figsize=(_WIDTH, height))
        figure.subplots_adjust(
            left=_room(row["method"] for row in rows) / _WIDTH, right=0.98, top=1 - 0.1 / height,
            bottom=0.5 / height,
        )  # fmt: skip
        places = np.arange(len(rows))
        left = np.zeros(len(rows))
        for part, colour, hatch in (
            ("compile", "#999999", ""), ("warm_up", "#e69f00", "///"), ("run", "#0072b2", ""),
        ):  # fmt: skip
            width = np.nan_to_num([row[part] for row in rows])
            axes.barh(
                places, width, left=left, color=colour, hatch=hatch, label=part.replace("_", "-"),
                height=0.65,
            )  # fmt: skip
            left += width
        axes.set_yticks(places, _unique([row["method"] for row in rows]))
        axes.invert_yaxis()
        axes.set_xlabel("seconds")
        axes.legend(frameon=False, fontsize=7.5)
        return done(
            figure,
            "costs",
            "Bars of the seconds that each method compiled, warmed up and ran: "
            + ", ".join(f"{row['method']} {row['total']:.2g} s" for row in rows),
            "Seconds by part. A stored fit shows the time it took when it was made.",
        )


def _thin(tree: xr.DataTree) -> tuple[xr.DataTree, int]:
    """At most _DRAWS draws of each chain, and out of how many each of them is."""
    every = -(-tree["posterior"].sizes["draw"] // _DRAWS)
    return tree.isel(draw=slice(None, None, every)), every


def _room(labels: Iterable[str]) -> float:
    """Inches that the longest label of a vertical axis takes."""
    return 0.15 + 0.07 * max(map(len, labels))


def _size(width: float, height: float) -> dict[str, Any]:
    return {"figsize": (width, height), "figsize_units": "inches", "layout": "none"}


def _marked(label: str, drawn: Comparable) -> str:
    marks = "†" * (label in drawn.approximated) + "‡" * (label in drawn.unreliable)
    return f"{_text(label)} {marks}" if marks else label


def _text(name: str, length: int = 40) -> str:
    """A name as matplotlib shows it literally, on one line, with its dollars."""
    return short(" ".join(name.split()), length).replace("$", r"\$")


def _unique(names: Sequence[str]) -> list[str]:
    """Names that a figure can show: short, visible, distinct, and fit to name a variable."""
    found: list[str] = []
    for name in names:
        text = _text(name.replace("/", "∕")) or "?"
        while text in found:
            text += "′"
        found.append(text)
    return found


def _tree(arrays: Mapping[str, np.ndarray], **more: Sequence[str]) -> xr.DataTree:
    dims = ("chain", "draw", *more)
    chains, draws = next(iter(arrays.values())).shape[:2]
    coords = {"chain": np.arange(chains), "draw": np.arange(draws), **more}
    dataset = xr.Dataset({name: (dims, array) for name, array in arrays.items()}, coords)
    return xr.DataTree.from_dict({"posterior": dataset})


def _figure_of(collection: Any) -> Figure:
    return collection.viz["figure"].item()


class _Finish:
    """Turns the figure that was drawn into a picture."""

    def __call__(
        self,
        figure: Figure,
        name: str,
        alt: str,
        caption: str,
        media: Literal["svg", "png"] = "svg",
    ) -> Picture:
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if media == "svg" else {"Software": None}
        figure.savefig(buffer, format=media, dpi=160 if media == "png" else 72, metadata=metadata)
        kind = "image/svg+xml" if media == "svg" else "image/png"
        uri = f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        width, height = figure.get_size_inches() * 100
        return Picture(name, uri, short(alt, 600), caption, round(width), round(height))


@contextlib.contextmanager
def _drawing() -> Iterator[_Finish]:
    """The report's style for a while; every figure made meanwhile is closed at the end."""
    before = set(plt.get_fignums())
    with plt.ioff(), style.context(["default", _STYLE]), warnings.catch_warnings():
        # a name may hold characters that the font does not have
        warnings.filterwarnings("ignore", message="Glyph ")
        try:
            yield _Finish()
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
