"""A page of small histograms: one for each column of a table."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure

from mlpkit.config.problems import plural
from mlpkit.data.column_values import RawColumn, is_numeric
from mlpkit.data.raw_table import RawTable
from mlpkit.errors import DataError
from mlpkit.plots import style

ACROSS = 4
MOST_PANELS = 40
BARS = 8  # of texts, the most frequent
BINS = 30


def draw_histograms(raw: RawTable, targets: Sequence[str]) -> bytes:
    """Return the page as PNG: the targets first, then the other columns in their order.

    Args:
        raw: the table.
        targets: the names of its target columns.
    """
    names = [*targets, *(name for name in raw.table.column_names if name not in targets)]
    shown = names[:MOST_PANELS]
    down, across = -(-len(shown) // ACROSS), min(ACROSS, len(shown))
    more = f"  ·  the first {MOST_PANELS} of {len(names):,} columns" if len(shown) < len(names) else ""
    subtitle = f"{plural(raw.table.num_rows, 'row')}; texts: the {BARS} most frequent{more}"
    with style.applied():
        figure: Figure = style.headed_figure(
            2.4 * across + 0.4, 1.8 * down + 0.8, f"Columns of {_file_name(raw.source)}", subtitle
        )
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for axes, column in zip(panels, raw.columns(shown), strict=False):
            _draw(axes, column, style.SPLIT_COLOURS["test" if column.name in targets else "train"])
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        return style.render(figure)


def _draw(axes: Axes, column: RawColumn, colour: str) -> None:
    """Draw one column, its name and the share of its missing values above it."""
    missing = float(column.missing.mean())
    about = f" ({missing:.0%} missing)" if missing >= 0.005 else ""
    axes.set_title(f"{style.shorten(column.name, 24)}{about}", fontsize=8.5, color=style.INK, loc="left")
    axes.tick_params(labelsize=7)
    try:
        _draw_values(axes, column, colour)
    except DataError:  # lists and the like, or infinite numbers
        style.note(axes, "cannot be read")


def _draw_values(axes: Axes, column: RawColumn, colour: str) -> None:
    if is_numeric(column.flat.type) or column.share_of_numbers() == 1:
        numbers = column.numbers()
        known = numbers[~np.isnan(numbers)]
        if len(known):
            are_integers = (known == np.round(known)).all() and np.ptp(known) <= BINS
            low, high = math.floor(known.min()), math.ceil(known.max())
            bins = np.arange(low - 0.5, high + 1).tolist() if are_integers else BINS
            axes.hist(known, bins=bins, color=colour)
    elif column.are_dates():
        dates = column.dates(None)
        axes.hist(dates[~np.isnat(dates)].astype("datetime64[us]"), bins=BINS, color=colour)
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=4))  # type: ignore[no-untyped-call]
    else:
        _draw_texts(axes, column, colour)


def _draw_texts(axes: Axes, column: RawColumn, colour: str) -> None:
    """Draw a bar for each of the most frequent texts."""
    indices, texts = column.texts()
    counts = np.bincount(indices[indices >= 0], minlength=len(texts))
    order = np.argsort(-counts, kind="stable")[:BARS]
    axes.barh(np.arange(len(order)), counts[order], color=colour)
    axes.set_yticks(np.arange(len(order)), [style.shorten(texts[index]) for index in order])
    axes.invert_yaxis()


def _file_name(path: str) -> str:
    return style.shorten(path.replace("\\", "/").rpartition("/")[2], 40)
