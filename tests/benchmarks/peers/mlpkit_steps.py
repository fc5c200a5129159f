"""mlpkit: the steps of many epochs, whose scores are collected once. For epochs of a single step."""

from collections.abc import Callable

from workload import Trained

from peers.mlpkit_training import collected_loss, count_of, epochs_of, next_epoch, trainer_of


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    trainer = trainer_of(overrides)

    def train() -> Trained:
        for _ in range(epochs_of(trainer)):
            trainer.train_epoch()
            next_epoch(trainer)
        return Trained(count_of(trainer), collected_loss(trainer.engine))

    return train
