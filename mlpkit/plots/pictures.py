"""Draws the plots of a run. Importing this module imports matplotlib, so import it only to draw."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mlpkit.analysis.predict import Predictor
from mlpkit.data.dataset import Dataset
from mlpkit.folders.run_folder import RunFolder
from mlpkit.plots import style
from mlpkit.plots.classification import draw_boundary, draw_confusion
from mlpkit.plots.curves import draw_curves
from mlpkit.plots.drawing import one_warning
from mlpkit.plots.images import draw_samples
from mlpkit.plots.labels import draw_labels
from mlpkit.plots.probabilities import draw_probabilities
from mlpkit.plots.regression import draw_fit, draw_predicted, draw_residuals
from mlpkit.system.atomic_write import atomic_write


def draw_pictures(
    folder: RunFolder,
    predictor: Predictor,
    dataset: Dataset,
    lines: Sequence[dict[str, Any]],
    warn: Callable[[str], None],
) -> list[Path]:
    """Draw the plots for the run's task into its plots folder; return their paths.

    Args:
        folder: the run folder.
        predictor: the trained model.
        dataset: the dataset it was trained on.
        lines: lines of metrics.jsonl; a value may be None.
        warn: called with a warning for each plot that cannot be drawn.

    Raises:
        WriteError: a file cannot be written.
    """
    paths = []
    with style.applied():
        for name, draw in _drawings(predictor, dataset, lines).items():
            path = folder.plots / f"{name}.png"
            with one_warning(str(path), warn):
                atomic_write(path, style.render(draw()))
                paths.append(path)
    return paths


def _drawings(
    predictor: Predictor, dataset: Dataset, lines: Sequence[dict[str, Any]]
) -> dict[str, Callable[[], Figure]]:
    """Return a drawing function for each plot, by file name, in the order to draw them."""
    input_schema, splits = dataset.input_schema, dataset.splits
    scored = "test" if "test" in splits else dataset.monitored
    drawings: dict[str, Callable[[], Figure]] = {}
    if any(line["epoch"] for line in lines):  # with trainer.epochs=0 there are no curves
        drawings["curves"] = lambda: draw_curves(lines, dataset, predictor)
    if predictor.task.probabilities is None:
        if len(input_schema.features) == 1 and len(input_schema.targets) == 1:
            drawings["fit"] = lambda: draw_fit(dataset, predictor)
        by_split = {name: predictor.outputs(rows.inputs) for name, rows in splits.items()}
        drawings["predicted"] = lambda: draw_predicted(dataset, predictor, by_split)
        if len(input_schema.targets) == 1:
            drawings["residuals"] = lambda: draw_residuals(dataset, predictor, scored, by_split[scored])
        return drawings
    outputs = predictor.outputs(splits[scored].inputs)
    if not input_schema.classes:
        drawings["labels"] = lambda: draw_labels(dataset, predictor, scored, outputs)
        return drawings
    if len(input_schema.features) == 2 and not input_schema.is_image:
        drawings["boundary"] = lambda: draw_boundary(dataset, predictor, scored, outputs)
    drawings["confusion"] = lambda: draw_confusion(dataset, predictor, scored, outputs)
    if len(input_schema.classes) == 2 and len(splits[scored].targets.bincount().nonzero()) == 2:
        drawings["probabilities"] = lambda: draw_probabilities(dataset, predictor, scored, outputs)
    if input_schema.is_image:
        drawings["samples"] = lambda: draw_samples(dataset, predictor, scored, outputs)
    return drawings
