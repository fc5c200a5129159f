"""Draws the plots of a run. Importing this module imports matplotlib, so import it only to draw."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mlpkit.analysis.predict import Predictor
from mlpkit.config.problems import did_you_mean, spell
from mlpkit.data.dataset import Dataset
from mlpkit.errors import ConfigError
from mlpkit.plots import style
from mlpkit.plots.classification import draw_boundary, draw_confusion
from mlpkit.plots.curves import draw_curves
from mlpkit.plots.drawing import one_warning
from mlpkit.plots.images import draw_samples
from mlpkit.plots.labels import draw_labels
from mlpkit.plots.look import Look
from mlpkit.plots.probabilities import draw_calibration, draw_probabilities
from mlpkit.plots.regression import draw_fit, draw_predicted, draw_residuals
from mlpkit.system.atomic_write import atomic_write

Drawings = dict[str, Callable[[], Figure]]  # by file name


def draw_pictures(
    folder: Path,
    predictor: Predictor,
    dataset: Dataset,
    lines: Sequence[dict[str, Any]],
    warn: Callable[[str], None],
    only: str | None = None,
) -> list[Path]:
    """Draw the plots for the run's task into a folder; return their paths.

    Args:
        folder: the folder, such as plots/ of the run.
        predictor: the trained model.
        dataset: the dataset it was trained on.
        lines: lines of metrics.jsonl; a value may be None.
        warn: called with a warning for each plot that cannot be drawn.
        only: the name of a plot; None: all.

    Raises:
        ConfigError: there is no plot of that name.
        WriteError: a file cannot be written.
    """
    paths = []
    with style.applied():
        for name, draw in _chosen(_drawings(predictor, dataset, lines), only).items():
            path = folder / f"{name}.png"
            with one_warning(str(path), warn):
                atomic_write(path, style.render(draw()))
                paths.append(path)
    return paths


def draw_picture(
    predictor: Predictor,
    dataset: Dataset,
    lines: Sequence[dict[str, Any]],
    name: str | None,
    ending: str,
    look: Look,
) -> bytes:
    """Return one plot as the content of a file.

    Args:
        predictor: the trained model.
        dataset: the dataset it was trained on.
        lines: lines of metrics.jsonl; a value may be None.
        name: of the plot; None if there is only one.
        ending: .png, .pdf or .svg.
        look: on screen or in a paper, and the width.

    Raises:
        ConfigError: there is no plot of that name, or there are several.
    """
    with style.applied(look):
        drawings = _chosen(_drawings(predictor, dataset, lines), name)
        if len(drawings) > 1:
            raise ConfigError(f"--output: takes one picture; add --picture, one of {', '.join(drawings)}")
        (draw,) = drawings.values()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "constrained_layout not applied")
            figure = draw()
            try:
                return style.render(figure, ending)
            except (UserWarning, ZeroDivisionError):  # matplotlib divides by the width of axes without room
                raise ConfigError("--width: too narrow for this picture; choose a larger one") from None


def _chosen(drawings: Drawings, name: str | None) -> Drawings:
    if name is None:
        return drawings
    if name not in drawings:
        near = did_you_mean(name, list(drawings))
        raise ConfigError(f"--picture={spell(name)}: must be one of {', '.join(drawings)} for this run{near}")
    return {name: drawings[name]}


def _drawings(predictor: Predictor, dataset: Dataset, lines: Sequence[dict[str, Any]]) -> Drawings:
    """Return a drawing function for each plot, by file name, in the order to draw them."""
    input_schema, splits = dataset.input_schema, dataset.splits
    scored = "test" if "test" in splits else dataset.monitored
    drawings: Drawings = {}
    if any(line["epoch"] for line in lines):  # with trainer.epochs=0 there are no curves
        drawings["curves"] = lambda: draw_curves(lines, dataset, predictor)
    if predictor.task.probabilities is None:
        if len(input_schema.features) == 1 and len(input_schema.targets) == 1:
            drawings["fit"] = lambda: draw_fit(dataset, predictor)
        by_split = {name: predictor.on(rows).outputs(rows.inputs) for name, rows in splits.items()}
        drawings["predicted"] = lambda: draw_predicted(dataset, predictor, by_split)
        if len(input_schema.targets) == 1:
            drawings["residuals"] = lambda: draw_residuals(dataset, predictor, scored, by_split[scored])
        return drawings
    outputs = predictor.on(splits[scored]).outputs(splits[scored].inputs)
    if not input_schema.classes:
        drawings["labels"] = lambda: draw_labels(dataset, predictor, scored, outputs)
        return drawings
    if len(input_schema.features) == 2 and not input_schema.is_image:
        drawings["boundary"] = lambda: draw_boundary(dataset, predictor, scored, outputs)
    drawings["confusion"] = lambda: draw_confusion(dataset, predictor, scored, outputs)
    if len(input_schema.classes) == 2 and len(splits[scored].targets.bincount().nonzero()) == 2:
        drawings["probabilities"] = lambda: draw_probabilities(dataset, predictor, scored, outputs)
    if len(input_schema.classes) > 2:
        drawings["calibration"] = lambda: draw_calibration(dataset, predictor, scored, outputs)
    if input_schema.is_image:
        drawings["samples"] = lambda: draw_samples(dataset, predictor, scored, outputs)
    return drawings
