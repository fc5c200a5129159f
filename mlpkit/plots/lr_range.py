"""Plot of the loss over the learning rate: median and range of the seeds, and the stable range."""

import numpy as np
from matplotlib.figure import Figure

from mlpkit.analysis.lr_range import LrRange, median
from mlpkit.plots import style
from mlpkit.plots.settings import scale_score

_WIDTH = 6.8


def draw_lr_range(found: LrRange, name: str, about: str) -> Figure:
    """Return the plot.

    Args:
        found: the losses and the stable range.
        name: of the loss, such as `val loss`.
        about: the subtitle: dataset, model, seeds and epochs.
    """
    figure = style.headed_figure(_WIDTH, 4.6, f"{name} over the learning rate", about)
    axes = figure.subplots()
    colour, finite = style.CLASS_COLOURS[0], {}
    for lr, losses in found.losses.items():
        if values := [loss for loss in losses if loss is not None]:
            finite[lr] = min(values), median(values), max(values)
    axes.set_xscale("log")
    style.plain_ticks(axes.xaxis)
    if finite:
        rates, rows = np.array(list(finite)), np.array(list(finite.values()), dtype=np.float64)
        # Far above the untrained loss nothing can be told: the axis ends there.
        rows = np.minimum(rows, 3 * found.untrained) if found.untrained > 0 else rows
        axes.fill_between(rates, rows[:, 0], rows[:, 2], color=colour, alpha=0.18, linewidth=0, label="range")
        axes.plot(rates, rows[:, 1], color=colour, marker="o", markersize=3.5, label="median of the seeds")
        scale_score(axes, [rows.ravel()])
    axes.axhline(found.untrained, color=style.MUTED, linewidth=1, linestyle="--", label="untrained")
    if found.stable is not None:
        axes.axvspan(*found.stable, color=style.CLASS_COLOURS[2], alpha=0.10, linewidth=0, label="stable")
    if found.suggested is not None:
        axes.axvline(found.suggested, color=style.CLASS_COLOURS[2], label=f"suggested: {found.suggested:.2g}")
    diverged = [lr for lr, losses in found.losses.items() if None in losses]
    if diverged:
        top = axes.get_ylim()[1]
        red = style.CLASS_COLOURS[1]
        axes.plot(
            diverged,
            [top] * len(diverged),
            "x",
            color=red,
            label="a seed has diverged",
            clip_on=False,
            zorder=5,
        )
    axes.set(xlabel="optimizer.lr", ylabel=name)
    style.legend_above(axes, 3)
    return figure
