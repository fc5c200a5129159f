"""Plots of a regression model: the fitted line, and predicted against true values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from mlpkit import metrics
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots import style
from mlpkit.plots.words import model_words

Array = NDArray[np.float64]

MARKERS = {"train": "o", "val": "s", "test": "D"}
_GRID = 256


def least_squares(x: Array, y: Array) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line through the points (x, y), each (rows,)."""
    slope, intercept = np.linalg.lstsq(np.column_stack((x, np.ones_like(x))), y, rcond=None)[0]
    return float(slope), float(intercept)


def equation(slope: float, intercept: float, feature: str = "x", target: str = "y") -> str:
    """Return the line as text: y = 3.02x + 1.87."""
    times = "" if len(feature) == 1 else " · "
    sign = "−" if intercept < 0 else "+"
    return f"{target} = {style.number(slope, 3)}{times}{feature} {sign} {style.number(abs(intercept), 3)}"


def draw_fit(dataset: Dataset, predictor: Predictor) -> Figure:
    """Return the plot of points and lines over the single feature: fitted, least squares, true if known."""
    input_schema, train = dataset.input_schema, dataset.splits["train"]
    feature, target = style.shorten(input_schema.features[0]), style.shorten(input_schema.targets[0])
    subtitle = style.caption(dataset, predictor, *style.thinning(*map(len, dataset.splits.values())))
    figure = style.headed_figure(7.6, 5.6, f"Fit of {target} over {feature}", subtitle)
    axes = figure.subplots()
    for split, rows in dataset.splits.items():
        few = style.thinned(len(rows))
        axes.plot(
            rows.inputs[few, 0].numpy(),
            rows.targets[few, 0].numpy(),
            **_points(split, len(rows)),
            label=split,
        )
    inputs = torch.cat([rows.inputs for rows in dataset.splits.values()])
    x = np.linspace(float(inputs.min()), float(inputs.max()), _GRID)
    predictions = predictor.predict(torch.from_numpy(x).float().unsqueeze(1))
    fitted = predictions.values[:, 0].double().numpy()
    fitted = np.where(np.isfinite(fitted), fitted, np.nan)
    if predictions.ends is not None:
        low, high = (f"{end:.3g}" for end in predictor.loss.ends)
        label = f"quantiles {low} to {high}"
        axes.fill_between(x, *predictions.ends.numpy().T, color=style.FAINT, zorder=1.2, label=label)
    if dataset.true_line is not None:
        slope, intercept = dataset.true_line
        label = f"true: {equation(slope, intercept, feature, target)}"
        band = axes.plot(x, slope * x + intercept, color=style.FAINT, linewidth=6, zorder=1.5, label=label)
        band[0].set_solid_capstyle("butt")
    text = _fitted_text(x, fitted, feature, target) or model_words(predictor)
    axes.plot(x, fitted, color=style.INK, linewidth=2, label=f"fitted: {text}")
    slope, intercept = least_squares(
        train.inputs[:, 0].double().numpy(), train.targets[:, 0].double().numpy()
    )
    label = f"least squares: {equation(slope, intercept, feature, target)}"
    axes.plot(x, slope * x + intercept, color="#35b0ab", linewidth=1.6, linestyle=(0, (3, 2)), label=label)
    style.label_axes(axes, feature, target)
    style.legend_above(axes, columns=2)
    return figure


