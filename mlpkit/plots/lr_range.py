"""Plot of the loss by learning rate: median and range of the seeds, and the stable range."""

import numpy as np
from matplotlib.figure import Figure

from mlpkit.analysis.lr_range import LrRange, spreads
from mlpkit.plots import style
from mlpkit.plots.settings import scale_score

_WIDTH = 6.8


def draw_lr_range(result: LrRange, name: str, about: str) -> Figure:
    """Return the plot.

    Args:
        result: the losses and the stable range.
        name: of the loss, such as `val loss`.
        about: the subtitle: dataset, model, seeds and epochs.
    """
    figure = style.headed_figure(_WIDTH, 4.6, f"{name} over the learning rate", about)
    axes = figure.subplots()
    blue, red, green = style.CLASS_COLOURS[:3]
    axes.set_xscale("log")
    style.plain_ticks(axes.xaxis)
    if finite := spreads(result.losses):
        lrs, losses = np.array(list(finite)), np.array(list(finite.values()), dtype=np.float64)
        # Losses far above the untrained one are drawn lower, to leave room for the others.
        losses = np.minimum(losses, 3 * result.untrained) if result.untrained > 0 else losses
        low, median, high = losses.T
        axes.fill_between(lrs, low, high, color=blue, alpha=0.18, linewidth=0, label="range")
        axes.plot(lrs, median, color=blue, marker="o", markersize=3.5, label="median of the seeds")
        scale_score(axes, [losses.ravel()])
    axes.axhline(result.untrained, color=style.MUTED, linewidth=1, linestyle="--", label="untrained")
    if result.stable is not None:
        axes.axvspan(*result.stable, color=green, alpha=0.10, linewidth=0, label="stable")
    if result.suggested is not None:
        axes.axvline(result.suggested, color=green, label=f"suggested: {result.suggested:.2g}")
    if diverged := [lr for lr, losses in result.losses.items() if None in losses]:
        tops = [axes.get_ylim()[1]] * len(diverged)
        axes.plot(diverged, tops, "x", color=red, label="a seed has diverged", clip_on=False, zorder=5)
    axes.set(xlabel="optimizer.lr", ylabel=name)
    style.legend_above(axes, 3)
    return figure
