"""Numbers along an axis: criteria by order, statistics by number of units, curves of the theory."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from comparisons.exhibits import Curves
from comparisons.report.figures import canvas
from comparisons.report.headline import NOTABLE, Row

_TICKS = 6  # most places that have a tick each on a logarithmic axis
_SPARSE = 30  # points below which a curve has markers


@canvas.drawing()
def orders(rows: Sequence[Row]) -> canvas.Picture | None:
    """Information criteria by order."""
    table = pd.DataFrame(rows, columns=["method", "criterion", "value", "error"]).astype(
        {"method": str, "criterion": str}
    )
    table["order"] = pd.to_numeric(table["method"].str.extract(r"^order (\d+)$")[0])
    table["criterion"] = table["criterion"].str.removesuffix(" (singular)")
    table = table[table["order"].notna() & table["criterion"].isin(["aic", "bic", "wbic"])]
    lines = [(str(n), part) for n, part in table.groupby("criterion", sort=False) if len(part) > 1]
    if not lines:
        return None
    figure, axes = canvas.panel(2.6, left=0.65)
    for place, (criterion, part) in enumerate(lines):
        points = part.sort_values("order")
        axes.errorbar(
            points["order"],
            points["value"],
            yerr=2 * points["error"].fillna(0.0),
            fmt=f"{'osD'[place]}-",
            color=canvas.COLOURS[place],
            markersize=4,
            linewidth=0.9,
            label=criterion.upper(),
        )
    axes.set_xticks(sorted({order for _, part in lines for order in part["order"]}))
    axes.set_xlabel("order")
    axes.set_ylabel("criterion, smaller is better")
    axes.legend(frameon=False)
    return canvas.picture(
        [figure],
        "orders",
        f"{', '.join(name.upper() for name, _ in lines)} by order; the numbers are in the table "
        "below.",
        "Each criterion by order, with two standard errors where it has one; the lowest point "
        "is its choice.",
    )


@canvas.drawing()
def ladder(name: str, rows: pd.DataFrame) -> canvas.Picture:
    """Statistics of estimators against the number of units: a panel for each statistic."""
    shown = rows[rows["quantity"].isin(rows["quantity"].unique()[:NOTABLE])]
    statistics = shown["statistic"].unique()
    lines = list(dict.fromkeys(zip(shown["estimator"], shown["quantity"], strict=True)))
    places, figures = sorted(set(rows["n"])), list[Figure]()
    for statistic in statistics:
        figure, axes = canvas.panel(2.4, canvas.literal(statistic), left=0.6)
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        for place, line in enumerate(lines):
            aside = 1 + 0.015 * (place - (len(lines) - 1) / 2)
            _rungs(axes, shown[shown["statistic"] == statistic], line, place, aside)
        axes.set_xlabel("units")
        figures.append(figure)
    hidden = rows["quantity"].nunique() - shown["quantity"].nunique()
    return canvas.picture(
        [*figures, canvas.key(*figures)],
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
    title = fill(canvas.literal(shown.title, 90), 46)
    figure, axes = canvas.panel(2.6 + 0.17 * title.count("\n"), title, left=0.75)
    for place, line in enumerate(lines):
        _curve(axes, shown, line, canvas.COLOURS[place % len(canvas.COLOURS)])
    if "x" in shown.logarithmic:
        axes.set_xscale("log")
        places = sorted({place for x, _ in shown.measured.values() for place in x})
        if len(places) <= _TICKS:
            axes.set_xticks(places, list(map(_tick, places)))
            axes.minorticks_off()
    if "y" in shown.logarithmic:
        axes.set_yscale("log")
    axes.set_xlabel(fill(canvas.literal(shown.x, 90), 46))
    axes.set_ylabel(fill(canvas.literal(shown.y, 60), 30))
    return canvas.picture(
        [figure, canvas.key(figure)],
        f"curves-{name}",
        f"{shown.title}: {shown.y} against {shown.x}, for {', '.join(lines)}",
        f"{shown.title}." + (" Dashed: theory, or what is fitted." if shown.theory else ""),
    )


def _tick(value: float) -> str:
    """A place on an axis: `1/512`, not 0.00195312."""
    whole = round(1 / value) if 0 < value < 1 else 0
    return f"1/{whole:,}" if whole > 1 and abs(whole * value - 1) < 1e-9 else f"{value:g}"


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
