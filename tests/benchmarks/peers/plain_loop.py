"""A bare PyTorch loop over tensors on the device, with the fused optimizer; no scores."""

from collections.abc import Callable

import torch
from workload import Trained, load_workload

from mlpkit.system.device import choose_device
from peers.torch_parts import loss_of, network, optimizer_of, with_the_better_threads


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    device = choose_device(work.config.device)
    model, loss_function = network(work).to(device), loss_of(work)
    all_inputs, all_targets = work.inputs.to(device), work.targets.to(device)
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
                loss = step(all_inputs, all_targets)
            else:
                for rows in torch.randperm(work.rows, device=device).split(work.batch_size):
                    loss = step(all_inputs[rows], all_targets[rows])
        return Trained(work.count, loss.item())

    return with_the_better_threads(train) if work.full_batch else train
