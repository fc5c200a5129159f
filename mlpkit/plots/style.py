"""The common style of all plots: headings, legends, ticks and number formats."""

import math
import re
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, LayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots.look import HEADING as HEADING
from mlpkit.plots.look import MARGIN as MARGIN
from mlpkit.plots.look import applied as applied
from mlpkit.plots.look import current as current
from mlpkit.plots.palette import CLASS_COLOURS as CLASS_COLOURS
from mlpkit.plots.palette import FAINT as FAINT
from mlpkit.plots.palette import INK as INK
from mlpkit.plots.palette import MUTED as MUTED
from mlpkit.plots.palette import SPLIT_COLOURS as SPLIT_COLOURS
from mlpkit.plots.words import model_words, weights_words
from mlpkit.system.console import shortened

_PANEL = 3.0  # least width of a panel beside others, in inches
POINTS = 2000  # most points drawn for a split; more would overlap


def headed_figure(width: float, height: float, title: str, subtitle: str, laid_out: bool = True) -> Figure:
    """Return an empty figure with a title and a smaller subtitle at its top left, both shrunk to fit.

    Args:
        width: inches, unless the look has a width of its own; the height follows.
        height: inches, including the heading.
        title: name of the plot.
        subtitle: dataset, model and result.
        laid_out: whether matplotlib places the axes; False if they are placed by hand.
    """
    look = current()
    if look.width is not None:
        share = look.width / width
        height = look.heading + (height - HEADING) * share if laid_out else height * share
        width = look.width
    layout: LayoutEngine | None = None
    if laid_out:
        rest = (0.0, 0.0, 1.0, 1.0 - look.heading / height)
        layout = ConstrainedLayoutEngine(
            w_pad=look.margin, h_pad=look.margin, wspace=0.02, hspace=0.02, rect=rest
        )
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)  # needed to measure texts
    left, top = look.margin / width, 1.0 - look.margin / height
    for words, size, weight, colour, y in (
        (title, look.title_size, look.title_weight, look.ink, top),
        (subtitle, look.size, "normal", look.muted, top - look.line / height),
    ):
        text = figure.text(left, y, words, size=size, weight=weight, color=colour, va="top")
        fit(text, figure, width - 2 * look.margin)
    return figure


def across(panels: int) -> int:
    """Return how many panels fit side by side: all, or one if the look is too narrow for them."""
    width = current().width
    return panels if width is None or width >= _PANEL * panels else 1


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


def render(figure: Figure, ending: str = ".png") -> bytes:
    """Return the figure as the content of a .png, .pdf or .svg file."""
    content = BytesIO()
    if ending == ".png":
        # print_png, since savefig would draw the figure a second time for the layout
        FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    else:  # without a date: equal pictures are equal files
        date = "CreationDate" if ending == ".pdf" else "Date"
        figure.savefig(content, format=ending[1:], metadata={date: None})
    return content.getvalue()


def caption(dataset: Dataset, predictor: Predictor, *results: str, whole_run: bool = False) -> str:
    """Return a subtitle: dataset, model, whose weights unless the plot shows the whole run, and results."""
    weights = "" if whole_run else weights_words(predictor)
    parts = (shorten(dataset.title or dataset.name, 40), model_words(predictor), weights, *results)
    return "  ·  ".join(part for part in parts if part)


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


def log_scale(axes: Axes) -> None:
    """Make the vertical axis logarithmic, where `needs_log` says so; ticks at 1, 2 and 5 if they fit."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
    plain_ticks(axes.yaxis)


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
    return shortened(name, limit)


def thinned(rows: int) -> slice:
    """Return a slice that keeps at most POINTS of the rows, evenly spaced."""
    return slice(None, None, max(1, -(-rows // POINTS)))


def thinning(*rows: int) -> tuple[str, ...]:
    """Return the subtitle's note that not all points are shown; empty if all are."""
    return (f"at most {POINTS:,} points of a split shown",) if max(rows) > POINTS else ()


def point_size(rows: int, few: float) -> float:
    """Return the marker size in points: `few` for up to 150 rows, smaller for more."""
    return current().marks * few * max(min(1.0, math.sqrt(math.sqrt(150 / rows))), 0.5)
