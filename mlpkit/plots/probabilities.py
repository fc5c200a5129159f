"""Plots of a classifier's probabilities: ROC, precision and recall, thresholds, calibration."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.calibration import calibration_scores
from mlpkit.analysis.intervals import wilson
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.losses.scores import certainty_of
from mlpkit.plots import style
from mlpkit.plots.words import activation_words

Array = NDArray[Any]

_BINS = 10  # of the calibration
_BAR = 0.2  # height of the bar of the bin with the most rows
_BLUE, _RED, _GREEN = style.CLASS_COLOURS[:3]


def draw_probabilities(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the plots of the probabilities of a split that has rows of both classes.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows are scored.
        outputs: the model's raw outputs for them.
    """
    rows = dataset.splits[split]
    probabilities = predictor.decode(outputs).probabilities
    assert probabilities is not None
    chances, true = probabilities[:, 1].double().numpy(), rows.targets.numpy() == 1
    positive = style.shorten(dataset.input_schema.classes[1])
    activation = activation_words(predictor)
    result = f"{split}: {true.sum():,} of {len(true):,} rows are {positive}"
    across = style.across(2)
    width, height = (9.6, 9.0) if across == 2 else (4.8, 16.0)
    subtitle = style.caption(dataset, predictor, result)
    figure = style.headed_figure(width, height, f"Probabilities ({activation})", subtitle)
    grid = figure.subplots(4 // across, across).reshape(2, 2)
    if not np.isfinite(chances).all():
        for axes in grid.flat:
            style.note(axes, "not all probabilities are finite")
        return figure
    curves = Curves(chances, true)
    _draw_roc(grid[0, 0], curves)
    _draw_precision(grid[0, 1], curves)
    _draw_thresholds(grid[1, 0], curves)
    _draw_calibration(grid[1, 1], chances, true, f"probability of {positive}", f"share of {positive}")
    for axes in grid.flat:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


def draw_calibration(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the plot of how often the likeliest class is right, by its probability; for several classes.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows are scored.
        outputs: the model's raw outputs for them.
    """
    rows = dataset.splits[split]
    probabilities = predictor.decode(outputs).probabilities
    assert probabilities is not None
    certainty, right = certainty_of(probabilities, rows.targets)
    error = calibration_scores(predictor, rows, outputs)["ece"]
    result = f"{split}: ECE {error:.4f}"
    temperature = predictor.network.temperature
    result += f", T = {temperature:.3g}" if temperature != 1 else ""
    figure = style.headed_figure(4.8, 5.2, "Calibration", style.caption(dataset, predictor, result))
    axes = figure.subplots()
    if not certainty.isfinite().all():
        style.note(axes, "not all probabilities are finite")
        return figure
    words = "probability of the likeliest class", "share that is of it"
    _draw_calibration(axes, certainty.numpy(), right.numpy(), *words)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


class Curves:
    """Scores at each threshold, from the highest probability down; each array is (thresholds,).

    scikit-learn has the same functions, but importing it takes longer than drawing.

    Attributes:
        thresholds: the distinct probabilities; rows with this one or a higher one are predicted positive.
        recall: the share of the positive rows that are predicted positive.
        false_positive_rate: the share of the negative rows that are predicted positive.
        precision: the share of positive rows among those that are predicted positive.
        f1: 2 · precision · recall / (precision + recall).
        prevalence: the share of positive rows.
    """

    def __init__(self, chances: Array, true: Array) -> None:
        """Take the rows' probabilities of the positive class, and whether they are positive."""
        order = np.argsort(-chances, kind="stable")
        last = np.append(np.flatnonzero(np.diff(chances[order])), len(chances) - 1)  # of equal probabilities
        right, named, positives = np.cumsum(true[order])[last], last + 1, true.sum()
        self.thresholds = chances[order][last]
        self.recall = right / positives
        self.false_positive_rate = (named - right) / (len(true) - positives)
        self.precision = right / named
        self.f1 = 2 * right / (named + positives)
        self.prevalence = positives / len(true)

    def roc_auc(self) -> float:
        """Return the area under the ROC curve."""
        rates, recalls = self.roc()
        return float(np.trapezoid(recalls, rates))

    def roc(self) -> tuple[Array, Array]:
        """Return the ROC curve from (0, 0) on: false positive rates and recalls."""
        return np.append(0, self.false_positive_rate), np.append(0, self.recall)

    def average_precision(self) -> float:
        """Return the mean precision, weighted by the increase of recall at each threshold."""
        return float(np.diff(self.recall, prepend=0) @ self.precision)


def _draw_roc(axes: Axes, curves: Curves) -> None:
    axes.plot((0, 1), (0, 1), color=style.MUTED, linewidth=1, linestyle="--", label="by chance 0.500")
    axes.plot(*curves.roc(), color=_BLUE, label=f"ROC AUC {curves.roc_auc():.3f}")
    axes.set(xlabel="false positive rate", ylabel="recall (true positive rate)")
    style.legend_above(axes, columns=1)


def _draw_precision(axes: Axes, curves: Curves) -> None:
    share = curves.prevalence
    axes.axhline(share, color=style.MUTED, linewidth=1, linestyle="--", label=f"by chance {share:.3f}")
    steps = np.append(0, curves.recall), np.append(curves.precision[0], curves.precision)
    axes.plot(
        *steps,
        color=_BLUE,
        drawstyle="steps-pre",
        label=f"average precision {curves.average_precision():.3f}",
    )
    axes.set(xlabel="recall", ylabel="precision")
    style.legend_above(axes, columns=1)


def _draw_thresholds(axes: Axes, curves: Curves) -> None:
    x = curves.thresholds
    axes.plot(x, curves.precision, color=_BLUE, label="precision", drawstyle="steps-post")
    axes.plot(x, curves.recall, color=_RED, label="recall", drawstyle="steps-post")
    axes.plot(x, curves.f1, color=_GREEN, label="F1", drawstyle="steps-post")
    axes.axvline(0.5, color=style.FAINT, linewidth=1, zorder=1)
    axes.set(xlabel="threshold", ylabel="score")
    style.legend_above(axes, columns=3)


def _draw_calibration(axes: Axes, chances: Array, true: Array, chance: str, share: str) -> None:
    bins = np.minimum((chances * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    left = np.arange(_BINS) / _BINS
    bars = _BAR * counts / counts.max()
    label = f"rows in a bin (most: {counts.max():,})"
    axes.bar(
        left, bars, 1 / _BINS, align="edge", color=style.FAINT, alpha=0.6, edgecolor="white", label=label
    )
    axes.plot((0, 1), (0, 1), color=style.MUTED, linewidth=1, linestyle="--")
    filled = np.flatnonzero(counts)
    mean = np.array([chances[bins == number].mean() for number in filled])
    positives, rows = np.array([true[bins == number].sum() for number in filled]), counts[filled]
    low, high = np.transpose([wilson(*map(int, pair)) for pair in zip(positives, rows, strict=True)])
    axes.vlines(mean, low, high, color=_BLUE, linewidth=1.2)
    axes.plot(mean, positives / rows, "o", color=_BLUE, markersize=5.5, label="share, with 95 % interval")
    axes.set(xlabel=f"{chance}, mean of a bin", ylabel=share)
    style.legend_above(axes, columns=2)
