"""The checkpoints of a run on the disk: the newest, some older ones, and that of the best weights."""

from mlpkit.engines.experiment import Experiment
from mlpkit.errors import diverged
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint, not_finite
from mlpkit.folders.run_folder import RunFolder, step_of
from mlpkit.folders.state import Progress, State


def checkpoint_of(experiment: Experiment, state: State) -> Checkpoint:
    """Return a run's state with all that is needed to use it elsewhere."""
    dataset, weights = experiment.dataset, experiment.class_weights
    return Checkpoint(experiment.config, dataset.input_schema, state, dataset.fingerprint, weights)


class CheckpointFiles:
    """Writes a run's checkpoints, and removes those that are not wanted any more.

    Attributes:
        last_step: step of the newest undamaged checkpoint; None before the first.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder) -> None:
        """Take a run, of which nothing has been saved yet."""
        self._experiment, self._folder = experiment, folder
        self.last_step: int | None = None
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
            self._folder.best.unlink(missing_ok=True)

    def save(self, state: State) -> None:
        """Save the state as the newest checkpoint, and the best weights if they have improved.

        The folder holds an undamaged checkpoint at all times: the previous one is kept under its step's name
        until `last` has been replaced.

        Raises:
            WriteError: a checkpoint cannot be written.
            NonFiniteError: the state holds infinities or NaN.
        """
        folder, progress = self._folder, state.progress
        if bad := next(not_finite(state.tensors()), None):
            raise diverged(progress.step, progress.epoch + (progress.batch > 0), f"{bad} is not finite")
        if progress.best_epoch and self._best_step != progress.best_step:
            self._save_best(state)
        keep = self._experiment.config.trainer.keep_last - 1
        if keep and self.last_step is not None and self.last_step < progress.step:
            folder.keep_newest(self.last_step)
        checkpoint.save(folder.last, checkpoint_of(self._experiment, state))
        self.last_step = progress.step
        older = folder.older()
        kept = [path for path in older if step_of(path) < progress.step][:keep]
        for path in set(older) - set(kept):
            path.unlink(missing_ok=True)

    def _save_best(self, state: State) -> None:
        progress = state.progress
        at_best = Progress(epoch=progress.best_epoch, step=progress.best_step)
        best = State(at_best, progress.best_scores, state.best or state.model)
        checkpoint.save(self._folder.best, checkpoint_of(self._experiment, best))
        self._best_step = progress.best_step
