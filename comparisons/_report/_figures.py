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
from typing import TYPE_CHECKING, Any, Literal, final

import arviz_plots as azp
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.figure import Figure

from comparisons._report._draws import own_draws
from comparisons._report._numbers import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comparisons._case import CaseResult
    from comparisons._report._answer import Agreement
    from comparisons._report._draws import Comparable, Replicates
    from comparisons._report._tables import Row
    from inference._estimate import Estimate

_ROWS = 66
"""Intervals in a forest plot."""
_PANELS = 4
_OUTER, _INNER = 0.89, 0.5
_FARTHEST = 8.0
"""Reference standard deviations beyond which a forest plot cuts."""
_WIDTH = 7.2
"""Inches; also the width at which text has its nominal size."""
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c564b",
    "#7f7f7f", "#9467bd", "#bcbd22", "#17becf",
)  # fmt: skip
_STYLE = {
    "font.size": 8.5,
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
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


def forest_room(methods: int) -> int:
    """How many scalars a forest plot of so many methods has room for."""
    return min(12, max(2, _ROWS // max(methods, 1)))


def forest(
    result: CaseResult, found: Agreement, drawn: Comparable, names: Sequence[str]
) -> Picture | None:
    """Every method at the notable scalars, in units of the reference posterior."""
    if not drawn.draws or not names:
        return None
    unit = drawn.draws.get(found.reference, next(iter(drawn.draws.values())))
    center, scale = unit.mean(axis=(0, 1)), unit.std(axis=(0, 1))
    scale = np.where(scale > 0, scale, 1.0)
    labels = _unique([_marked(label, drawn) for label in drawn.draws])
    values = np.stack([(draws - center) / scale for draws in drawn.draws.values()], axis=2)
    titles = _unique(names)
    tree = _tree({name: values[..., j] for j, name in enumerate(titles)}, method=labels)
    height = 0.75 + 0.165 * len(labels) * len(names)
    with _drawing() as done:
        collection = azp.plot_forest(
            tree,
            combined=True,
            ci_kind="eti",
            ci_probs=(_INNER, _OUTER),
            labels=["__variable__", "method"],
            shade_label="__variable__",
            visuals={
                "labels": {"size": 8},
                "shade": {"color": "#dfe6ee"},
                "point_estimate": {"size": 14},
                "ticklabels": False,
            },
            figure_kwargs={
                "figsize": (_WIDTH, height),
                "figsize_units": "inches",
                "width_ratios": [1.25, 1.75],
                "layout": "none",
            },
            **_BACKEND,
        )
        figure = _figure_of(collection)
        left, right = figure.axes[:2]
        right.axvline(0, color="#444444", linewidth=0.6, linestyle=":", zorder=0)
        low, high = right.get_xlim()
        right.set_xlim(max(low, -_FARTHEST), min(high, _FARTHEST))
        right.set_ylim(-0.9, len(labels) * len(names) - 0.1)
        left.set_xticks([])
        left.spines["bottom"].set_visible(False)
        against = f"{_text(found.reference)} mean" if found.reference else "first method's mean"
        right.set_xlabel(f"standard deviations from the {against}")
        figure.subplots_adjust(left=0.01, right=0.985, top=1 - 0.08 / height, bottom=0.5 / height)
        methods = ", ".join(drawn.draws)
        cut = bool(low < -_FARTHEST or high > _FARTHEST)
        return done(
            figure,
            "forest",
            f"Forest plot of {', '.join(names)} under {methods}, in standard deviations of the "
            "reference posterior; the numbers are in the tables of sections 3 and 4.",
            _forest_caption(found, drawn, names, cut),
        )


def _forest_caption(found: Agreement, drawn: Comparable, names: Sequence[str], cut: bool) -> str:
    parts = [
        "Thick 50 %, thin 89 % equal-tailed intervals and means, in standard deviations of the "
        + (f"reference, {found.reference}." if found.reference else "first method shown.")
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
        parts.append(
            f"Of {len(found.scalars)} scalars, the {len(names)} on which the methods differ most "
            "are drawn; the tables have all."
        )
    if cut:
        parts.append(f"The axis is cut at {_FARTHEST:g} standard deviations.")
    return " ".join(parts)


def densities(drawn: Comparable, names: Sequence[str]) -> Picture | None:
    """The densities of all methods with a spread, on one axis per scalar."""
    shown = names[:_PANELS]
    size = len(shown)
    moving = {
        label: draws[..., :size]
        for label, draws in drawn.draws.items()
        if (draws[..., :size].std(axis=(0, 1)) > 0).all()
    }
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
            "Density of every method with a spread, on one axis per scalar." + note,
        )


def pairs(result: CaseResult, label: str, names: Sequence[str]) -> Picture | None:
    """The joint posterior of the reference."""
    shown = names[:3]
    draws = own_draws(result.estimates[label], shown) if label else None
    if draws is None or len(shown) < 2:
        return None
    draws = draws[:, :: max(1, draws.shape[1] // 400)]
    tree = _tree({title: draws[..., j] for j, title in enumerate(_unique(shown))})
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
    every = max(1, draws.shape[1] // 500)
    draws = draws[:, ::every]
    thinned = f", every {every}th draw" if every > 1 else ""
    tree = _tree({title: draws[..., j] for j, title in enumerate(_unique(shown))})
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
    tree = _tree({title: draws[..., j] for j, title in enumerate(_unique(shown))})
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
            f"{label}: draws in order; a healthy sampler has no drift and no chain of its own.",
            "png",
        )


def energy(label: str, fit: Estimate, number: int) -> Picture | None:
    """Whether the sampler's momentum explores the whole energy distribution."""
    if fit.draws is None or "energy" not in fit.draws["sample_stats"]:
        return None
    stats = fit.draws["sample_stats"].to_dataset()[["energy"]]
    if not float(stats["energy"].std()) > 0:
        return None
    tree = xr.DataTree.from_dict({"sample_stats": stats.transpose("chain", "draw")})
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
            ("SVI: ELBO, nats", "elbo", elbos),
            ("restarts: nats below the best", "restart", restarts),
        )
        if found
    ]
    if not panels:
        return None
    with _drawing() as done:
        figure, grid = plt.subplots(
            1, len(panels), figsize=(_WIDTH, 3.2), squeeze=False, layout="constrained"
        )
        for axes, (title, kind, found) in zip(grid[0], panels, strict=True):
            axes.set_title(title)
            for place, (label, values) in enumerate(found.items()):
                _path(axes, kind, label, values, _COLOURS[place % len(_COLOURS)])
            axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.22))
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
        low, high = np.quantile(values, (0.1, 1.0)).tolist()
        if high - low > 1e-9 * abs(high):  # the first steps are far below
            axes.set_ylim(bottom=max(axes.get_ylim()[0], low - 0.2 * (high - low)))
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
        figure, axes = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
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
        criterion = str(row["criterion"]).partition(" ")[0]
        if order != row["method"] and order.isdecimal() and criterion in ("aic", "bic", "wbic"):
            curves.setdefault(criterion, {})[int(order)] = (row["value"], row["error"])
    curves = {c: points for c, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    with _drawing() as done:
        figure, axes = plt.subplots(figsize=(_WIDTH * 0.75, 2.8), layout="constrained")
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
    columns = [name for name, values in replicates.observed.items() if np.ptp(values) > 0][:_PANELS]
    if not columns:
        return None
    titles = _unique(columns)
    tree = xr.DataTree.from_dict(
        {
            "posterior_predictive": xr.Dataset(
                {
                    title: (("chain", "draw", f"row_{j}"), replicates.replicated[name][None])
                    for j, (title, name) in enumerate(zip(titles, columns, strict=True))
                }
            ),
            "observed_data": xr.Dataset(
                {
                    title: ((f"row_{j}",), replicates.observed[name])
                    for j, (title, name) in enumerate(zip(titles, columns, strict=True))
                }
            ),
        }
    )
    wide = min(2, len(columns))
    rows = (len(columns) + 1) // 2
    count = len(next(iter(replicates.replicated.values())))
    with _drawing() as done:
        collection = azp.plot_ppc_dist(
            tree,
            kind="kde",
            num_samples=count,
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
            f"Density of the data and of {count} data sets replicated from {replicates.source}, "
            f"for {', '.join(columns)}.",
            f"Black: the data. Blue: {count} data sets replicated at posterior draws of "
            f"{replicates.source}. Data that leave the bundle do not fit the model.",
        )


def costs(rows: Sequence[Row]) -> Picture | None:
    """Where the seconds went."""
    if not rows:
        return None
    with _drawing() as done:
        figure, axes = plt.subplots(figsize=(_WIDTH, 0.75 + 0.2 * len(rows)), layout="constrained")
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
