"""A bare PyTorch loop over tensors in memory, with the fused optimizer; no scores."""

from collections.abc import Callable

import torch
from workload import Trained, load_workload

from peers.torch_parts import loss_of, network, optimizer_of


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    model, loss_function = network(work), loss_of(work)
    optimizer = optimizer_of(work, model, fused=True)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    def train() -> Trained:
        for _ in range(work.epochs):
            if work.full_batch:
                loss = step(work.inputs, work.targets)
            else:
                for rows in torch.randperm(work.rows).split(work.batch_size):
                    loss = step(work.inputs[rows], work.targets[rows])
        return Trained(work.count, loss.item())

    return train
