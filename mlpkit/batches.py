"""Which rows make each step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mlpkit.randomness import generator

Rows = Tensor | slice


def steps_per_epoch(rows: int, batch_size: int | str, accumulate: int = 1) -> int:
    """Return the number of optimizer steps in an epoch; the last one may see fewer rows."""
    size = rows if batch_size == "full" else int(batch_size) * accumulate
    return -(-rows // size)


def rows_of_steps(rows: int, batch_size: int | str, accumulate: int, seed: int, epoch: int) -> Iterator[Rows]:
    """Yield the rows of each optimizer step of an epoch, shuffled as a function of (seed, epoch).

    A full batch is the whole split in its own order: its sum does not depend on the order.
    """
    if batch_size == "full":
        yield slice(None)
        return
    order = torch.randperm(rows, generator=generator(seed, "order", epoch))
    yield from torch.split(order, int(batch_size) * accumulate)
