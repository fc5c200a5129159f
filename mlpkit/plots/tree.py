"""Plot of a fork: the curve that all branches share, and the branches."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpkit.analysis.compare import Comparison
from mlpkit.plots import style
from mlpkit.plots.overlaid import Curve, curves_of
from mlpkit.plots.settings import Array, label, legend, scale_score, score_name
from mlpkit.runs.fork import Fork

_WIDTH = 7.6
_REST = style.FAINT  # for settings beyond the number of colours


def draw_tree(found: Comparison, fork: Fork, warn: Callable[[str], None]) -> Figure:
    """Return the plot of the score by epoch: before the fork once, after it a curve for each branch.

    Args:
        found: the comparison of the branches.
        fork: where they branch off.
        warn: called with a warning for each run whose metrics cannot be read.
    """
    split, score = found.metric.split, found.metric.score
    ranked = [setting for setting in found.settings if setting.runs]
    if split == "test":  # test is scored only after training: show the monitored split
        split = next(run.best.split for run in ranked[0].runs.values() if run.best is not None)
    name, count = score_name(split, score), sum(len(setting.runs) for setting in ranked)
    place = f"{count} branches of {fork.run} at step {fork.step:,}, in epoch {fork.epoch + 1:,}"
    figure = style.headed_figure(_WIDTH, 5.0, f"{name} by epoch", place)
    axes = figure.subplots()
    colours: dict[str, str] = {}
    drawn: list[Array] = []
    past: Curve | None = None
    for place_of, setting in reversed(list(enumerate(ranked))):
        colour = style.CLASS_COLOURS[place_of] if place_of < len(style.CLASS_COLOURS) else _REST
        if colour != _REST:
            colours[label(found, setting, found.columns)] = colour
        for epochs, values in curves_of(setting, split, score, warn):
            before = epochs <= fork.epoch
            past = past or (epochs[before], values[before])
            start = max(0, int(np.count_nonzero(before)) - 1)  # the branch begins at the last shared point
            axes.plot(epochs[start:], values[start:], color=colour, linewidth=1.4, zorder=2)
            drawn.append(values)
    if past is not None and len(past[0]):
        axes.plot(*past, color=style.INK, linewidth=1.8, zorder=3)
        axes.plot(past[0][-1:], past[1][-1:], color=style.INK, marker="o", markersize=5, zorder=4)
    axes.set(xlabel="epoch", ylabel=name)
    scale_score(axes, drawn)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    style.plain_ticks(axes.xaxis)
    if not drawn:
        style.note(axes, "no curves were logged")
    legend(axes, dict(reversed(colours.items())), found, found.columns, _WIDTH)
    return figure
