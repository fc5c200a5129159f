"""The winner of a search: the trial with the best validation score, and the only one that is tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mlpkit.console import number as shown
from mlpkit.data.dataset import Dataset
from mlpkit.errors import DataError
from mlpkit.evaluate import scores_of
from mlpkit.plain_json import read_object, write_json
from mlpkit.predict import load_predictor
from mlpkit.run_folder import RunFolder
from mlpkit.sweep.folder import SweepFolder
from mlpkit.tasks import Task


@dataclass(frozen=True)
class Winner:
    """The best trial.

    Attributes:
        folder: name of its run folder.
        params: what was searched.
        value: the monitored score at its best epoch.
    """

    folder: str
    params: Mapping[str, Any]
    value: float


def find_winner(folder: SweepFolder, trials: Sequence[FrozenTrial], task: Task) -> Winner | None:
    """Return the best of the trials that came to their end, of equals that with the lower loss.

    Raises:
        DataError: what a trial says of itself cannot be read.
    """
    best: FrozenTrial | None = None
    best_loss = 0.0
    for trial in trials:
        if trial.state != TrialState.COMPLETE or trial.value is None:
            continue
        if best is not None and not task.improves(trial.value, best.value) and trial.value != best.value:
            continue
        loss = _loss(RunFolder(folder.run(str(trial.user_attrs["folder"]))))
        if best is None or task.beats(trial.value, loss, best.value, best_loss):
            best, best_loss = trial, loss
    if best is None or best.value is None:
        return None
    return Winner(str(best.user_attrs["folder"]), best.params, best.value)


def _loss(folder: RunFolder) -> float:
    """Return the monitored split's loss at a run's best epoch."""
    try:
        return float(read_object(folder.summary)["best"]["val"]["loss"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{folder.summary}: does not say how good its best weights are; search anew"
        ) from None


def score_on_test(path: Path, dataset: Dataset) -> dict[str, float] | None:
    """Return the test scores of a run's best weights, None without a test split; its summary gets them too.

    Raises:
        DataError: the run cannot be read.
        WriteError: its summary cannot be written.
    """
    if "test" not in dataset.splits:
        return None
    folder = RunFolder(path)
    summary = read_object(folder.summary)
    if "test" not in summary["best"]:
        predictor, _ = load_predictor(folder.best)
        rows = dataset.splits["test"]
        summary["best"]["test"] = scores_of(predictor, rows, predictor.outputs(rows.inputs))
        write_json(folder.summary, summary)
    found: dict[str, float] = summary["best"]["test"]
    return found


def describe_winner(winner: Winner, test: Mapping[str, float] | None, task: Task, trials: int) -> str:
    """Return the line that says which trial is the best, and what it is worth."""
    settings = " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in winner.params.items()
    )
    line = (
        f"winner: {winner.folder} {settings}: val {task.monitor} {shown(winner.value)} (of {trials} trials)"
    )
    if test is None:
        return f"{line}; there is no test split"
    return f"{line}, test {task.monitor} {shown(test[task.monitor])} (computed for the winner only)"
