"""A run's checkpoints on the disk, and the files that are written with them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mlpkit.engines.experiment import Experiment
from mlpkit.errors import DataError, diverged
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint, not_finite
from mlpkit.folders.run_folder import RunFolder, step_of
from mlpkit.folders.run_record import read_environment
from mlpkit.folders.state import State
from mlpkit.system.plain_json import write_json


def checkpoint_of(experiment: Experiment, state: State) -> Checkpoint:
    """Return a run's state with all that is needed to use it elsewhere."""
    dataset, weights = experiment.dataset, experiment.class_weights
    return Checkpoint(experiment.config, dataset.input_schema, state, dataset.fingerprint, weights)


def check_finite(state: State) -> None:
    """Check that a state may be saved.

    Raises:
        NonFiniteError: it holds infinities or NaN.
    """
    progress = state.progress
    if bad := next(not_finite(state.tensors()), None):
        raise diverged(progress.step, progress.epoch + (progress.batch > 0), f"{bad} is not finite")


class CheckpointFiles:
    """Writes a run's checkpoints with its environment, and its summary; removes old checkpoints.

    Attributes:
        last_step: step of the newest undamaged checkpoint; None before the first.
        environment: content of environment.json, written with the next checkpoint.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder) -> None:
        """Take a run, of which nothing has been saved yet."""
        self.experiment, self.folder = experiment, folder
        self.last_step: int | None = None
        self.environment: dict[str, Any] | None = None
        self._best_step = 0  # of the best weights on the disk

    def resume(self, state: State) -> None:
        """Go on from a checkpoint; its best weights replace those of later steps.

        Raises:
            WriteError: the best weights cannot be written.
        """
        self.last_step = state.progress.step
        if state.progress.best_epoch:
            self._save_best(state)
        else:
            self.folder.best.unlink(missing_ok=True)

    def note_threads(self, threads: int) -> None:
        """Record another number of threads with the next checkpoint."""
        with suppress(DataError):  # the file may have been removed
            self.environment = {**(self.environment or read_environment(self.folder)), "threads": threads}

    def save(self, state: State, at_end: bool = False) -> None:
        """Save the state as the newest checkpoint, and the best weights if they have improved.

        The folder holds an undamaged checkpoint at all times: the previous one is kept under its step's name
        until `last` has been replaced.

        Args:
            state: the state.
            at_end: whether the run has ended, and a call of `write_summary` or `write_failure` follows.

        Raises:
            WriteError: a checkpoint cannot be written.
            NonFiniteError: the state holds infinities or NaN.
        """
        check_finite(state)
        folder, progress = self.folder, state.progress
        if progress.best_epoch and self._best_step != progress.best_step:
            self._save_best(state)
        keep = self.experiment.config.trainer.keep_last - 1
        if keep and self.last_step is not None and self.last_step < progress.step:
            folder.keep_newest(self.last_step)
        checkpoint.save(folder.last, checkpoint_of(self.experiment, state))
        self.last_step = progress.step
        older = folder.older()
        kept = [path for path in older if step_of(path) < progress.step][:keep]
        for path in set(older) - set(kept):
            path.unlink(missing_ok=True)
        if self.environment is not None:
            write_json(folder.environment, self.environment)
            self.environment = None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of a finished run.

        Raises:
            WriteError: it cannot be written.
        """
        write_json(self.folder.summary, summary)

    def write_failure(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of a run that failed or was interrupted.

        Raises:
            WriteError: it cannot be written.
        """
        write_json(self.folder.summary, summary)

    def _save_best(self, state: State) -> None:
        checkpoint.save(self.folder.best, checkpoint_of(self.experiment, state.at_best()))
        self._best_step = state.progress.best_step
