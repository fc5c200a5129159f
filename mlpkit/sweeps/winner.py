"""The winner of a search: the trial with the best validation score, and the only one scored on test rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mlpkit.analysis.evaluate import scores_of
from mlpkit.analysis.predict import make_predictor
from mlpkit.analysis.statistics import mean
from mlpkit.config.problems import plural
from mlpkit.data.dataset import Dataset
from mlpkit.errors import DataError
from mlpkit.folders import checkpoint
from mlpkit.folders.load_run import load_run
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import SUMMARY, has_summary, read_summary
from mlpkit.folders.state import KINDS
from mlpkit.folders.sweep_folder import SweepFolder, is_run_name
from mlpkit.folders.trust import Trust
from mlpkit.system.console import note
from mlpkit.system.console import number as shown
from mlpkit.system.lock import locked
from mlpkit.system.plain_json import finite, write_json
from mlpkit.tasks import Task


@dataclass(frozen=True)
class Winner:
    """The best trial.

    Attributes:
        folders: names of its run folders, one for each seed.
        params: the searched settings.
        value: the monitored score at its best epoch, the mean of its seeds.
    """

    folders: Sequence[str]
    params: Mapping[str, Any]
    value: float


def find_winner(folder: SweepFolder, trials: Sequence[FrozenTrial], task: Task) -> Winner | None:
    """Return the best complete trial, or None; among equal scores the lower loss is better.

    Raises:
        DataError: the folder or the summary of a trial cannot be read.
    """
    best: FrozenTrial | None = None
    best_loss = 0.0
    for trial in trials:
        if trial.state != TrialState.COMPLETE or trial.value is None:
            continue
        if best is not None and not task.improves(trial.value, best.value) and trial.value != best.value:
            continue
        loss = mean([_loss(RunFolder(folder.run(name))) for name in _folders_of(trial, folder)])
        if best is None or task.beats(trial.value, loss, best.value, best_loss):
            best, best_loss = trial, loss
    if best is None or best.value is None:
        return None
    return Winner(_folders_of(best, folder), best.params, best.value)


def _folders_of(trial: FrozenTrial, folder: SweepFolder) -> list[str]:
    """Return the names of a trial's run folders."""
    names = trial.user_attrs.get("folder")
    if not isinstance(names, str) or not all(map(is_run_name, names.split(","))):
        raise DataError(f"{folder.study}: trial {trial.number} does not name its run folder; search anew")
    return names.split(",")


def _loss(folder: RunFolder) -> float:
    """Return the monitored split's loss at a run's best epoch."""
    try:
        return float(read_summary(folder)["best"]["val"]["loss"])
    except (KeyError, TypeError, ValueError):
        raise _no_best_scores(folder) from None


def _no_best_scores(folder: RunFolder) -> DataError:
    return DataError(f"{folder.summary}: does not say how good its best weights are; search anew")


def score_on_test(path: Path, dataset: Dataset, trust: Trust = Trust.FOREIGN) -> dict[str, float] | None:
    """Score a run's best weights on the test split, and add the scores to its summary.

    Args:
        path: the run folder.
        dataset: the run's dataset.
        trust: decides how large the model may be.

    Returns:
        The test scores, or None if there is no test split.

    Raises:
        DataError: the run cannot be read, or its folder is a link.
        LockedError: another process uses the run.
        WriteError: its summary cannot be written.
    """
    if "test" not in dataset.splits:
        return None
    if path.is_symlink():
        raise DataError(f"{path}: may lead out of the sweep; remove the link")
    folder = RunFolder(path)
    with locked(folder.lock):
        folder.open_for_writing()
        summary = read_summary(folder)
        best = summary.get("best")
        if not isinstance(best, dict):
            raise _no_best_scores(folder)
        if "test" not in best:
            best["test"] = _score(path, dataset, trust)
            _write_summary(folder, summary, trust)
    test = best["test"]
    if not isinstance(test, dict) or not isinstance(test.get(best.get("score")), float | int):
        raise _no_best_scores(folder)
    return test


def forget_test_scores(paths: Iterable[Path]) -> None:
    """Remove the test scores of runs that won before the search had more trials: only the winner has some.

    Raises:
        DataError: the run cannot be read.
        LockedError: another process uses it.
        WriteError: its summary cannot be written.
    """
    for folder in map(RunFolder, paths):
        if folder.path.is_symlink() or not has_summary(folder):
            continue
        best = read_summary(folder).get("best")
        if isinstance(best, dict) and "test" in best:
            with locked(folder.lock):
                folder.open_for_writing()
                summary = read_summary(folder)
                summary["best"] = {name: value for name, value in best.items() if name != "test"}
                _write_summary(folder, summary, Trust.LARGE)


def _write_summary(folder: RunFolder, summary: Mapping[str, Any], trust: Trust) -> None:
    """Write the changed summary of a finished run to where it is."""
    if not folder.is_one_file:
        write_json(folder.summary, summary)
        return
    stored = checkpoint.load(folder.last, KINDS, trust)
    checkpoint.save(folder.last, replace(stored, record={**stored.record, SUMMARY: finite(summary)}))


def _score(run: Path, dataset: Dataset, trust: Trust) -> dict[str, float]:
    """Return the test scores of a run's best weights; of an untrained one, of its first weights."""
    path, stored = load_run(run, "best", note, trust=trust)
    if stored.input_schema != dataset.input_schema or stored.other_data(dataset):
        raise DataError(f"{path}: was trained on other data than the search's; search anew")
    predictor, rows = make_predictor(stored), dataset.splits["test"]
    return scores_of(predictor, rows, predictor.outputs(rows.inputs))


def describe_winner(
    winner: Winner, tests: Sequence[Mapping[str, float] | None], task: Task, trials: int
) -> str:
    """Return the line that names the winner, its settings and its scores: the means of its seeds."""
    settings = " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in winner.params.items()
    )
    seeds = f"; the mean of {len(winner.folders)} seeds" if len(winner.folders) > 1 else ""
    best = f"val {task.monitor} {shown(winner.value)} (of {plural(trials, 'trial')}{seeds})"
    line = f"winner: {winner.folders[0]} {settings}: {best}"
    scores = [test[task.monitor] for test in tests if test is not None]
    if not scores:
        return f"{line}; there is no test split"
    return f"{line}, test {task.monitor} {shown(mean(scores))} (computed for the winner only)"
