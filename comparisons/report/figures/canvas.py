"""The report's style, and from a matplotlib figure to a picture: closed after use, no global state.

Figures are drawn on a white card, by ArviZ where it has the plot.
"""

import base64
import contextlib
import io
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparisons.report.draws import Comparable
from comparisons.report.formats import short
from inference.method import Method, label

COLUMNS = 4
"""Scalars or columns that have a panel of their own."""
WIDTH = 7.2
"""Inches."""
_DRAWS = 250
"""Draws of each chain in a figure that shows single ones."""
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"),
    *("#8c564b", "#7f7f7f", "#9467bd", "#bcbd22", "#17becf"),
)
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
_MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
_RASTER = ("pairs", "ranks")
"""Figures with too many marks for vectors."""


class Picture(NamedTuple):
    """A figure to be embedded: its anchor, what it shows, how to read it, its CSS pixels."""

    name: str
    uri: str
    alt: str
    caption: str
    width: int
    height: int


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """The report's style for a while; every figure made meanwhile is closed at the end."""
    before = set(plt.get_fignums())
    with plt.ioff(), style.context(["default", _STYLE]), warnings.catch_warnings():
        # a name may hold characters that the font does not have
        warnings.filterwarnings("ignore", message="Glyph ")
        # 0 and 1 have a distribution function like other counts
        warnings.filterwarnings("ignore", message="Variables .* look binary")
        try:
            yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def picture(figure: Figure, name: str, alt: str, caption: str) -> Picture:
    """The picture of a figure, inside `drawing`.

    Args:
        figure: the figure.
        name: its anchor on the page.
        alt: what it shows; cut where it is long.
        caption: how to read it.
    """
    media = "png" if name.startswith(_RASTER) else "svg"
    metadata = {"Date": None, "Creator": None} if media == "svg" else {"Software": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=media, dpi=160 if media == "png" else 72, metadata=metadata)
    uri = f"data:{_MEDIA[media]};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    width, height = figure.get_size_inches() * 100
    return Picture(name, uri, short(alt, 600), caption, round(width), round(height))


def arviz(plot: Callable[..., Any], data: Any, size: tuple[float, float], **options: Any) -> Figure:
    """The figure that a function of ArviZ draws; `size` is in inches."""
    shape = {"figsize": size, "figsize_units": "inches", "layout": "none"}
    collection = plot(data, backend="matplotlib", figure_kwargs=shape, **options)
    return collection.viz["figure"].item()


def method_axis(labels: Sequence[str], step: float, right: float) -> tuple[Figure, Axes]:
    """A row of `step` inches for each method; the axes end at a share `right` of the width."""
    height = 0.75 + step * len(labels)
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    figure.subplots_adjust(
        left=room(labels) / WIDTH, right=right, top=1 - 0.1 / height, bottom=0.5 / height
    )
    axes.set_yticks(range(len(labels)), unique(labels))
    axes.invert_yaxis()
    return figure, axes


def room(labels: Collection[str]) -> float:
    """Inches that the longest label of a vertical axis takes."""
    return 0.15 + 0.07 * max(map(len, labels))


def literal(name: str, length: int = 40) -> str:
    """A name as matplotlib shows it literally, on one line, with its dollars."""
    return short(" ".join(name.split()), length).replace("$", r"\$")


def unique(names: Sequence[str]) -> list[str]:
    """Names that a figure can show: short, visible, distinct, and fit to name a variable."""
    found: list[str] = []
    for name in names:
        text = literal(name.replace("/", "∕")) or "?"
        while text in found:
            text += "′"
        found.append(text)
    return found


def marked(method: Method, drawn: Comparable) -> str:
    """A method's label with the marks that captions explain."""
    marks = "†" * (method in drawn.approximated) + "‡" * (method in drawn.unreliable)
    return f"{literal(label(method))} {marks}" if marks else label(method)


def tree(names: Sequence[str], draws: np.ndarray) -> xr.DataTree:
    """Draws of scalars, shape (chain, draw, scalars), as ArviZ takes them."""
    coords = {"chain": np.arange(draws.shape[0]), "draw": np.arange(draws.shape[1])}
    arrays = {name: (("chain", "draw"), draws[..., j]) for j, name in enumerate(unique(names))}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(arrays, coords)})


def thinned(names: Sequence[str], draws: np.ndarray) -> tuple[xr.DataTree, str]:
    """At most _DRAWS draws of each chain, and a remark on it for the caption."""
    every = -(-draws.shape[1] // _DRAWS)
    kept = tree(names, draws).isel(draw=slice(None, None, every))
    return kept, f", one draw in {every}" if every > 1 else ""
