"""Plot of the training curves: loss, main score and learning rate by epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import SPLITS, Dataset
from mlpkit.plots import style
from mlpkit.plots.log_axis import needs_log
from mlpkit.plots.score_words import score_words
from mlpkit.plots.words import loss_words

Array = NDArray[np.float64]
Curves = dict[str, tuple[Array, Array]]  # split -> (epochs, values)
Lines = Sequence[dict[str, Any]]

MAIN_SCORES = ("accuracy", "r2")
_MANY = 2000  # with this many epochs or more, curves are drawn thinner


def draw_curves(lines: Lines, dataset: Dataset, predictor: Predictor) -> Figure:
    """Return the plot of the curves in a run's metrics.jsonl; a value of None leaves a gap."""
    monitor = predictor.task.monitor
    best = best_of(lines, dataset, predictor)
    names = ["loss", *(name for name in MAIN_SCORES if any(name in line for line in lines))]
    rates = changing_rates(lines)
    across = style.across(len(names))
    down = -(-len(names) // across)
    figure = style.headed_figure(
        width=9.6 if across > 1 else 6.4,
        height=(5.9 if rates else 4.2) + 3.2 * (down - 1),
        title="Training curves",
        subtitle=style.caption(
            dataset, predictor, *_best_text(best, lines, dataset.monitored, monitor), whole_run=True
        ),
    )
    heights = (2.8,) * down + ((1,) if rates else ())
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    first: Axes | None = None
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[divmod(place, across)], sharex=first)
        first = first or axes
        label = loss_words(predictor) if name == "loss" else score_words(name)
        _draw_score(axes, name, label, series(lines, name))
        if best is not None:
            axes.axvline(best[0], color=style.FAINT, linewidth=1.0, zorder=1)
        if best is not None and name == monitor:
            axes.plot(*best, "o", markersize=9, fillstyle="none", color=style.INK, zorder=4)
        _number_epochs(axes, lines)
    if rates:
        axes = figure.add_subplot(grid[down, :], sharex=first)
        axes.plot(*rates, color=style.MUTED)
        axes.set_ylabel("learning rate")
        if needs_log([rates[1]]):
            style.log_scale(axes)
        else:
            axes.set_ylim(0, None)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
            style.plain_ticks(axes.yaxis)
        _number_epochs(axes, lines)
    return figure


def series(lines: Lines, name: str) -> Curves:
    """Return (epochs, values) of a score for each split with a finite value; None becomes NaN."""
    found: Curves = {}
    for split in SPLITS:
        pairs = [(line["epoch"], line.get(name)) for line in lines if line["split"] == split]
        epochs, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        if np.isfinite(values).any():
            found[split] = (epochs, values)
    return found


def best_of(lines: Lines, dataset: Dataset, predictor: Predictor) -> tuple[int, float] | None:
    """Return epoch and value of the best monitored score, by training's rule; None if there is none."""
    best: tuple[int, float, float] | None = None
    for line in lines:
        value, loss = line.get(predictor.task.monitor), line.get("loss")
        if line["split"] != dataset.monitored or value is None or loss is None:
            continue
        if predictor.task.beats(value, loss, *(best[1:] if best else (None, None))):
            best = (line["epoch"], value, loss)
    return best[:2] if best else None


def changing_rates(lines: Lines) -> tuple[Array, Array] | None:
    """Return epochs and learning rates; None if the learning rate never changes."""
    rates = series(lines, "lr").get("train")
    return rates if rates is not None and np.unique(rates[1][np.isfinite(rates[1])]).size > 1 else None


def _best_text(best: tuple[int, float] | None, lines: Lines, split: str, score: str) -> tuple[str, ...]:
    """Return the subtitle's text about the best epoch; "best logged" if some epochs were not logged."""
    if best is None:
        return ()
    all_logged = sum(line["split"] == split for line in lines) == max(line["epoch"] for line in lines)
    known = "best" if all_logged else "best logged"
    value = f"{score_words(score)} {style.number(best[1])}"
    return (f"{known} {split} {value} at epoch {best[0]:,} (grey line)",)


def _draw_score(axes: Axes, name: str, label: str, curves: Curves) -> None:
    logarithmic = name == "loss" and needs_log((values for _, values in curves.values()), zeros=True)
    zero = _place_of_zero(curves) if logarithmic else np.nan
    for split, (epochs, values) in curves.items():
        last = values[np.isfinite(values)][-1]
        shown = values
        if logarithmic:
            shown = np.where(values > 0, values, np.where(values == 0, zero, np.nan))
        single = np.isfinite(shown).sum() == 1
        axes.plot(
            epochs,
            shown,
            color=style.SPLIT_COLOURS[split],
            label=f"{split} {style.number(last)}",
            marker="o" if single else "",
            linestyle="" if single else "-",
            markersize=5.5,
            linewidth=1.6 if len(epochs) < _MANY else 0.9,
            zorder=3 if single else 2,
        )
    axes.set_ylabel(label)
    if logarithmic:
        style.log_scale(axes)
    if not np.isnan(zero):
        _mark_zero(axes, zero)
    if name == "r2":
        _cut_deep_start(axes, curves)
    style.plain_ticks(axes.yaxis)
    if not curves:
        style.note(axes, "no finite values")
        axes.set_yticks([])
    style.legend_above(axes, columns=3)


def _place_of_zero(curves: Curves) -> float:
    """Return the position of a loss of 0 on a logarithmic axis, a decade or more below all others.

    NaN if no loss is 0.
    """
    values = np.concatenate([values for _, values in curves.values()])
    if not (values == 0).any():
        return np.nan
    return float(10.0 ** (np.floor(np.log10(values[values > 0].min())) - 1))


def _mark_zero(axes: Axes, zero: float) -> None:
    """Label the lower end of a logarithmic axis with 0, where zeros are drawn."""
    axes.set_ylim(bottom=zero)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in axes.get_yticks() if tick > 10 * zero]))
    size = axes.yaxis.get_ticklabels()[0].get_fontsize()
    place = axes.get_yaxis_transform()
    axes.text(-0.012, zero, "0", transform=place, ha="right", va="center", size=size, color=style.MUTED)


def _cut_deep_start(axes: Axes, curves: Curves) -> None:
    """Cut very negative R² of the first half of training off the axis, where they would flatten the rest."""
    finite = [values[np.isfinite(values)] for _, values in curves.values()]
    if finite and max(values[-1] for values in finite) > 0 and axes.get_ylim()[0] < -1:
        later = min(values[len(values) // 2 :].min() for values in finite)
        axes.set_ylim(min(0.0, later) - 0.1, 1.05)


def _number_epochs(axes: Axes, lines: Lines) -> None:
    axes.set_xlabel("epoch")
    epochs = {line["epoch"] for line in lines}
    if len(epochs) == 1:
        (only,) = epochs
        axes.set(xlim=(only - 1, only + 1), xticks=[only])
    else:
        style.plain_ticks(axes.xaxis)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
