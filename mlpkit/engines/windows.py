"""The order in which the rows of a table on the disk are trained on: shuffled by blocks.

In each pass the blocks of the training split are put in a drawn order. Some of them at a time are read into
memory: a window, whose rows are shuffled. All windows, one after the other, are the order of the pass, and
steps are cut from it as from any other order. A step may begin with the last rows of one window and end with
the first ones of the next; the next one then holds a copy of them.

The order is a function of (seed, number of the pass), of the table, and of how many blocks a window has.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mlpkit.data.randomness import generator
from mlpkit.engines.batches import Steps


@dataclass(frozen=True)
class Window:
    """Some blocks of the training split that are in memory together.

    Attributes:
        number: of the pass.
        place: of the window in the pass, from 0.
        ranges: the rows of each block.
        begin: the place of its first row in the order of the pass.
        before: rows of the window before it that its first step uses.
        steps: the steps of the pass that it is read for.
    """

    number: int
    place: int
    ranges: tuple[range, ...]
    begin: int
    before: int
    steps: range

    @property
    def rows(self) -> int:
        """The number of rows in its blocks."""
        return sum(map(len, self.ranges))

    def is_before(self, other: "Window") -> bool:
        """Whether the other is the next window of the same pass."""
        return (self.number, self.place + 1) == (other.number, other.place)


class Windows:
    """The windows of all passes of a run."""

    def __init__(self, steps: Steps, seed: int, block: int, blocks: int) -> None:
        """Draw nothing yet.

        Args:
            steps: which part of which pass each step uses.
            seed: of the run.
            block: rows of a block.
            blocks: blocks of a window; `fewest_blocks` or more.
        """
        self.steps, self.seed, self.blocks = steps, seed, blocks
        self._ranges = [range(start, min(start + block, steps.rows)) for start in range(0, steps.rows, block)]
        self._of_pass = lru_cache(maxsize=2)(self._draw)

    @staticmethod
    def fewest_blocks(block: int, step: int) -> int:
        """Return how many blocks a window needs so that a step reaches into two windows at most."""
        return 1 + -(-step // block)  # one more, since the last block of the split may be short

    @property
    def most_rows(self) -> int:
        """The most rows that a window has, with those of the window before it."""
        return sum(map(len, self._ranges[: self.blocks])) + self.steps.size - 1

    def at(self, step: int) -> Window:
        """Return the window of a step of the run, counted from its start."""
        number, place = divmod(step, self.steps.per_pass)
        return next(window for window in self._of_pass(number) if place in window.steps)

    def after(self, window: Window) -> Window:
        """Return the window that is read next, which may be in the next pass."""
        return self.at(window.number * self.steps.per_pass + window.steps.stop)

    def places(self, window: Window) -> Tensor:
        """Return where the rows of its steps are in memory: copies of rows before it, then its blocks."""
        return torch.cat((torch.arange(window.before), self._shuffled(window) + window.before))

    def rows_before(self, window: Window) -> Tensor:
        """Return the rows (before,) of the window before it that it needs copies of."""
        if not window.before:
            return torch.arange(0)
        previous = self._of_pass(window.number)[window.place - 1]
        return self._rows(previous)[-window.before :]

    def rows_of(self, window: Window, steps: range) -> Tensor:
        """Return the rows of the training split that some steps of a window use, in their order."""
        rows = torch.cat((self.rows_before(window), self._rows(window)))
        start = window.begin - window.before
        return rows[steps.start * self.steps.size - start : steps.stop * self.steps.size - start]

    def _draw(self, number: int) -> list[Window]:
        """Return the windows of a pass that steps are cut from."""
        steps, order = self.steps, self._random(number, 0, len(self._ranges)).tolist()
        windows, begin, done = list[Window](), 0, 0
        for place, first in enumerate(range(0, len(order), self.blocks)):
            ranges = tuple(self._ranges[block] for block in order[first : first + self.blocks])
            end = begin + sum(map(len, ranges))
            stop = steps.per_pass if end >= steps.used else end // steps.size
            if stop > done:
                before = begin - done * steps.size
                windows.append(Window(number, place, ranges, begin, before, range(done, stop)))
            begin, done = end, stop
        return windows

    def _rows(self, window: Window) -> Tensor:
        rows = torch.cat([torch.arange(part.start, part.stop) for part in window.ranges])
        return rows[self._shuffled(window)]

    def _shuffled(self, window: Window) -> Tensor:
        return self._random(window.number, 1 + window.place, window.rows)

    def _random(self, number: int, place: int, count: int) -> Tensor:
        return torch.randperm(count, generator=generator(self.seed, "order", number, place))