def draw_predicted(dataset: Dataset, predictor: Predictor, outputs: Mapping[str, Tensor]) -> Figure:
    """Return the plot of predicted against true values; `outputs` are the model's raw outputs by split."""
    target = ", ".join(style.shorten(name) for name in dataset.input_schema.targets[:3])
    subtitle = style.caption(dataset, predictor, *style.thinning(*map(len, dataset.splits.values())))
    figure = style.headed_figure(5.6, 6.1, f"Predicted against true {target}", subtitle)
    axes = figure.subplots()
    ends: list[float] = []
    for split, predicted in outputs.items():
        true = dataset.splits[split].targets
        few = style.thinned(len(true))
        pairs = torch.stack((true[few].double().flatten(), predicted[few].double().flatten()))
        pairs = pairs[:, pairs.isfinite().all(0)]
        ends += [float(end) for end in pairs.aminmax()] if pairs.numel() else []
        axes.plot(
            *pairs.numpy(),
            **_points(split, len(true)),
            label=f"{split} R² {style.number(coefficient_of_determination(predictor, predicted, true))}",
        )
    if ends:
        low, high = min(ends), max(ends)
        room = 0.05 * (high - low) or 0.5
        limits = (low - room, high + room)
        axes.plot(limits, limits, color=style.MUTED, linewidth=1.0, zorder=1.5)
        axes.set(xlim=limits, ylim=limits)
    else:
        style.note(axes, "no finite predictions")
    axes.set_aspect("equal")
    style.label_axes(axes, f"true {target}", f"predicted {target}")
    style.legend_above(axes, columns=3)
    return figure


def draw_residuals(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the plot of a split's residuals, true minus predicted: over the prediction, and how often.

    Args:
        dataset: a dataset with one target.
        predictor: the trained model.
        split: whose rows are shown.
        outputs: the model's raw outputs for them.
    """
    rows, target = dataset.splits[split], style.shorten(dataset.input_schema.targets[0])
    predicted = predictor.decode(outputs).values[:, 0].double()
    residuals = rows.targets[:, 0].double() - predicted
    finite = residuals.isfinite()
    predicted, residuals = predicted[finite], residuals[finite]
    mean, deviation = (
        style.number(float(value), 3) for value in (residuals.mean(), residuals.square().mean().sqrt())
    )
    spread = f"mean {mean}, root mean square {deviation}"
    subtitle = style.caption(dataset, predictor, f"{split}: {spread}", *style.thinning(len(rows)))
    figure = style.headed_figure(9.6, 4.6, f"Residuals of {target}: true − predicted", subtitle)
    over, often = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    if not len(residuals):
        style.note(over, "no finite predictions")
        return figure
    few = style.thinned(len(residuals))
    over.plot(predicted[few].numpy(), residuals[few].numpy(), **_points(split, len(residuals)))
    often.hist(
        residuals.numpy(),
        bins=min(40, max(8, round(len(residuals) ** 0.5))),
        orientation="horizontal",
        color=style.SPLIT_COLOURS[split],
        edgecolor="white",
    )
    for axes in (over, often):
        axes.axhline(0, color=style.MUTED, linewidth=1.0, zorder=1.5)
    style.label_axes(over, f"predicted {target}", "residual")
    often.set_xlabel("rows")
    often.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return figure


def coefficient_of_determination(predictor: Predictor, outputs: Tensor, targets: Tensor) -> float:
    """Return R², computed by the task."""
    task = predictor.task
    encoded = task.encode(targets, outputs.dtype)
    sums = metrics.add_up(torch.zeros(len(targets)), task.statistics(outputs, task.truth(encoded)))
    r2: float = task.scores(sums, len(targets))["r2"]
    return r2


def _points(split: str, rows: int) -> dict[str, Any]:
    """Return matplotlib's options for the points of a split; many points are drawn smaller."""
    size = style.point_size(rows, few=4.6)
    return {
        "linestyle": "",
        "marker": MARKERS[split],
        "color": style.SPLIT_COLOURS[split],
        "markersize": size,
        "markeredgecolor": "white",
        "markeredgewidth": 0.1 * size,
        "alpha": 0.85,
    }


def _fitted_text(x: Array, fitted: Array, feature: str, target: str) -> str | None:
    """Return the equation of the fitted line; None if it is not straight."""
    if not np.isfinite(fitted).all():
        return "not finite"
    slope, intercept = least_squares(x, fitted)
    error = np.abs(slope * x + intercept - fitted).max()
    if error > 1e-4 * max(float(np.ptp(fitted)), float(np.abs(fitted).max())):
        return None
    return equation(slope, intercept, feature, target)
