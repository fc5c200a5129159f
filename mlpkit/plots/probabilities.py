"""Plots of a classifier's probabilities: ROC, precision and recall, thresholds, calibration."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.calibration import calibration_scores, temperatures_of, uncalibrated
from mlpkit.analysis.intervals import wilson
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset, Split
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
    chances, true = _second(predictor, outputs), rows.targets.numpy() == 1
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
    _draw_calibration(
        grid[1, 1],
        predictor,
        rows,
        outputs,
        lambda found: (_second(predictor, found), true),
        f"probability of {positive}",
        f"share of {positive}",
    )
    for axes in grid.flat:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


def draw_calibration(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the plot of how often the likeliest class is right, by its probability.

    Of a model with a temperature, it shows the model without it as well. Of several labels, all count alike.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows are scored.
        outputs: the model's raw outputs for them.
    """
    rows = dataset.splits[split]
    figure = style.headed_figure(5.2, 5.8, "Calibration", style.caption(dataset, predictor, split))
    axes = figure.subplots()

    def certainty(found: Tensor) -> tuple[Array, Array]:
        probabilities = predictor.decode(found).probabilities
        assert probabilities is not None
        sure, right = certainty_of(probabilities, rows.targets)
        return sure.numpy(), right.numpy()

    words = "probability of the likeliest class", "share that is right"
    _draw_calibration(axes, predictor, rows, outputs, certainty, *words)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


def _second(predictor: Predictor, outputs: Tensor) -> Array:
    """Return the probability (rows,) of the second class."""
    probabilities = predictor.decode(outputs).probabilities
    assert probabilities is not None
    found: Array = probabilities[:, 1].double().numpy()
    return found


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


def _draw_calibration(
    axes: Axes,
    predictor: Predictor,
    rows: Split,
    outputs: Tensor,
    chances_of: Callable[[Tensor], tuple[Array, Array]],
    chance: str,
    share: str,
) -> None:
    """Draw how often something is right, by its probability.

    Args:
        axes: where to draw.
        predictor: the trained model.
        rows: the rows that are scored.
        outputs: the model's raw outputs for them.
        chances_of: outputs -> the probabilities (n,) and whether they are right (n,).
        chance: names the probabilities.
        share: names the share that is right.
    """
    chances, true = chances_of(outputs)
    if not np.isfinite(chances).all():
        style.note(axes, "not all probabilities are finite")
        return
    counts = np.bincount(_bins_of(chances), minlength=_BINS)
    left, bars = np.arange(_BINS) / _BINS, _BAR * counts / counts.max()
    label = f"rows in a bin (most: {counts.max():,})"
    axes.bar(
        left, bars, 1 / _BINS, align="edge", color=style.FAINT, alpha=0.6, edgecolor="white", label=label
    )
    axes.plot((0, 1), (0, 1), color=style.MUTED, linewidth=1, linestyle="--")
    temperatures = temperatures_of(predictor)
    is_calibrated = temperatures != [1]
    if is_calibrated:
        plain = uncalibrated(predictor)
        before = plain.on(rows).outputs_in_blocks(rows.inputs)
        label = f"before: {_scores(plain, rows, before)}"
        _draw_shares(axes, *chances_of(before), label, color=_RED, marker="s", markerfacecolor="none")
    named = "T = " + ", ".join(f"{of:.3g}" for of in temperatures) if is_calibrated else "share"
    _draw_shares(
        axes, chances, true, f"{named}: {_scores(predictor, rows, outputs)}", color=_BLUE, marker="o"
    )
    axes.set(xlabel=f"{chance}, mean of a bin", ylabel=f"{share}, with 95 % interval")
    style.legend_above(axes, columns=1)


def _draw_shares(axes: Axes, chances: Array, true: Array, label: str, **look: Any) -> None:
    bins = _bins_of(chances)
    counts = np.bincount(bins, minlength=_BINS)
    filled = np.flatnonzero(counts)
    mean = np.array([chances[bins == number].mean() for number in filled])
    positives, rows = np.array([true[bins == number].sum() for number in filled]), counts[filled]
    low, high = np.transpose([wilson(*map(int, pair)) for pair in zip(positives, rows, strict=True)])
    axes.vlines(mean, low, high, color=look["color"], linewidth=1.2)
    axes.plot(mean, positives / rows, linestyle="", markersize=5.5, label=label, **look)


def _bins_of(chances: Array) -> Array:
    bins: Array = np.minimum((chances * _BINS).astype(int), _BINS - 1)
    return bins


def _scores(predictor: Predictor, rows: Split, outputs: Tensor) -> str:
    found = calibration_scores(predictor.task, rows, outputs)
    return f"ECE {found['ece']:.4f}, Brier {found['brier']:.4f}"
