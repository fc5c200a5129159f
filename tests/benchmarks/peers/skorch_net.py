"""skorch over arrays in memory, without a validation split and silent."""

from collections.abc import Callable

import torch
from skorch import NeuralNetClassifier
from torch import nn
from workload import Trained, load_workload

from peers.torch_parts import network


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    net = NeuralNetClassifier(
        network(work),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=work.config.optimizer.lr,
        iterator_train__batch_size=work.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    inputs, targets = work.inputs.numpy(), work.targets.numpy()

    def train() -> Trained:
        net.partial_fit(inputs, targets, epochs=work.epochs)
        return Trained(work.count, float(net.history[-1, "train_loss"]))

    return train
