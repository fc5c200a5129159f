"""The common style of all plots: fonts, colours, headings, legends and number formats."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, LayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter
from torch import nn

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots.palette import CLASS_COLOURS as CLASS_COLOURS
from mlpkit.plots.palette import SPLIT_COLOURS as SPLIT_COLOURS

INK, MUTED, FAINT = "#1f2328", "#66707a", "#c9ced4"

MARGIN = 0.16  # inches around a plot
HEADING = 0.54  # height of title and subtitle in inches
POINTS = 2000  # most points drawn for a split; more would overlap

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a class may be named $5
    "axes.facecolor": "white",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.xmargin": 0.03,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#edeff2",
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "legend.borderpad": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "agg.path.chunksize": 10_000,  # Agg fails on a path with very many points
}


@contextmanager
def applied() -> Iterator[None]:
    """Apply mlpkit's style in the block, and restore matplotlib's settings afterwards.

    A matplotlibrc is ignored: one in the working directory may be foreign, and could start LaTeX.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def headed_figure(width: float, height: float, title: str, subtitle: str, laid_out: bool = True) -> Figure:
    """Return an empty figure with a title and a smaller subtitle at its top left, both shrunk to fit.

    Args:
        width: inches.
        height: inches, including the heading.
        title: name of the plot.
        subtitle: dataset, model and result.
        laid_out: whether matplotlib places the axes; False if they are placed by hand.
    """
    layout: LayoutEngine | None = None
    if laid_out:
        rest = (0.0, 0.0, 1.0, 1.0 - HEADING / height)
        layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN, wspace=0.02, hspace=0.02, rect=rest)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)  # needed to measure texts
    left, top = MARGIN / width, 1.0 - MARGIN / height
    for words, size, weight, colour, y in (
        (title, 12.0, "bold", INK, top),
        (subtitle, 9.0, "normal", MUTED, top - 0.25 / height),
    ):
        text = figure.text(left, y, words, size=size, weight=weight, color=colour, va="top")
        fit(text, figure, width - 2 * MARGIN)
    return figure


def fit(text: Text, figure: Figure, room: float) -> None:
    """Shrink a text that is wider than `room` inches."""
    wide = text.get_window_extent().width / figure.dpi
    if wide > room:
        text.set_fontsize(float(text.get_fontsize()) * room / wide)


def legend_above(axes: Axes, columns: int, handles: Sequence[Artist] | None = None) -> None:
    """Put the legend above the axes, where it hides nothing; no legend if there are no entries."""
    entries = list(handles) if handles is not None else axes.get_legend_handles_labels()[0]
    if entries:
        legend = axes.legend(handles=entries, loc="lower left", bbox_to_anchor=(0.0, 1.01), ncols=columns)
        for handle in legend.legend_handles:
            if isinstance(handle, Line2D):
                handle.set_markersize(max(handle.get_markersize(), 4.5))


def render(figure: Figure) -> bytes:
    """Return the figure as PNG."""
    content = BytesIO()
    # print_png, since savefig would draw the figure a second time for the layout
    FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    return content.getvalue()


def caption(dataset: Dataset, predictor: Predictor, *results: str, whole_run: bool = False) -> str:
    """Return a subtitle: dataset, model and results, and the epoch unless the plot shows the whole run."""
    model = model_name(predictor)
    if predictor.epoch is not None and not whole_run:
        model = f"{model} after epoch {predictor.epoch}"
    return "  ·  ".join((shorten(dataset.title or dataset.name, 40), model, *results))


def model_name(predictor: Predictor) -> str:
    """Return the kind of model; for an MLP, also its hidden widths."""
    widths = [layer.out_features for layer in predictor.network.modules() if isinstance(layer, nn.Linear)]
    if len(widths) > 1:
        return f"mlp {widths[:-1]}"
    return "linear" if predictor.task.probabilities is None else "logistic"


def note(axes: Axes, text: str) -> None:
    """Write a text in the middle of empty axes, which explains why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=MUTED)


def number(value: float, digits: int = 4) -> str:
    """Return the value as text with `digits` significant digits: 0.9500, 12.35, 20,480, 3.200e−7."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size == 0:
        return "0"
    if 1e-4 <= size < 10**digits * 0.9995:
        return _typeset(f"{value:#.{digits}g}".rstrip("."))
    return _typeset(f"{value:,.0f}" if 1 <= size < 1e6 else f"{value:.{digits - 1}e}")


def plain_ticks(axis: Axis) -> None:
    """Write tick labels in full: a common factor above the axis would overlap the legend.

    Call it after the axis limits are set.
    """
    size = float(np.abs(axis.get_view_interval()).max())
    if axis.get_scale() == "linear" and 1e-3 <= size < 1e6:
        digits = ScalarFormatter(useOffset=False)
        digits.set_scientific(False)
        axis.set_major_formatter(digits)
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: _typeset(f"{value:.6g}")))
    axis.set_minor_formatter(NullFormatter())


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Label the axes, with as many ticks as fit. Call it after the axis limits are set."""
    axes.set(xlabel=x, ylabel=y)
    for axis in (axes.yaxis, axes.xaxis):
        axis.set_major_locator(_ticks(8))
        plain_ticks(axis)
    numbers = axes.xaxis.get_major_formatter().format_ticks(list(axes.get_xticks()))
    widest = 0.1 + 0.08 * max(map(len, numbers))  # inches
    room = axes.figure.bbox.width / axes.figure.dpi - 1.2
    if room < 8 * widest:
        axes.xaxis.set_major_locator(_ticks(int(room / widest)))


def _ticks(most: int) -> MaxNLocator:
    return MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10])


def _typeset(number: str) -> str:
    """Return 3e-07 as 3e−7, with a true minus sign."""
    return re.sub(r"e([+-])0*", lambda match: "e" + match[1].strip("+"), number).replace("-", "−")


def shorten(name: str, limit: int = 14) -> str:
    """Return the name, cut to `limit` characters."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def thinned(rows: int) -> slice:
    """Return a slice that keeps at most POINTS of the rows, evenly spaced."""
    return slice(None, None, max(1, -(-rows // POINTS)))


def thinning(*rows: int) -> tuple[str, ...]:
    """Return the subtitle's note that not all points are shown; empty if all are."""
    return (f"at most {POINTS:,} points of a split shown",) if max(rows) > POINTS else ()


def point_size(rows: int, few: float) -> float:
    """Return the marker size in points: `few` for up to 150 rows, smaller for more."""
    return few * max(min(1.0, math.sqrt(math.sqrt(150 / rows))), 0.5)
