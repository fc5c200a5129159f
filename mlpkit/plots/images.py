"""Plot of the images that a classifier gets most wrong."""

from dataclasses import dataclass

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.data.input_schema import InputSchema
from mlpkit.plots import style

SAMPLES = 24
_COLUMNS = 8
_TILE, _GAP = 1.08, 0.12  # inches
_PAPER = LinearSegmentedColormap.from_list("paper", ("#f2f2ef", "#16181a"))


@dataclass(frozen=True)
class Worst:
    """The worst rows of a split.

    Attributes:
        rows: indices of misclassified rows, highest loss first; if there are none, of the least certain rows.
        predicted: predicted labels of these rows.
        certainty: predicted probabilities of these labels.
        mistakes: number of misclassified rows in the split.
    """

    rows: Tensor
    predicted: Tensor
    certainty: Tensor
    mistakes: int


def find_worst(predictor: Predictor, outputs: Tensor, targets: Tensor) -> Worst:
    """Return the worst rows of a split, at most SAMPLES, from its raw outputs and labels."""
    task = predictor.task
    assert task.probabilities is not None
    predicted, certainty = task.decode(outputs), task.probabilities(outputs).max(1).values
    wrong = (predicted != targets).nonzero().squeeze(1)
    if len(wrong):
        losses = predictor.loss.per_example(outputs, task.encode(targets, outputs.dtype))
        rows = wrong[losses[wrong].argsort(descending=True)]
    else:
        rows = certainty.argsort()
    rows = rows[:SAMPLES]
    return Worst(rows, predicted[rows], certainty[rows], len(wrong))


def draw_samples(dataset: Dataset, predictor: Predictor, split: str, outputs: Tensor) -> Figure:
    """Return the plot of a split's worst mistakes, or of its least certain images if there are none."""
    inputs, targets = dataset.splits[split].inputs, dataset.splits[split].targets
    worst = find_worst(predictor, outputs, targets)
    title = "Worst mistakes" if worst.mistakes else "No mistakes: the least certain images"
    result = f"all {len(targets):,} {split} images are right"
    if worst.mistakes:
        shown = f"{len(worst.rows)} of {worst.mistakes:,} mistakes on {len(targets):,} {split} images"
        result = f"{shown}: true → predicted (softmax probability)"
    labels = _labels(dataset.input_schema.classes, targets[worst.rows], worst)
    schema = dataset.input_schema
    _, height_of_one, width_of_one = schema.picture_shape
    images = inputs[worst.rows].reshape(-1, *schema.picture_shape).movedim(1, -1).numpy()
    tall = _TILE * height_of_one / width_of_one
    down = tall + _GAP + (0.36 if "\n" in labels[0] else 0.22)
    across = _TILE + _GAP
    # One axes with coordinates in inches is many times faster than one axes for each image.
    width = 2 * style.MARGIN + _COLUMNS * across - _GAP
    height = style.HEADING + 2 * style.MARGIN + -(-len(images) // _COLUMNS) * down - _GAP
    subtitle = style.caption(dataset, predictor, result)
    figure = style.headed_figure(width, height, title, subtitle, laid_out=False)
    axes = figure.add_axes((0, 0, 1, 1))
    colours = colours_of(schema)
    low, high = (0.0, 1.0) if schema.pictures else (float(images.min()), float(images.max()))
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        left = style.MARGIN + index % _COLUMNS * across
        top = height - style.HEADING - style.MARGIN - index // _COLUMNS * down
        extent = (left, left + _TILE, top - tall, top)
        axes.imshow(
            image, colours, vmin=low, vmax=high, extent=extent, aspect="auto", interpolation="nearest"
        )
        text = axes.text(left + _TILE / 2, top - tall - 0.05, label, size=7.5, ha="center", va="top")
        style.fit(text, figure, _TILE * figure.get_figwidth() / width)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure


def colours_of(schema: InputSchema) -> str | LinearSegmentedColormap:
    """Return the colours: photographs as they are; the data sets, light on dark, as ink on paper."""
    return "gray" if schema.pictures and not schema.pictures.inverted else _PAPER


def _labels(classes: tuple[str, ...], true: Tensor, worst: Worst) -> list[str]:
    """Return `true → predicted (probability)` for each image, on two lines if class names are long."""
    names = [style.shorten(name, 11) for name in classes]
    arrow = " →\n" if max(map(len, names)) > 3 else " → "
    labels = []
    for label, said, certainty in zip(
        true.tolist(), worst.predicted.tolist(), worst.certainty.tolist(), strict=True
    ):
        before = f"{names[label]}{arrow}" if worst.mistakes else ""
        labels.append(f"{before}{names[said]} ({certainty:.2f})")
    return labels
