"""The model, loss and optimizer of a workload as a PyTorch user writes them."""

import time
from collections.abc import Callable

import torch
from torch import nn
from workload import Trained, Workload


def with_the_better_threads(train: Callable[[], Trained]) -> Callable[[], Trained]:
    """Let a peer compute with one thread or with torch's own number, whichever is faster for it."""
    times: dict[int, float] = {}
    train()
    for threads in 2 * (torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        started = time.perf_counter()
        train()
        times[threads] = min(times.get(threads, float("inf")), time.perf_counter() - started)
    torch.set_num_threads(min(times, key=times.__getitem__))
    return train


def loop_over(
    work: Workload, step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], device: str
) -> Callable[[], Trained]:
    """Return what trains a portion by a step on inputs and targets, with the rows on the device."""
    all_inputs, all_targets = work.inputs.to(device), work.targets.to(device)

    def train() -> Trained:
        for _ in range(work.epochs):
            if work.full_batch:
                loss = step(all_inputs, all_targets)
            else:
                for rows in torch.randperm(work.rows, device=device).split(work.batch_size):
                    loss = step(all_inputs[rows], all_targets[rows])
        return Trained(work.count, loss.item())

    return train


def network(work: Workload) -> nn.Sequential:
    """Return linear layers, with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for below, width in zip(work.widths[:-2], work.widths[1:-1], strict=True):
        layers += [nn.Linear(below, width), nn.ReLU()]
        if work.dropout:
            layers.append(nn.Dropout(work.dropout))
    return nn.Sequential(*layers, nn.Linear(*work.widths[-2:]))


def loss_of(work: Workload) -> nn.Module:
    """Return the task's loss."""
    losses = {"regression": nn.MSELoss, "binary": nn.BCEWithLogitsLoss, "multiclass": nn.CrossEntropyLoss}
    return losses[work.task]()


def optimizer_of(work: Workload, model: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    """Return the optimizer; PyTorch's default way of updating unless `fused`."""
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[work.config.optimizer.name]
    return kind(model.parameters(), lr=work.config.optimizer.lr, fused=fused or None)
