"""The winner of a search: the trial with the best validation score, and the only one that is tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mlpkit.analysis.evaluate import scores_of
from mlpkit.analysis.predict import make_predictor
from mlpkit.data.dataset import Dataset
from mlpkit.errors import DataError
from mlpkit.runs import checkpoint
from mlpkit.runs.run_folder import RunFolder
from mlpkit.runs.sweep_folder import SweepFolder, is_name
from mlpkit.runs.trust import Trust
from mlpkit.system.console import number as shown
from mlpkit.system.lock import locked
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.tasks import TASKS, Task


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
        loss = _loss(RunFolder(folder.run(_folder_of(trial, folder))))
        if best is None or task.beats(trial.value, loss, best.value, best_loss):
            best, best_loss = trial, loss
    if best is None or best.value is None:
        return None
    return Winner(_folder_of(best, folder), best.params, best.value)


def _folder_of(trial: FrozenTrial, folder: SweepFolder) -> str:
    """Return the name of a trial's run folder."""
    name = trial.user_attrs.get("folder")
    if not isinstance(name, str) or not is_name(name):
        raise DataError(f"{folder.study}: trial {trial.number} does not name its run folder; search anew")
    return name


def _loss(folder: RunFolder) -> float:
    """Return the monitored split's loss at a run's best epoch."""
    try:
        return float(read_object(folder.summary)["best"]["val"]["loss"])
    except (KeyError, TypeError, ValueError):
        raise _unclear(folder) from None


def _unclear(folder: RunFolder) -> DataError:
    return DataError(f"{folder.summary}: does not say how good its best weights are; search anew")


def score_on_test(path: Path, dataset: Dataset, trust: Trust = Trust.FOREIGN) -> dict[str, float] | None:
    """Return the test scores of a run's best weights, None without a test split; its summary gets them too.

    Args:
        path: of the run folder.
        dataset: of the run.
        trust: says how large its model may be.

    Raises:
        DataError: the run cannot be read, or leads elsewhere.
        LockedError: another process is at it.
        WriteError: its summary cannot be written.
    """
    if "test" not in dataset.splits:
        return None
    if path.is_symlink():
        raise DataError(f"{path}: may lead out of the sweep; remove the link")
    folder = RunFolder(path)
    with locked(folder.lock):
        folder.open_for_writing()
        summary = read_object(folder.summary)
        best = summary.get("best")
        if not isinstance(best, dict):
            raise _unclear(folder)
        if "test" not in best:
            best["test"] = _score(folder, dataset, trust)
            write_json(folder.summary, summary)
    found = best["test"]
    wanted = TASKS[dataset.input_schema.task].monitor
    if not isinstance(found, dict) or not isinstance(found.get(wanted), float | int):
        raise _unclear(folder)
    return found


def _score(folder: RunFolder, dataset: Dataset, trust: Trust) -> dict[str, float]:
    """Return the test scores of a run's best weights."""
    stored = checkpoint.load(folder.best, trust=trust)
    if stored.input_schema != dataset.input_schema or stored.other_data(dataset):
        raise DataError(f"{folder.best}: was trained on other data than the search's; search anew")
    predictor, rows = make_predictor(stored), dataset.splits["test"]
    return scores_of(predictor, rows, predictor.outputs(rows.inputs))


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
