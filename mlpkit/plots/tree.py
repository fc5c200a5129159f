"""Plot of a fork: the curve that all branches share, and a curve for each branch."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpkit.analysis.compare import Comparison
from mlpkit.folders.fork import Fork
from mlpkit.plots import style
from mlpkit.plots.overlaid import Curve, curves_of
from mlpkit.plots.settings import Array, label, legend, scale_score, score_name

_WIDTH = 7.6
_REST = style.FAINT  # for settings beyond the number of colours


def draw_tree(comparison: Comparison, fork: Fork, warn: Callable[[str], None]) -> Figure:
    """Return the plot of the score by epoch: before the fork once, after it a curve for each branch.

    Args:
        comparison: the comparison of the branches.
        fork: where they branch off.
        warn: called with a warning for each run whose metrics cannot be read.
    """
    split, score = comparison.metric.split, comparison.metric.score
    ranked = [setting for setting in comparison.settings if setting.runs]
    if split == "test":  # test is scored only after training: show the monitored split
        split = next(run.best.split for run in ranked[0].runs.values() if run.best is not None)
    name, count = score_name(split, score), sum(len(setting.runs) for setting in ranked)
    subtitle = f"{count} branches of {fork.run} at step {fork.step:,}, in epoch {fork.epoch + 1:,}"
    figure = style.headed_figure(_WIDTH, 5.0, f"{name} by epoch", subtitle)
    axes = figure.subplots()
    colours: dict[str, str] = {}
    drawn: list[Array] = []
    shared: Curve | None = None  # before the fork
    for rank, setting in reversed(list(enumerate(ranked))):
        colour = style.CLASS_COLOURS[rank] if rank < len(style.CLASS_COLOURS) else _REST
        if colour != _REST:
            colours[label(comparison, setting, comparison.columns)] = colour
        for epochs, values in curves_of(setting, split, score, warn):
            before = epochs <= fork.epoch
            shared = shared or (epochs[before], values[before])
            start = max(0, int(np.count_nonzero(before)) - 1)  # the branch begins at the last shared point
            axes.plot(epochs[start:], values[start:], color=colour, linewidth=1.4, zorder=2)
            drawn.append(values)
    if shared is not None and len(shared[0]):
        axes.plot(*shared, color=style.INK, linewidth=1.8, zorder=3)
        axes.plot(shared[0][-1:], shared[1][-1:], color=style.INK, marker="o", markersize=5, zorder=4)
    axes.set(xlabel="epoch", ylabel=name)
    scale_score(axes, drawn)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    style.plain_ticks(axes.xaxis)
    if not drawn:
        style.note(axes, "no curves were logged")
    legend(axes, dict(reversed(colours.items())), comparison, comparison.columns, _WIDTH)
    return figure
