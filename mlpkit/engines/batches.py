"""The rows of each optimizer step."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mlpkit.data.randomness import generator

Rows = Tensor | slice


def steps_per_epoch(rows: int, batch_size: int | str, accumulate: int = 1) -> int:
    """Return the number of optimizer steps in an epoch; the last one may have fewer rows."""
    size = rows if batch_size == "full" else int(batch_size) * accumulate
    return -(-rows // size)


def order_of(rows: int, seed: int, epoch: int) -> Tensor:
    """Return all rows in an epoch's shuffled order, a function of (seed, epoch)."""
    return torch.randperm(rows, generator=generator(seed, "order", epoch))


def orders_of(rows: int, seeds: Sequence[int], epoch: int) -> Tensor:
    """Return the orders (K, rows) for K seeds; (rows,) for one seed."""
    orders = [order_of(rows, seed, epoch) for seed in seeds]
    return orders[0] if len(orders) == 1 else torch.stack(orders)


def rows_of_steps(
    rows: int,
    batch_size: int | str,
    accumulate: int,
    seed: int | Sequence[int],
    epoch: int,
    first: int = 0,
    device: str = "cpu",
) -> Iterator[Rows]:
    """Yield the rows of each optimizer step of an epoch, shuffled as a function of (seed, epoch).

    The order is drawn on the CPU, so that it is the same on every device, and moved to the device once. A
    full batch is not shuffled: its sum does not depend on the order.

    Args:
        rows: the number of rows in the training split.
        batch_size: rows per batch, or "full".
        accumulate: batches per step.
        seed: the run's seed, or K seeds, for rows (n,) and (K, n).
        epoch: the number of epochs before this one.
        first: the number of steps already taken, which are skipped.
        device: the device to move the rows to.
    """
    if batch_size == "full":
        if first == 0:
            yield slice(None)
        return
    order = orders_of(rows, [seed] if isinstance(seed, int) else seed, epoch).to(device)
    size = int(batch_size) * accumulate
    if first * size < rows:
        yield from torch.split(order[..., first * size :], size, dim=-1)
