"""A bare PyTorch loop over tensors on the device, with the fused optimizer; no scores."""

from collections.abc import Callable

import torch
from workload import Trained, load_workload

from mlpkit.system.device import choose_device
from peers.torch_parts import loop_over, loss_of, network, optimizer_of, with_the_better_threads


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    device = choose_device(work.config.device)
    model, loss_function = network(work).to(device), loss_of(work)
    optimizer = optimizer_of(work, model, fused=True)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    train = loop_over(work, step, device)
    return with_the_better_threads(train) if work.full_batch else train
