"""Plot of partial dependence."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpkit.analysis.dependence import Dependence
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots import style

MOST_OUTPUTS = 10  # curves of a panel; there are as many colours


def draw_dependence(
    dataset: Dataset, predictor: Predictor, split: str, found: Sequence[Dependence]
) -> Figure:
    """Return a panel for each column, all of one scale: the mean prediction by the column's value.

    A panel with one output has the curves of some rows as well, and the interval over the members.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows were predicted.
        found: the partial dependence on each column.
    """
    across = min(len(found), style.across(2))
    down = -(-len(found) // across)
    subtitle = style.caption(dataset, predictor, split)
    figure = style.headed_figure(4.8 * across, 1.0 + 3.6 * down, "Partial dependence", subtitle)
    panels = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, each in zip(panels, found, strict=False):
        _draw(axes, each, "probability of" if predictor.task.probabilities else "mean")
    for axes in panels[len(found) :]:
        axes.remove()
    return figure


def _draw(axes: Axes, found: Dependence, what: str) -> None:
    x = np.asarray(found.values) if found.is_number else np.arange(len(found.values))
    is_single = len(found.outputs) == 1
    if is_single:
        axes.plot(x, found.curves[:, :, 0].T.numpy(), color=style.FAINT, linewidth=0.6, zorder=1)
    shown = found.outputs[:MOST_OUTPUTS]
    for place, output in enumerate(shown):
        colour, mean = style.CLASS_COLOURS[place % len(style.CLASS_COLOURS)], found.mean[:, place].numpy()
        if found.low is not None and found.high is not None:
            ends = found.low[:, place].numpy(), found.high[:, place].numpy()
            if found.is_number:
                axes.fill_between(x, *ends, color=colour, alpha=0.2, linewidth=0)
            else:
                axes.vlines(x, *ends, color=colour, linewidth=1.2)
        marker = "-" if found.is_number else "o"
        axes.plot(x, mean, marker, color=colour, linewidth=2, label=style.shorten(output))
    label = f"{what} {style.shorten(shown[0])}" if is_single else what.removesuffix(" of")
    if found.is_number:
        style.label_axes(axes, style.shorten(found.column, 30), label)
    else:
        axes.set(xlabel=style.shorten(found.column, 30), ylabel=label)
        crowded = len(x) > 6
        axes.set_xticks(x, [style.shorten(str(value)) for value in found.values], rotation=90 * crowded)
    if not is_single:
        style.legend_above(axes, columns=3)
