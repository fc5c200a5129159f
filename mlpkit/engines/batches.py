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
    """Return the orders (K, rows) for K seeds; (rows,) for one seed.

    They are drawn on the CPU, so that they are the same for every device.
    """
    orders = [order_of(rows, seed, epoch) for seed in seeds]
    return orders[0] if len(orders) == 1 else torch.stack(orders)


def rows_of_steps(order: Tensor, size: int, first: int = 0) -> Iterator[Tensor]:
    """Yield the rows of each optimizer step of an epoch.

    Args:
        order: the shuffled rows (rows,), or (K, rows); see `orders_of`.
        size: rows per step; the last one may have fewer.
        first: the number of steps already taken, which are skipped.
    """
    if first * size < order.shape[-1]:
        yield from torch.split(order[..., first * size :], size, dim=-1)
