"""mlpkit: an epoch of `Trainer.fit`: training, evaluation, following the best weights, a report."""

from collections.abc import Callable

from workload import Trained

from peers.mlpkit_training import count_of, epochs_of, trainer_of


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    trainer = trainer_of(overrides)

    def train() -> Trained:
        for _ in range(epochs_of(trainer)):
            trainer.train_epoch()
            trainer.evaluate()
            trainer.update_best()
            trainer.log()
        return Trained(count_of(trainer), trainer.scores_of(0)["train"]["loss"])

    return train
