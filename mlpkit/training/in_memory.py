"""Trains runs on datasets in memory, without run folders: for the Python API."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlpkit.config.config import Config
from mlpkit.data.dataset import Dataset
from mlpkit.engines.experiment import Experiment
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import Progress, State
from mlpkit.system.torch_settings import torch_settings_kept
from mlpkit.training.build import build
from mlpkit.training.checkpoint_files import checkpoint_of
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochReport
from mlpkit.training.stop import StopRequest
from mlpkit.training.trainer import Trainer


class MemoryRecorder(Recorder):
    """Keeps a run's scores and its last state instead of writing them.

    Attributes:
        reports: the scores of each epoch.
        state: the state that was saved last; None before.
        error: why the run failed; None if it did not.
    """

    def __init__(self, experiment: Experiment) -> None:
        """Start with nothing."""
        super().__init__(experiment, RunFolder(Path("in memory")), None)
        self.splits = []  # the reports have all scores that are used
        self.reports: list[EpochReport] = []
        self.state: State | None = None
        self.error: BaseException | None = None

    def log(self, epoch: EpochReport) -> None:
        """See `Recorder.log`."""
        self.reports.append(epoch)

    def note_threads(self, threads: int, step: int) -> None:
        """See `Recorder.note_threads`; nobody is told."""

    def save(self, state: State, at_end: bool = False) -> None:
        """See `Recorder.save`."""
        self.state = state
        self.saved_at = state.progress.epoch, state.progress.batch

    def finish(self, summary: dict[str, Any], progress: Progress, seconds: float) -> None:
        """See `Recorder.finish`; the summary's scores are those of the reports."""

    def draw(self, progress: Progress) -> None:
        """See `Recorder.draw`; nothing is drawn."""

    def close(self) -> None:
        """See `Recorder.close`; nothing is open."""

    def fail(self, error: BaseException, signal_number: int | None = None) -> BaseException:
        """See `Recorder.fail`."""
        self.error = self.error or error
        return self.error

    def checkpoint(self, best: bool) -> Checkpoint:
        """Return the run's checkpoint, after training.

        Args:
            best: with the weights of the best epoch instead of the last.
        """
        assert self.state is not None
        model = (self.state.best if best else {}) or self.state.model  # no best: the last are the best
        parts = [{name: t.cpu() for name, t in of.items()} for of in (model, self.state.optimizer)]
        return checkpoint_of(self.experiment, State(self.state.progress, self.state.scores, *parts))


class StopRule:
    """scikit-learn's rule: stop a run after more than `patience` epochs without an improvement.

    Only an improvement by `tol` within one epoch counts; mlpkit's own rule adds up smaller ones.
    """

    def __init__(self, patience: int, tol: float) -> None:
        """Start with runs that have no scores yet."""
        self.patience, self.tol = patience, tol
        self._runs: dict[
            Recorder, tuple[float, int]
        ] = {}  # the best value, and the epochs without improvement

    def __call__(
        self, runs: Sequence[Recorder], epoch: int, values: Sequence[float], losses: Sequence[float]
    ) -> list[int]:
        """Return the runs to stop; see `Judge`."""
        for run, value in zip(runs, values, strict=True):
            best, stale = self._runs.get(run, (math.inf, 0))
            self._runs[run] = value, 0 if abs(value - best) >= self.tol else stale + 1
        return [place for place, run in enumerate(runs) if self._runs[run][1] > self.patience]


def train_in_memory(
    configs: Sequence[Config],
    datasets: Sequence[Dataset],
    start: Sequence[Checkpoint] = (),
    stop: StopRule | None = None,
) -> list[MemoryRecorder]:
    """Train runs to their ends, all together in one engine; torch's global settings stay as they are.

    Without validation rows, scores are averages over the steps of an epoch, as in scikit-learn.

    Args:
        configs: the runs' configs, which differ in what an engine allows; see `mlpkit.sweeps.groups`.
        datasets: each run's dataset; runs that share one share the object.
        start: checkpoints with the weights and the optimizer's tensors that the runs begin with, or none.
        stop: when runs stop early, besides what their configs say.

    Raises:
        MlpkitError: the runs cannot be trained, or one of them failed.
    """
    with torch_settings_kept():
        engine = build(configs, datasets=datasets)
        for run, checkpoint in enumerate(start):
            engine.load_state(run, {"model": checkpoint.state.model, "optimizer": checkpoint.state.optimizer})
        recorders = [MemoryRecorder(experiment) for experiment in engine.experiments]
        trainer = Trainer(engine, recorders, StopRequest(), lambda recorder, error: None, judge=stop)
        trainer.evaluated = [split for split in trainer.evaluated if split != "train"]
        trainer.fit()
    for recorder in recorders:
        if recorder.error is not None:
            raise recorder.error
    return recorders
