"""mlpkit: the trainer's own epochs, shuffling and each epoch's scores included; no evaluation, no logs."""

from collections.abc import Callable

from mlpkit.trainer import Trainer
from workload import FULL_BATCH_EPOCHS, Trained, config_of

from mlpkit.experiment import build


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    trainer = trainer_of(overrides)

    def train() -> Trained:
        for _ in range(epochs_of(trainer)):
            trainer.train_epoch()
            scores = trainer.engine.collect()
            next_epoch(trainer)
        return Trained(count_of(trainer), scores["loss"])

    return train


def trainer_of(overrides: tuple[str, ...]) -> Trainer:
    """Return a trainer as `mlpkit train` makes it, with nothing to report to."""
    experiment = build(config_of(overrides))
    dataset = experiment.dataset
    return Trainer(
        experiment.config,
        experiment.engine,
        experiment.task,
        len(dataset.splits["train"]),
        dataset.monitored,
        lambda report: None,
        lambda trainer: None,
    )


def epochs_of(trainer: Trainer) -> int:
    """Return the epochs of a portion."""
    return FULL_BATCH_EPOCHS if trainer.steps_per_epoch == 1 else 1


def count_of(trainer: Trainer) -> int:
    """Return the steps of a portion where an epoch is a step, else its samples."""
    return FULL_BATCH_EPOCHS if trainer.steps_per_epoch == 1 else trainer.rows


def next_epoch(trainer: Trainer) -> None:
    """Go on to the next epoch, as `Trainer.evaluate` does."""
    trainer.progress.epoch += 1
    trainer.progress.batch = 0
