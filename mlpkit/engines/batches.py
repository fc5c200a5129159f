"""The rows of each optimizer step.

A pass goes over all training rows once, in a shuffled order of its own. An epoch is one pass, or
`trainer.steps_per_epoch` steps; then a pass may end within an epoch, and the next one goes on there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.config.run import TrainerConfig
from mlpkit.data.randomness import generator

Rows = Tensor | slice

LEAST_STEPS, PASS_PARTS = 20, 4  # trainer.steps_per_epoch=auto: this part of a pass, but not fewer steps


@dataclass(frozen=True)
class Steps:
    """How many steps an epoch has, and which part of which pass each of them uses.

    Attributes:
        rows: number of training rows.
        size: rows per step; the last step of a pass may have fewer.
        per_epoch: steps per epoch.
        used: rows that a pass goes over: all, or those of whole steps.
    """

    rows: int
    size: int
    per_epoch: int
    used: int

    @classmethod
    def of(cls, trainer: TrainerConfig, rows: int) -> "Steps":
        """Return the steps that a config takes with a number of training rows."""
        size = rows if trainer.batch_size == "full" else trainer.batch_size * trainer.accumulate
        used = (rows // size * size if trainer.drop_last else 0) or rows  # fewer rows than a step are used
        per_pass = -(-used // size)
        if trainer.steps_per_epoch == "auto":
            return cls(rows, size, max(LEAST_STEPS, per_pass // PASS_PARTS), used)
        return cls(rows, size, trainer.steps_per_epoch or per_pass, used)

    @property
    def per_pass(self) -> int:
        """Steps in a pass."""
        return -(-self.used // self.size)

    def parts(self, epoch: int, first: int, stop: int) -> Iterator[tuple[int, slice]]:
        """Yield (pass, part of its order) of the rows that some steps of an epoch use.

        Args:
            epoch: the number of epochs before this one.
            first: the first of the steps, counted from the start of the epoch.
            stop: the step behind the last one.
        """
        step, end = (epoch * self.per_epoch + place for place in (first, stop))
        while step < end:
            number, begin = divmod(step, self.per_pass)
            count = min(self.per_pass - begin, end - step)
            yield number, slice(begin * self.size, min(self.used, (begin + count) * self.size))
            step += count

    def rows_in(self, epoch: int, steps: int) -> int:
        """Return the number of rows in the first steps of an epoch."""
        return sum(part.stop - part.start for _, part in self.parts(epoch, 0, steps))

    def rows_until(self, step: int) -> int:
        """Return the number of rows that the first steps of a run have used."""
        passes, steps = divmod(step, self.per_pass)
        return passes * self.used + min(self.used, steps * self.size)

    @property
    def most_rows(self) -> int:
        """An upper bound for the number of rows in an epoch."""
        return self.used if self.per_epoch == self.per_pass else self.per_epoch * min(self.size, self.used)


@dataclass(frozen=True)
class Share:
    """A process's part of the rows of a batch or a split.

    The first processes get one row more where the rows cannot be divided. So a process without a row in a
    batch has none in a smaller one.

    Attributes:
        rank: the process's number, from 0.
        size: number of processes.
    """

    rank: int
    size: int

    def of(self, rows: int) -> slice:
        """Return the part of a number of rows; it may be empty."""
        each, more = divmod(rows, self.size)
        first = self.rank * each + min(self.rank, more)
        return slice(first, first + each + (self.rank < more))


def order_of(rows: int, seed: int, number: int) -> Tensor:
    """Return all rows in the shuffled order of a pass, a function of (seed, number of the pass)."""
    return torch.randperm(rows, generator=generator(seed, "order", number))


def orders_of(rows: int, seeds: Sequence[int], number: int) -> Tensor:
    """Return the orders (K, rows) of a pass for K seeds; (rows,) for one seed.

    They are drawn on the CPU, so that they are the same for every device.
    """
    orders = [order_of(rows, seed, number) for seed in seeds]
    return orders[0] if len(orders) == 1 else torch.stack(orders)


class Orders:
    """The orders of the passes of K runs; that of the last pass is kept."""

    def __init__(self, steps: Steps, seeds: Sequence[int], device: str = "cpu") -> None:
        """Draw nothing yet.

        Args:
            steps: which part of which pass each step uses.
            seeds: of the K runs.
            device: where the orders are needed.
        """
        self.steps, self.seeds, self.device = steps, seeds, device
        self._last: tuple[int, Tensor] | None = None

    def of_pass(self, number: int) -> Tensor:
        """Return the order of a pass (K, rows), or (rows,) where K = 1."""
        if self._last is None or self._last[0] != number:
            order = orders_of(self.steps.rows, self.seeds, number)
            if self.device != "cpu":
                # Only from pinned memory does the host copy without waiting for the device.
                order = order.pin_memory().to(self.device, non_blocking=True)
            self._last = number, order
        return self._last[1]

    def rows(self, epoch: int, first: int, stop: int) -> Iterator[Tensor]:
        """Yield the rows of some steps of an epoch, those of each pass together; see `Steps.parts`."""
        for number, part in self.steps.parts(epoch, first, stop):
            yield self.of_pass(number)[..., part]

    def rows_until(self, epoch: int, steps: int) -> Tensor:
        """Return the rows of the first steps of an epoch."""
        return torch.cat(list(self.rows(epoch, 0, steps)), dim=-1)
