"""The report's style, and from a matplotlib figure to a picture: closed after use, no global state.

Figures are drawn on a white card, by ArviZ where it has the plot.
"""

import base64
import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from comparisons.report.draws import Comparable
from comparisons.report.formats import short
from inference.method import Method, label

COLUMNS = 4  # scalars or columns that have a panel of their own
WIDTH = 3.2  # inches of a panel: what a telephone shows without shrinking it
ROW = 0.27  # inches of a row with its name above it
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
_RASTER = ("pairs", "ranks")  # figures with too many marks for vectors


class Panel(NamedTuple):
    """A part of a figure, with its CSS pixels."""

    uri: str
    width: int
    height: int


class Picture(NamedTuple):
    """A figure to be embedded: its anchor, its panels, what they show, and how to read them."""

    name: str
    panels: tuple[Panel, ...]
    alt: str
    caption: str


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


def picture(figures: Iterable[Figure], name: str, alt: str, caption: str) -> Picture:
    """The picture of some figures, panels that stand side by side or stacked, inside `drawing`.

    Args:
        figures: one for each panel.
        name: its anchor on the page.
        alt: what it shows; cut where it is long.
        caption: how to read it.
    """
    media = "png" if name.startswith(_RASTER) else "svg"
    metadata = {"Date": None, "Creator": None} if media == "svg" else {"Software": None}
    panels = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=media, dpi=160 if media == "png" else 72, metadata=metadata)
        uri = f"data:{_MEDIA[media]};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        panels.append(Panel(uri, *(round(100 * side) for side in figure.get_size_inches())))
    return Picture(name, tuple(panels), short(alt, 600), caption)


def arviz(plot: Callable[..., Any], data: Any, height: float, **options: Any) -> Figure:
    """The figure that a function of ArviZ draws; `height` is in inches."""
    shape = {"figsize": (WIDTH, height), "figsize_units": "inches", "layout": "none"}
    collection = plot(data, backend="matplotlib", figure_kwargs=shape, **options)
    return collection.viz["figure"].item()


def panel(height: float, title: str = "", *, left: float = 0.5) -> tuple[Figure, Axes]:
    """A panel of so many inches, `left` of them for the numbers of the vertical axis."""
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    top = 0.1 + 0.2 * len(title.splitlines())
    figure.subplots_adjust(left / WIDTH, 0.42 / height, 0.97, 1 - top / height)
    axes.set_title(title, fontsize=9)
    return figure, axes


def rows(labels: Sequence[str], title: str = "") -> tuple[Figure, Axes]:
    """A panel with a row for each label, which stands above its row."""
    figure, axes = panel(0.75 + ROW * len(labels), title, left=0.1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    where = {"transform": axes.get_yaxis_transform(), "fontsize": 7, "color": "#444444"}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
    for place, text in enumerate(labels):
        axes.text(0.0, place - 0.25, text, va="bottom", bbox=box, **where)
    axes.invert_yaxis()
    return figure, axes


def key(*panels: Figure) -> Figure:
    """The legend of some panels as one of its own."""
    labels: dict[str, Any] = {}
    for axes in (axes for panel in panels for axes in panel.axes):
        lines, names = axes.get_legend_handles_labels()
        labels |= zip(names, lines, strict=True)
    figure = Figure(figsize=(WIDTH, 0.1 + 0.17 * sum(1 + len(name) // 46 for name in labels)))
    names = [fill(name, 46) for name in labels]
    figure.legend([*labels.values()], names, loc="upper left", frameon=False, fontsize=8)
    return figure


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
    marks = "†" * (method in drawn.normal) + "‡" * (method in drawn.unreliable)
    return f"{literal(label(method))} {marks}" if marks else label(method)
