"""Pictures of a comparison: the score over each numeric key, a heat map of two keys, curves overlaid."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mlpkit.analysis.compare import Comparison, Line, shorten
from mlpkit.analysis.statistics import half_width, mean
from mlpkit.errors import DataError
from mlpkit.plots import style
from mlpkit.plots.drawing import one_warning
from mlpkit.plots.heat_map import MOST_CELLS, draw_heat_map, fits_a_map, natural
from mlpkit.plots.overlaid import MOST_LINES, draw_overlaid
from mlpkit.plots.settings import label, legend, say_runs, scale_score, score_name
from mlpkit.system.atomic_write import atomic_write

_LOG_FROM = 20.0  # largest over smallest value of a key
_APART = 0.022  # of the axis, between intervals that stand side by side
_WIDTH = 6.8


def folder_for(runs: Sequence[Path]) -> Path:
    """Return the plots folder of what holds all the runs, such as their sweep."""
    alike = len({run.is_absolute() for run in runs}) == 1
    named = all(run.name and ".." not in run.parts for run in runs)  # the parent of `.` is not `.`
    parents = [(run if alike and named else run.resolve()).parent for run in runs]
    return Path(os.path.commonpath(parents), "plots")


def draw_comparison(found: Comparison, folder: Path, warn: Callable[[str], None]) -> list[Path]:
    """Draw the pictures that a comparison allows, and return their paths.

    Args:
        found: the comparison.
        folder: where the pictures go; made where it is missing.
        warn: is told of runs whose metrics cannot be read, and of a picture that cannot be drawn.

    Raises:
        DataError: the folder is a link, and may lead elsewhere.
        WriteError: a picture cannot be written.
    """
    if folder.is_symlink():
        raise DataError(f"{folder}: a link, which may lead elsewhere; name a folder with --plot-dir")
    drawings: dict[str, Callable[[], Figure]] = {
        f"score-{shorten(key, found.columns)}": partial(draw_score, found, key)
        for key in found.columns
        if _is_numeric(found, key)
    }
    if fits_a_map(found):
        drawings["heatmap"] = partial(draw_heat_map, found)
    drawings["curves"] = partial(draw_overlaid, found, warn)
    paths = []
    with style.applied():
        for name, draw in drawings.items():
            path = folder / f"{name}.png"
            with one_warning(str(path), warn):
                atomic_write(path, style.render(draw()))
                paths.append(path)
    return paths


def draw_score(found: Comparison, key: str) -> Figure:
    """Return the score over a numeric key: a point for each run, the mean and its interval for each value.

    Settings that differ in other keys have a colour each, as long as there are colours.
    """
    series, others = _series(found, key), [name for name in found.columns if name != key]
    pooled = bool(others) and "" in series
    name = score_name(found.metric.split, found.metric.score)
    figure = style.headed_figure(
        _WIDTH,
        4.6,
        f"{name} over {shorten(key, found.columns)}",
        say_runs(found, f"mean{' over all other settings' if pooled else ''} and 95 % interval"),
    )
    axes = figure.subplots()
    lines = [line for line in found.lines if line.runs and key in line.settings]
    place, gap = _scale(axes, sorted({float(line.settings[key]) for line in lines}))
    apart = min(_APART, 0.5 * gap / len(series))
    colours = dict(zip(series, style.CLASS_COLOURS, strict=False))
    for index, (text, mine) in enumerate(series.items()):
        shift = apart * (index - (len(series) - 1) / 2)
        by_value: dict[float, list[float]] = {}
        for line in sorted(mine, key=lambda line: float(line.settings[key])):
            by_value.setdefault(float(line.settings[key]), []).extend(line.values)
        spots = {place(value, shift): by_value[value] for value in by_value}
        _draw_series(axes, spots, apart, colours[text], joined=len(by_value) <= MOST_CELLS)
    axes.set(xlabel=key, ylabel=name)
    scale_score(axes, [np.array(line.values) for line in lines])
    legend(axes, colours, found, others, _WIDTH)
    return figure


def _draw_series(
    axes: Axes, scores: dict[float, list[float]], apart: float, colour: str, joined: bool
) -> None:
    """Draw points beside the means at some places: on them the intervals would hide the points.

    Means of values that were drawn at random are not joined.
    """
    size = style.point_size(sum(map(len, scores.values())), few=4.6)
    low, high = axes.get_xlim()
    for spot, values in scores.items():
        beside = np.full(len(values), spot - 0.35 * apart * (high - low))
        axes.plot(beside, values, "o", color=colour, markersize=size, alpha=0.3, markeredgewidth=0)
    axes.errorbar(
        list(scores), [mean(values) for values in scores.values()],
        [half_width(values) or 0.0 for values in scores.values()], color=colour, marker="o", markersize=6,
        markeredgecolor="white", markeredgewidth=0.8, linewidth=1.6 if joined else 0, elinewidth=1.2,
        capsize=3, zorder=3,
    )  # fmt: skip


def _series(found: Comparison, key: str) -> dict[str, list[Line]]:
    """Return the lines that have the key by their other settings, or all as one where these are many."""
    others = [name for name in found.columns if name != key]
    by_label: dict[str, list[Line]] = {}
    ranked = [line for line in found.lines if line.runs and key in line.settings]
    for line in ranked:
        by_label.setdefault(label(found, line, others), []).append(line)
    if len(by_label) > MOST_LINES:
        return {"": ranked}
    return {text: by_label[text] for text in sorted(by_label, key=natural)}


def _scale(axes: Axes, values: Sequence[float]) -> tuple[Callable[[float, float], float], float]:
    """Scale the x axis for some values.

    Where they stand on a logarithmic axis, a zero has a place of its own, left of the others.

    Returns:
        What puts a value on the axis, shifted by a share of it; and the share between the closest two.
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
    """Return those spots that are not too close to the one before."""
    kept = [spots[0]]
    for spot in spots[1:]:
        if spot - kept[-1] >= least:
            kept.append(spot)
    return kept


def _is_numeric(found: Comparison, key: str) -> bool:
    """Whether the key has two numbers or more and nothing else, where it has a value."""
    values = [line.settings[key] for line in found.lines if key in line.settings and line.runs]
    return all(type(value) in (int, float) for value in values) and len(set(values)) > 1
