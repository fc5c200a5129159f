"""Draws the pictures of a run that has just been trained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlpkit.analysis.predict import predictor_of
from mlpkit.engines.experiment import Experiment
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import Progress
from mlpkit.plots.pictures import draw_pictures


def draw_run(
    experiment: Experiment,
    folder: RunFolder,
    splits: Sequence[str],
    progress: Progress,
    warn: Callable[[str], None],
) -> list[Path]:
    """Draw the pictures of the best weights into the run's plots folder; return their paths.

    Args:
        experiment: its network holds the best weights.
        folder: the run folder.
        splits: the splits that may be shown.
        progress: where training ended.
        warn: called with a warning for each picture that cannot be drawn.
    """
    dataset = experiment.dataset.shown()
    shown = replace(dataset, splits={name: dataset.splits[name] for name in splits})
    predictor = predictor_of(experiment, progress.best_epoch)
    predictor.chosen = f"best by {dataset.monitored}"
    return draw_pictures(folder.plots, predictor, shown, read_metrics(folder.metrics), warn)
