"""Plots of a comparison: the score over each numeric key, a heat map of two keys, overlaid curves."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.analysis.statistics import mean
from mlpkit.config.nested import shorten
from mlpkit.errors import DataError
from mlpkit.plots import style
from mlpkit.plots.drawing import one_warning
from mlpkit.plots.heat_map import MOST_CELLS, draw_heat_map, fits_a_map, natural
from mlpkit.plots.overlaid import MOST_SETTINGS, draw_overlaid
from mlpkit.plots.settings import label, legend, say_runs, scale_score, score_name
from mlpkit.system.atomic_write import atomic_write

_LOG_FROM = 20.0  # logarithmic axis if a key's largest value is more than this times its smallest
_APART = 0.022  # distance between neighbouring intervals, as a fraction of the axis
_WIDTH = 6.8


def draw_comparison(found: Comparison, folder: Path, warn: Callable[[str], None]) -> list[Path]:
    """Draw all plots that fit the comparison; return their paths.

    Args:
        found: the comparison.
        folder: folder of the plots; created if missing.
        warn: called with a warning for each run whose metrics cannot be read and each plot that fails.

    Raises:
        DataError: the folder is a symbolic link, which may lead elsewhere.
        WriteError: a file cannot be written.
    """
    if folder.is_symlink():
        raise DataError(f"{folder}: a link, which may lead elsewhere; name a folder with --plot-dir")
    paths = []
    for path, content in render_comparison(found, folder, warn):
        atomic_write(path, content)
        paths.append(path)
    return paths


def render_comparison(
    found: Comparison, folder: Path, warn: Callable[[str], None]
) -> Iterator[tuple[Path, bytes]]:
    """Yield the path and the PNG of each plot that fits the comparison; nothing is written.

    Args:
        found: the comparison.
        folder: folder of the plots.
        warn: called with a warning for each run whose metrics cannot be read and each plot that fails.
    """
    drawings: dict[str, Callable[[], Figure | None]] = {
        f"score-{shorten(key, found.columns)}": partial(draw_score, found, key)
        for key in found.columns
        if _is_numeric(found, key)
    }
    if fits_a_map(found):
        drawings["heatmap"] = partial(draw_heat_map, found)
    drawings["curves"] = partial(draw_overlaid, found, warn)
    for name, draw in drawings.items():
        path, content = folder / f"{name}.png", b""
        with one_warning(str(path), warn), style.applied():
            figure = draw()
            content = style.render(figure) if figure is not None else b""
        if content:
            yield path, content


def draw_score(found: Comparison, key: str) -> Figure:
    """Return the plot of the score over a numeric key: a point per run, mean and 95 % interval per value.

    Settings that differ in other keys get different colours; if there are too few colours, they are pooled.
    """
    series, others = _series(found, key), [name for name in found.columns if name != key]
    pooled = bool(others) and "" in series
    name = score_name(found.metric.split, found.metric.score)
    figure = style.headed_figure(
        _WIDTH,
        4.6,
        f"{name} over {shorten(key, found.columns)}",
        say_runs(found, "mean over all other settings" if pooled else "mean and 95 % interval"),
    )
    axes = figure.subplots()
    settings = [setting for setting in found.settings if setting.runs and key in setting.options]
    place, gap = _scale(axes, sorted({float(setting.options[key]) for setting in settings}))
    apart = min(_APART, 0.5 * gap / len(series))
    colours = dict(zip(series, style.CLASS_COLOURS, strict=False))
    for index, (text, mine) in enumerate(series.items()):
        shift = apart * (index - (len(series) - 1) / 2)
        by_value: dict[float, list[Setting]] = {}
        for setting in sorted(mine, key=lambda setting: float(setting.options[key])):
            by_value.setdefault(float(setting.options[key]), []).append(setting)
        spots = {place(value, shift): by_value[value] for value in by_value}
        _draw_series(axes, spots, apart, colours[text], joined=len(by_value) <= MOST_CELLS)
    axes.set(xlabel=key, ylabel=name)
    scale_score(axes, [np.array(setting.scores) for setting in settings])
    legend(axes, colours, found, others, _WIDTH)
    return figure


def _draw_series(
    axes: Axes, settings: dict[float, list[Setting]], apart: float, colour: str, joined: bool
) -> None:
    """Draw the mean at each spot, the interval of a single setting, and the runs' points beside it.

    Args:
        axes: the axes to draw on.
        settings: the settings by position on the x axis; several are pooled.
        apart: distance between neighbouring series, as a fraction of the axis.
        colour: colour of the series.
        joined: whether a line joins the means; not for values sampled by a search.
    """
    scores = {spot: [score for of in mine for score in of.scores] for spot, mine in settings.items()}
    means = [mean(values) for values in scores.values()]
    bars = np.zeros((2, len(means)))
    for place, (centre, mine) in enumerate(zip(means, settings.values(), strict=True)):
        if len(mine) == 1 and mine[0].interval is not None:
            low, high = mine[0].interval
            bars[:, place] = max(0.0, centre - low), max(0.0, high - centre)
    size = style.point_size(sum(map(len, scores.values())), few=4.6)
    low, high = axes.get_xlim()
    for spot, values in scores.items():
        beside = np.full(len(values), spot - 0.35 * apart * (high - low))
        axes.plot(beside, values, "o", color=colour, markersize=size, alpha=0.3, markeredgewidth=0)
    axes.errorbar(
        list(scores), means, bars, color=colour, marker="o", markersize=6,
        markeredgecolor="white", markeredgewidth=0.8, linewidth=1.6 if joined else 0, elinewidth=1.2,
        capsize=3, zorder=3,
    )  # fmt: skip


def _series(found: Comparison, key: str) -> dict[str, list[Setting]]:
    """Group the settings that have the key by their other options; if there are too many groups, make one."""
    others = [name for name in found.columns if name != key]
    by_label: dict[str, list[Setting]] = {}
    ranked = [setting for setting in found.settings if setting.runs and key in setting.options]
    for setting in ranked:
        by_label.setdefault(label(found, setting, others), []).append(setting)
    if len(by_label) > MOST_SETTINGS:
        return {"": ranked}
    return {text: by_label[text] for text in sorted(by_label, key=natural)}


def _scale(axes: Axes, values: Sequence[float]) -> tuple[Callable[[float, float], float], float]:
    """Scale the x axis for the values. On a logarithmic axis, 0 is drawn to the left of all others.

    Returns:
        A function (value, shift) -> position, where shift is a fraction of the axis; and the distance
        between the two closest values, as a fraction of the axis.
    """
    positive = [value for value in values if value > 0]
    spots = {value: value for value in values}
    if len(positive) > 1 and positive[-1] > _LOG_FROM * positive[0] and values[0] >= 0:
        spots = {value: float(np.log10(value)) for value in positive}
        if values[0] == 0:
            spots[0.0] = spots[positive[0]] - max(0.3, min(np.diff(list(spots.values()))))
    low, high = min(spots.values()), max(spots.values())
    room = (high - low) or max(abs(high), 1.0)
    axes.set_xlim(low - 0.07 * room, high + 0.07 * room)
    names = {spot: f"{value:.3g}" for value, spot in spots.items()}
    axes.xaxis.set_major_locator(FixedLocator(_thinned(sorted(names), 0.085 * room)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda spot, _: names.get(spot, "")))
    gap = min(np.diff(sorted(spots.values())), default=room) / room
    return lambda value, shift: spots[value] + shift * room, float(gap)


def _thinned(spots: Sequence[float], least: float) -> list[float]:
    """Return the spots without those that are closer than `least` to the one before."""
    kept = [spots[0]]
    for spot in spots[1:]:
        if spot - kept[-1] >= least:
            kept.append(spot)
    return kept


def _is_numeric(found: Comparison, key: str) -> bool:
    """Whether the key's values are all numbers, and at least two differ."""
    values = [setting.options[key] for setting in found.settings if key in setting.options and setting.runs]
    return all(type(value) in (int, float) for value in values) and len(set(values)) > 1
