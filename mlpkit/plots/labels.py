"""Plot of a multilabel model: precision and recall of each label."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mlpkit.analysis.evaluate import scores_of
from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.plots import style

MOST = 40  # labels; of more, the most frequent ones are drawn


def draw_labels(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the precision and the recall of each label of a split.

    Args:
        dataset: the dataset.
        predictor: the trained model.
        split: whose rows are scored.
        outputs: the model's raw outputs for them.
    """
    rows = dataset.splits[split]
    true, predicted = rows.targets.bool(), predictor.task.decode(outputs).bool()
    positives, named, right = true.sum(0), predicted.sum(0), (true & predicted).sum(0)
    order = positives.argsort(descending=True, stable=True)[:MOST]
    names = [f"{style.shorten(dataset.input_schema.targets[i])} ({int(positives[i]):,})" for i in order]
    accuracy = style.number(scores_of(predictor, rows, outputs)["accuracy"])
    result = f"{split} accuracy {accuracy}; in brackets: rows that have the label"
    figure = style.headed_figure(
        width=7.2,
        height=1.6 + 0.3 * len(names),
        title="Precision and recall by label",
        subtitle=style.caption(dataset, predictor, result),
    )
    axes = figure.subplots()
    y = range(len(names))
    precision, recall = ((right / count)[order].double().numpy() for count in (named, positives))
    # A precision or recall of 0 / 0 is NaN, which is not drawn.
    axes.hlines(y, precision, recall, color=style.FAINT, linewidth=2, zorder=1)
    axes.plot(precision, y, "o", color=style.CLASS_COLOURS[0], markersize=7, label="precision")
    axes.plot(recall, y, "D", color=style.CLASS_COLOURS[1], markersize=6, label="recall")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(y, names)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.legend_above(axes, columns=2)
    return figure
