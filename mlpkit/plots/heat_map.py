"""Heat map of the mean score over two keys."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mlpkit.analysis.compare import Comparison
from mlpkit.analysis.leaderboard import show_setting
from mlpkit.config.nested import shorten
from mlpkit.plots import style
from mlpkit.plots.settings import Array, say_runs, score_name

MOST_CELLS = 12  # values along each axis


def fits_a_map(comparison: Comparison) -> bool:
    """Whether exactly two keys vary, with at most MOST_CELLS values each."""
    sizes = [len(_values(comparison, key)) for key in comparison.columns]
    return len(sizes) == 2 and min(sizes) > 1 and max(sizes) <= MOST_CELLS


def draw_heat_map(comparison: Comparison) -> Figure:
    """Return the heat map of a comparison with two columns; the better the mean, the lighter the cell."""
    first, second = comparison.columns
    rows, columns = _values(comparison, first), _values(comparison, second)
    means = np.full((len(rows), len(columns)), np.nan)
    for setting in comparison.settings:
        if setting.mean is not None:
            row, column = show_setting(setting, first), show_setting(setting, second)
            means[rows.index(row), columns.index(column)] = setting.mean
    name = score_name(comparison.metric.split, comparison.metric.score)
    title = f"{name} over {shorten(second, comparison.columns)} and {shorten(first, comparison.columns)}"
    width = 1.9 + 0.08 * max(map(len, rows)) + max(3.6, 0.75 * len(columns))
    height = 1.6 + max(2.0, 0.48 * len(rows))
    figure = style.headed_figure(width, height, title, say_runs(comparison, "means over runs"))
    axes = figure.subplots()
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(
        xticks=range(len(columns)),
        yticks=range(len(rows)),
        xticklabels=[style.shorten(text) for text in columns],
        yticklabels=[style.shorten(text) for text in rows],
        xlabel=second,
        ylabel=first,
    )
    _draw_cells(axes, means, comparison.metric.higher_is_better)
    return figure


def _draw_cells(axes: Axes, means: Array, higher_is_better: bool) -> None:
    colours = colormaps["viridis" if higher_is_better else "viridis_r"]
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    scale = Normalize(low, high if high > low else low + 1)
    image = axes.imshow(means, cmap=colours, norm=scale, aspect="auto")
    for row, column in np.ndindex(means.shape):
        value = float(means[row, column])
        known = bool(np.isfinite(value))
        red, green, blue, _ = colours(scale(value)) if known else (1.0, 1.0, 1.0, 1.0)
        light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        text = style.number(value, 3) if known else "–"
        ink = style.INK if light else "white"
        axes.text(column, row, text, ha="center", va="center", color=ink, size=8.5)
    figure = axes.figure
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=40)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    style.plain_ticks(bar.ax.yaxis)


def _values(comparison: Comparison, key: str) -> list[str]:
    return sorted({show_setting(setting, key) for setting in comparison.settings}, key=natural)


def natural(text: str) -> tuple[Any, ...]:
    """Return a sort key that orders texts by the numbers in them."""
    parts = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    return tuple((0, float(part), "") if _is_number(part) else (1, 0.0, part) for part in parts)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
