"""Plot of the importance of columns."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mlpkit.analysis.importance import Importance
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots import style

MOST = 30  # columns that are drawn


def draw_importance(
    dataset: Dataset, predictor: Predictor, split: str, score: str, found: Sequence[Importance]
) -> Figure:
    """Return the plot of how much the score drops without each column, with 95 % intervals.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows were scored.
        score: the score.
        found: the importance of each column, the largest first.
    """
    shown = list(found[:MOST])
    count = f"{len(shown)} of {len(found)} columns" if len(shown) < len(found) else f"{len(found)} columns"
    subtitle = style.caption(dataset, predictor, split, count)
    figure = style.headed_figure(5.6, 1.4 + 0.26 * len(shown), "Importance of the columns", subtitle)
    axes, places = figure.subplots(), np.arange(len(shown))[::-1]
    axes.barh(places, [each.drop for each in shown], 0.7, color=style.CLASS_COLOURS[0], alpha=0.75)
    axes.hlines(places, [e.low for e in shown], [e.high for e in shown], color=style.INK, linewidth=1.2)
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    axes.set_yticks(places, [style.shorten(each.column) for each in shown])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{score} is worse by, when the column is shuffled")
    return figure
