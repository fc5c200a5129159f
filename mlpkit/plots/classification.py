"""Plots of a classifier: decision boundary and confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset, Split
from mlpkit.plots import style
from mlpkit.plots.palette import PROBABILITY, TWO_CLASSES
from mlpkit.plots.words import activation_words

Array = NDArray[np.float64]

_GRID = 200  # points along each axis of the probability map
_NAMED = 16  # with more classes the legend does not name them
_COUNTED = 20  # with more classes the confusion matrix has no room for counts

_PROBABILITY = LinearSegmentedColormap.from_list("probability", PROBABILITY)
_SHARE = LinearSegmentedColormap.from_list("share", ("#f4f5f7", "#c9dcef", "#6f9fce", "#1f5a99"))


def draw_boundary(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the map of class probabilities over two features, with the points of train and of `split`.

    Args:
        dataset: a dataset with two features.
        predictor: the trained model.
        split: the split whose accuracy is shown.
        outputs: the model's raw outputs for this split.
    """
    input_schema = dataset.input_schema
    classes = [style.shorten(name) for name in input_schema.classes]
    colours = [style.CLASS_COLOURS[label % len(style.CLASS_COLOURS)] for label in range(len(classes))]
    if len(classes) == 2:
        colours = list(TWO_CLASSES)
    result = f"{split} accuracy {style.number(_accuracy(dataset, predictor, split, outputs))}"
    thinning = style.thinning(len(dataset.splits["train"]), len(dataset.splits[split]))
    subtitle = style.caption(dataset, predictor, result, *thinning)
    figure = style.headed_figure(7.2, 6.0, "Decision boundary", subtitle)
    axes = figure.subplots()
    axes.grid(False)
    x, y = _grid_over(torch.cat([rows.inputs for rows in dataset.splits.values()]))
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).float()
    probabilities = predictor.predict(points).probabilities
    assert probabilities is not None
    surface = probabilities.double().numpy().reshape(len(y), len(x), -1)
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2  # half a pixel: each point is the centre of a pixel
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    how: dict[str, Any] = {"origin": "lower", "extent": extent, "interpolation": "bilinear"}
    if len(classes) == 2:
        image = axes.imshow(surface[..., 1], _PROBABILITY, vmin=0, vmax=1, **how)
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, ticks=(0, 0.25, 0.5, 0.75, 1))
        bar.set_label(f"probability of {classes[1]} ({activation_words(predictor)})")
        bar.outline.set_visible(False)
    else:
        axes.imshow(_tints(surface, colours), **how)
    _draw_borders(axes, x, y, surface)
    _draw_points(axes, dataset.splits["train"], colours, marker="o", size=4.5, edge="white")
    legend = [_key("train", "o", style.MUTED, "white")]
    if split != "train":
        _draw_points(axes, dataset.splits[split], colours, marker="D", size=6, edge=style.INK)
        legend.append(_key(split, "D", "#aab1b8", style.INK))
    if len(classes) <= _NAMED:
        squares = [_key(name, "s", colour, "none") for name, colour in zip(classes, colours, strict=True)]
        legend = squares + legend
    first, second = (style.shorten(name, 40) for name in input_schema.features)
    axes.set(aspect="auto", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    style.label_axes(axes, first, second)
    style.legend_above(axes, columns=int(5.4 / (0.5 + 0.075 * max(map(len, classes)))), handles=legend)
    return figure


def draw_confusion(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the confusion matrix of a split; `outputs` are the model's raw outputs for it."""
    classes = [style.shorten(name) for name in dataset.input_schema.classes]
    size = len(classes)
    counts = confusion_counts(dataset.splits[split].targets, predictor.task.decode(outputs), size)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    accuracy = _accuracy(dataset, predictor, split, outputs)
    result = f"{split} accuracy {style.number(accuracy)} of {counts.sum():,} rows"
    side, name = min(max(0.52 * size, 2.6), 9.0), 0.08 * max(map(len, classes))  # inches
    step = -(-size // 30)  # every which class is named
    turned = name > step * side / size
    figure = style.headed_figure(
        width=side + name + 2.0,
        height=side + 1.5 + (name if turned else 0),
        title="Confusion matrix",
        subtitle=style.caption(dataset, predictor, result),
    )
    axes = figure.subplots()
    axes.grid(False)
    # The square root makes a share of 1 % visible: rare mistakes matter most.
    image = axes.imshow(shares, _SHARE, norm=PowerNorm(0.5, 0, 1))
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, aspect=30)
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    axes.set_xticks(range(0, size, step), classes[::step], rotation=90 if turned else 0)
    axes.set_yticks(range(0, size, step), classes[::step])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    if size <= _COUNTED:
        for border in np.arange(size - 1) + 0.5:
            axes.axhline(border, color="white", linewidth=1.5)
            axes.axvline(border, color="white", linewidth=1.5)
        for true, predicted in np.argwhere(counts):
            colour = "white" if shares[true, predicted] > 0.3 else style.INK
            text = axes.text(
                predicted, true, f"{counts[true, predicted]:,}", color=colour, size=8 if size > 4 else 11
            )
            text.set(ha="center", va="center", in_layout=False)
    return figure


def confusion_counts(true: Tensor, predicted: Tensor, classes: int) -> NDArray[np.int64]:
    """Return the (classes, classes) matrix of counts, true by predicted, from (rows,) labels."""
    counts = torch.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).numpy()


def _accuracy(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> float:
    right = predictor.task.decode(outputs) == dataset.splits[split].targets
    return float(right.double().mean())


def _grid_over(inputs: Tensor) -> tuple[Array, Array]:
    """Return the coordinates of the map along both axes, with a margin around the (rows, 2) points."""
    points = inputs.double().numpy()
    low, high = points.min(0), points.max(0)
    room = np.where(high > low, 0.08 * (high - low), 0.5)
    x, y = np.linspace(low - room, high + room, _GRID).T
    return x, y


def _tints(surface: Array, colours: Sequence[str]) -> Array:
    """Return (height, width, 3) colours: the colour of the most probable class, paler if less certain."""
    palette, sure = np.array([to_rgb(colour) for colour in colours]), surface.max(2, keepdims=True)
    tints: Array = 1 - (1 - palette[surface.argmax(2)]) * 0.55 * np.nan_to_num(sure)
    return tints


def _draw_borders(axes: Axes, x: Array, y: Array, surface: Array) -> None:
    """Draw the borders between classes; those of class 0 are drawn as borders of its neighbours."""
    for label in range(1, surface.shape[2]):
        lead = surface[..., label] - np.delete(surface, label, axis=2).max(2)
        if lead.min() < 0 < lead.max():
            axes.contour(x, y, lead, levels=(0,), colors=style.INK, linewidths=1.3)


def _draw_points(
    axes: Axes, rows: Split, colours: Sequence[str], marker: str, size: float, edge: str
) -> None:
    few, size = style.thinned(len(rows)), style.point_size(len(rows), size)
    points, labels = rows.inputs[few].numpy(), rows.targets[few].numpy()
    for label, colour in enumerate(colours):
        x, y = points[labels == label].T
        axes.plot(
            x,
            y,
            marker,
            color=colour,
            markersize=size,
            markeredgecolor=edge,
            markeredgewidth=0.7 * style.current().marks,
        )


def _key(label: str, marker: str, colour: str, edge: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, markeredgecolor=edge, label=label)
