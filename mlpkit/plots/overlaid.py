"""Plot of the curves of many runs, with a colour for each setting."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.folders.metrics_file import read_curves
from mlpkit.plots import style
from mlpkit.plots.settings import Array, joined, label, legend, scale_score, score_name

MOST_SETTINGS = len(style.CLASS_COLOURS)  # there is one colour for each
MOST_CURVES = 32  # for each setting

_WIDTH = 7.6

Curve = tuple[Array, Array]  # epochs and values


def draw_overlaid(comparison: Comparison, warn: Callable[[str], None]) -> Figure | None:
    """Return the plot of the score by epoch, for the best settings: each run thin, the mean thick.

    Args:
        comparison: the comparison.
        warn: called with a warning for each run whose metrics cannot be read.

    Returns:
        The plot; None if no run has kept its scores by epoch.
    """
    split, score = comparison.metric.split, comparison.metric.score
    ranked = [setting for setting in comparison.settings if setting.runs]
    if split == "test":  # test is scored only after training: show the monitored split
        split = next(run.best.split for run in ranked[0].runs.values() if run.best is not None)
    shown = ranked[:MOST_SETTINGS]
    some = f"the best {len(shown)} of {len(ranked)} settings" if len(shown) < len(ranked) else ""
    name = score_name(split, score)
    thin = "thin: each run; thick: their mean" if any(len(setting.runs) > 1 for setting in shown) else ""
    figure = style.headed_figure(
        _WIDTH, 5.0, f"{name} by epoch", joined(some, thin) or "a run of each setting"
    )
    axes = figure.subplots()
    drawn: list[Array] = []
    labels = [label(comparison, setting, comparison.columns) for setting in shown]
    colours = dict(zip(labels, style.CLASS_COLOURS, strict=False))
    for setting, colour in reversed(list(zip(shown, style.CLASS_COLOURS, strict=False))):
        curves = curves_of(setting, split, score, warn)
        single = len(curves) == 1
        for epochs, values in curves:
            axes.plot(
                epochs,
                values,
                color=colour,
                linewidth=1.6 if single else 0.7,
                alpha=1 if single else 0.35,
                marker="o" if len(epochs) == 1 else "",
            )
            drawn.append(values)
        if not single and curves:
            axes.plot(*_mean_curve(curves), color=colour, linewidth=1.8, zorder=3)
    if not drawn:
        return None
    axes.set(xlabel="epoch", ylabel=name)
    if not scale_score(axes, drawn):
        _cut_start(axes, drawn)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    style.plain_ticks(axes.xaxis)
    legend(axes, colours, comparison, comparison.columns, _WIDTH)
    return figure


def curves_of(setting: Setting, split: str, score: str, warn: Callable[[str], None]) -> list[Curve]:
    """Return the curves of a setting's runs; a value of None leaves a gap."""
    curves = []
    for rows in read_curves([run.path for run in list(setting.runs.values())[:MOST_CURVES]], warn):
        pairs = {row["epoch"]: row.get(score) for row in rows if row["split"] == split}
        epochs = np.array(sorted(pairs), dtype=np.float64)
        values = np.array([pairs[epoch] for epoch in sorted(pairs)], dtype=np.float64)
        if np.isfinite(values).any():
            curves.append((epochs, values))
    return curves


def _cut_start(axes: Axes, drawn: Sequence[Array]) -> None:
    """Fit the y axis to the later epochs if the first fifth of them would flatten the rest."""
    finite = [values[np.isfinite(values)] for values in drawn]
    later = np.concatenate([values[len(values) // 5 :] for values in finite])
    low, high = float(later.min()), float(later.max())
    if 0 < 3 * (high - low) < np.ptp(np.concatenate(finite)):
        room = 0.05 * (high - low)
        axes.set_ylim(low - room, high + room)
        style.plain_ticks(axes.yaxis)


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean at the epochs that all runs have; elsewhere it would jump when a run ends."""
    shared = curves[0][0]
    for epochs, _ in curves[1:]:
        shared = np.intersect1d(shared, epochs)
    rows = [values[np.searchsorted(epochs, shared)] for epochs, values in curves]
    return shared, np.mean(rows, axis=0)
