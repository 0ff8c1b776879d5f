"""Replicated data sets beside the data, the prior beside the posterior."""

from collections.abc import Mapping

import arviz_plots as azp
import numpy as np
import xarray as xr

from comparisons.report.draws import Replicates
from comparisons.report.figures import canvas

_SETS = 20
"""Replicated data sets in a figure."""
_BANDWIDTH = {"bw": "scott"}


@canvas.drawing()
def predictive(replicates: Replicates) -> canvas.Picture | None:
    """Densities of replicated data against the data's; of counts, distribution functions."""
    columns = _varying(replicates)
    if not columns:
        return None
    predicted, observed, counts = {}, {}, False
    for title, name in zip(canvas.unique(columns), columns, strict=True):
        row, data, sets = f"row of {title}", replicates.observed[name], replicates.replicated[name]
        predicted[title], observed[title] = (("chain", "draw", row), sets[None]), ((row,), data)
        counts |= not ((data % 1).any() or (sets % 1).any())
    groups = {"posterior_predictive": xr.Dataset(predicted), "observed_data": xr.Dataset(observed)}
    figure = canvas.arviz(
        azp.plot_ppc_dist,
        xr.DataTree.from_dict(groups),
        (canvas.WIDTH, 2.3 * ((len(columns) + 1) // 2)),
        kind="ecdf" if counts else "kde",
        num_samples=_SETS,
        stats={} if counts else dict.fromkeys(("predictive_dist", "observed_dist"), _BANDWIDTH),
        col_wrap=min(2, len(columns)),
        visuals={
            "predictive_dist": {"alpha": 0.5, "width": 0.7, "color": canvas.COLOURS[4]},
            "observed_dist": {"color": "#000000", "width": 1.8},
        },
    )
    figure.subplots_adjust(0.04, 0.12, 0.98, 0.88, hspace=0.4)
    for axes, name in zip(figure.axes, columns, strict=False):
        data = replicates.observed[name]
        middle, half = np.median(data), 1.25 * np.ptp(data)
        axes.set_xlim(middle - half, middle + half)
    shown = "Distribution function" if counts else "Density"
    return canvas.picture(
        figure,
        "predictive",
        f"{shown} of the data and of {_SETS} data sets replicated from {replicates.source}, "
        f"for {', '.join(columns)}.",
        f"{shown}; black: the data, blue: {_SETS} data sets replicated at posterior draws of "
        f"{replicates.source}. Data that leave the bundle do not fit the model.",
    )


def _varying(replicates: Replicates) -> list[str]:
    varying = [name for name, values in replicates.observed.items() if np.ptp(values) > 0]
    return varying[: canvas.COLUMNS]


@canvas.drawing()
def pit(replicates: Replicates) -> canvas.Picture | None:
    """Where the data lie among their replicates, against the uniform distribution."""
    data, columns = replicates.observed, _varying(replicates)
    if not columns:
        return None
    columns = [name for name in columns if data[name].size == data[columns[0]].size]
    ranks = [_transforms(data[name], replicates.replicated[name]) for name in columns]
    figure = canvas.arviz(
        azp.plot_ecdf_pit,
        canvas.tree(columns, np.stack(ranks, axis=-1)[None]),
        (canvas.WIDTH, 2.3),
        group="posterior",
        col_wrap=len(columns),
    )
    figure.subplots_adjust(0.09, 0.22, 0.98, 0.85, 0.35)
    return canvas.picture(
        figure,
        "pit",
        "Difference between the distribution of the probability integral transforms of "
        f"{', '.join(columns)} under {replicates.source} and the uniform one.",
        "Share of the replicates below each datum (ties at random), less the uniform one. The "
        "data chose the posterior, so it is flatter than for new data; p is small where the "
        "model does not fit.",
    )


def _transforms(observed: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """The data's ranks among their replicates, in (0, 1); ties are broken at random."""
    share = np.random.default_rng(0).random(observed.size)
    below = (replicated < observed).sum(axis=0) + share * (replicated == observed).sum(axis=0)
    return (below + 0.5) / (len(replicated) + 1)


@canvas.drawing()
def prior_posterior(
    prior: Mapping[str, np.ndarray], posterior: Mapping[str, np.ndarray], label: str
) -> canvas.Picture | None:
    """The prior beside the posterior, to show what the data added."""
    if not prior:
        return None
    groups = {
        group: canvas.tree(list(prior), np.stack([draws[n] for n in prior], axis=-1)[None])
        for group, draws in (("prior", prior), ("posterior", posterior))
    }
    figure = canvas.arviz(
        azp.plot_prior_posterior,
        xr.DataTree.from_dict({n: tree["posterior"].to_dataset() for n, tree in groups.items()}),
        (canvas.WIDTH, 2.1),
        kind="kde",
        col_wrap=len(prior),
        color=list(canvas.COLOURS[1::-1]),
    )
    figure.subplots_adjust(0.03, 0.15, 0.98, 0.85, 0.15)
    return canvas.picture(
        figure,
        "prior-posterior",
        f"Densities of the prior and of the posterior by {label} of {', '.join(prior)}.",
        "Orange: the prior, between its 5 % and 95 % quantiles. Blue: the posterior by "
        f"{label}. Where the two are alike, the data say little.",
    )
