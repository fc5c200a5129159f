"""The result of a trial, read from the folders of its runs, and the line that sums up a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from mlpkit.analysis.statistics import mean
from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.system.console import number as shown
from mlpkit.tasks import Task

_STATES = {
    "done": TrialState.COMPLETE,
    "stopped early": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
}


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        state: complete, pruned or failed; running if it has not ended.
        value: the monitored score at its best epoch, the mean of its seeds; None if it has none.
        attributes: stored with the trial: `folder` (names of its run folders, joined by commas) and `error`.
    """

    state: TrialState
    value: float | None
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_trial(folders: Sequence[Path]) -> TrialResult:
    """Return the result of a trial, from the folders of its runs: one for each seed."""
    results = [read_run(folder) for folder in folders]
    values = [result.value for result in results if result.value is not None]
    for state in (TrialState.RUNNING, TrialState.PRUNED):
        if unfinished := next((result for result in results if result.state == state), None):
            return unfinished
    names = ",".join(folder.name for folder in folders)
    return TrialResult(TrialState.COMPLETE, mean(values), {"folder": names})


def read_run(folder: Path) -> TrialResult:
    """Return the result of the run in a folder."""
    try:
        summary = read_summary(RunFolder(folder))
    except DataError:
        summary = {}
    best = summary.get("best")
    value = best.get("value") if isinstance(best, dict) else None
    state = _STATES.get(str(summary.get("status")))
    if state is None or not isinstance(value, float | int):
        return TrialResult(TrialState.RUNNING, None)
    return TrialResult(state, float(value), {"folder": folder.name})


def progress_line(trials: Sequence[FrozenTrial], total: int, task: Task) -> str:
    """Return how many trials are done, pruned and failed, and the best score so far."""
    states = [trial.state for trial in trials]
    parts = [f"{states.count(TrialState.COMPLETE)} done"]
    if pruned := states.count(TrialState.PRUNED):
        parts.append(f"{pruned} pruned")
    if failed := states.count(TrialState.FAIL):
        parts.append(f"{failed} failed")
    values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    best = (max if task.higher_is_better else min)(values, default=None)
    if best is not None:
        parts.append(f"best val {task.monitor} so far {shown(best)}")
    return f"{len(trials)}/{total} trials: {', '.join(parts)}"
