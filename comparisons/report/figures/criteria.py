"""Criteria by order, and models of the same data beside each other."""

from collections.abc import Sequence

import arviz_plots as azp
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from comparisons.report.figures import canvas
from comparisons.report.tables import Row


@canvas.drawing()
def orders(rows: Sequence[Row]) -> canvas.Picture | None:
    """Information criteria by order."""
    curves: dict[str, dict[int, tuple[float, float]]] = {}
    for row in rows:
        order = str(row["method"]).removeprefix("order ")
        criterion = str(row["criterion"]).removesuffix(" (singular)")
        if order != row["method"] and order.isdecimal() and criterion in ("aic", "bic", "wbic"):
            curves.setdefault(criterion, {})[int(order)] = (row["value"], row["error"])
    curves = {c: dict(sorted(points.items())) for c, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure, axes = plt.subplots(figsize=(canvas.WIDTH * 0.75, 2.8))
    figure.subplots_adjust(0.14, 0.17, 0.98, 0.96)
    for place, (criterion, points) in enumerate(curves.items()):
        values, errors = zip(*points.values(), strict=True)
        axes.errorbar(
            list(points),
            values,
            yerr=2 * np.nan_to_num(errors),
            fmt=f"{'osD'[place]}-",
            color=canvas.COLOURS[place],
            markersize=4,
            linewidth=0.9,
            label=criterion.upper(),
        )
    axes.set_xticks(sorted({place for points in curves.values() for place in points}))
    axes.set_xlabel("order")
    axes.set_ylabel("criterion, smaller is better")
    axes.legend(frameon=False)
    return canvas.picture(
        figure,
        "orders",
        f"{', '.join(map(str.upper, curves))} by order; the numbers are in the table below.",
        "Each criterion by order, with two standard errors where it has one; the lowest point "
        "is its choice.",
    )


@canvas.drawing()
def compared(table: pd.DataFrame, name: str, data: str) -> canvas.Picture:
    """Models of the same data by their expected log predictive density."""
    labels = canvas.unique(list(map(str, table.index)))
    height = 0.6 + 0.35 * len(table)
    size, titled = (canvas.WIDTH, height), table.set_axis(labels)
    figure = canvas.arviz(azp.plot_compare, titled, size, visuals={"title": False})
    left = canvas.room(labels) / canvas.WIDTH
    figure.subplots_adjust(left, 0.45 / height, 0.97, 1 - 0.15 / height)
    figure.axes[0].margins(y=0.4 / len(table))  # else the edge cuts the outer marks
    return canvas.picture(
        figure,
        name,
        f"Expected log predictive density of {', '.join(table.index)} on {data}, less the "
        "best one's.",
        "Expected log pointwise predictive density by leave-one-out cross-validation, less the "
        "best model's, with one standard error of the difference.",
    )
