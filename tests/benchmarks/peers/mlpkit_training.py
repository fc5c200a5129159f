"""mlpkit: the trainer's own epochs, shuffling and each epoch's scores included; no evaluation, no logs."""

from collections.abc import Callable
from pathlib import Path

from workload import FULL_BATCH_EPOCHS, Trained, config_of

from mlpkit.engines.engine import Engine
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import State
from mlpkit.training.build import build
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochReport
from mlpkit.training.stop import StopRequest
from mlpkit.training.trainer import Trainer


class NoRecords(Recorder):
    """Writes nothing."""

    def log(self, epoch: EpochReport) -> None:
        """See `Recorder`."""

    def save(self, state: State) -> None:
        """See `Recorder`."""

    def note_threads(self, threads: int, step: int) -> None:
        """See `Recorder`."""


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    trainer = trainer_of(overrides)

    def train() -> Trained:
        for _ in range(epochs_of(trainer)):
            trainer.train_epoch()
            loss = collected_loss(trainer.engine)
            next_epoch(trainer)
        return Trained(count_of(trainer), loss)

    return train


def trainer_of(overrides: tuple[str, ...]) -> Trainer:
    """Return a trainer as `mlpkit train` makes it, with nothing to report to."""
    return trainer_for(build([config_of(overrides)]))


def trainer_for(engine: Engine) -> Trainer:
    """Return the trainer of an engine's runs, with nothing to report to."""
    recorders = [NoRecords(each, RunFolder(Path("nowhere")), None) for each in engine.experiments]
    trainer = Trainer(engine, recorders, StopRequest(), lambda recorder, error: None)
    trainer.start_clock()
    return trainer


def collected_loss(engine: Engine) -> float:
    """Return the mean loss of the epoch's batches, each before its update."""
    return float(engine.scores(engine.collect(), "train")["loss"])


def epochs_of(trainer: Trainer) -> int:
    """Return the epochs of a portion."""
    return FULL_BATCH_EPOCHS if trainer.steps_per_epoch == 1 else 1


def count_of(trainer: Trainer) -> int:
    """Return the steps of a portion where an epoch is a step, else its samples."""
    if trainer.steps_per_epoch == 1:
        return FULL_BATCH_EPOCHS
    epoch = trainer.progress.epoch - 1
    return trainer.engine.steps.rows_in(epoch, trainer.steps_per_epoch)


def next_epoch(trainer: Trainer) -> None:
    """Go on to the next epoch, as `Trainer.evaluate` does."""
    trainer.progress.epoch += 1
    trainer.progress.batch = 0
