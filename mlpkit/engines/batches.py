"""Which rows make each step."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mlpkit.data.randomness import generator

Rows = Tensor | slice


def steps_per_epoch(rows: int, batch_size: int | str, accumulate: int = 1) -> int:
    """Return the number of optimizer steps in an epoch; the last one may see fewer rows."""
    size = rows if batch_size == "full" else int(batch_size) * accumulate
    return -(-rows // size)


def order_of(rows: int, seed: int, epoch: int) -> Tensor:
    """Return all rows in the order in which an epoch sees them, a function of (seed, epoch)."""
    return torch.randperm(rows, generator=generator(seed, "order", epoch))


def orders_of(rows: int, seeds: Sequence[int], epoch: int) -> Tensor:
    """Return the orders of runs with these seeds, (K, rows); of one run (rows,)."""
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

    The first steps may be left out: they have been taken. The order is drawn on the CPU, so that it is the
    same everywhere, and moved to the device at once.

    A full batch is the whole split in its own order: its sum does not depend on the order.

    Args:
        rows: of the training split.
        batch_size: rows that are differentiated at once, or full.
        accumulate: batches of a step.
        seed: of the run, or of each of K; rows are (K, n) then, and (n,) for one.
        epoch: passes over the data before this one.
        first: steps that have been taken.
        device: where the rows are wanted.
    """
    if batch_size == "full":
        if first == 0:
            yield slice(None)
        return
    order = orders_of(rows, [seed] if isinstance(seed, int) else seed, epoch).to(device)
    size = int(batch_size) * accumulate
    if first * size < rows:
        yield from torch.split(order[..., first * size :], size, dim=-1)
