"""The recorded step of mlpkit on a CUDA device, replayed without the host's part: the bound of its steps."""

from collections.abc import Callable

import torch
from workload import Trained

from mlpkit.engines.cuda import CudaEngine
from peers.mlpkit_training import collected_loss, count_of, epochs_of, next_epoch, trainer_of


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    trainer = trainer_of(overrides)
    engine = trainer.engine
    assert isinstance(engine, CudaEngine) and engine.graphs is not None
    for _ in range(3):
        trainer.train_epoch()
        collected_loss(engine)
        next_epoch(trainer)
    graph, _ = next(iter(engine.graphs.recorded.values()))

    def train() -> Trained:
        for _ in range(epochs_of(trainer) * trainer.steps_per_epoch):
            graph.replay()
        torch.cuda.synchronize()
        return Trained(count_of(trainer), float("nan"))

    return train
