"""Means, standard deviations and ranges of columns, added up over parts of a table in float64."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 65_536  # numbers that are converted to float64 at once

Floats = NDArray[np.float64]


class Moments:
    """Moments of columns; sums of squares are about the mean, so that none is lost to rounding.

    Attributes:
        count: rows so far.
        mean: of each column.
        squares: the sum of the squared deviations from the mean, of each column.
        low: the smallest value of each column.
        high: the largest.
    """

    def __init__(self, columns: int) -> None:
        """Begin without rows."""
        self.count = 0.0
        self.mean, self.squares = np.zeros(columns), np.zeros(columns)
        self.low, self.high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: NDArray[Any]) -> None:
        """Add rows (rows, columns); in blocks, since a float64 copy of many takes much longer."""
        size = max(1, BLOCK // max(1, values.shape[1]))
        for start in range(0, len(values), size):
            block = values[start : start + size].astype(np.float64)
            mean = block.mean(0)
            np.minimum(self.low, block.min(0), out=self.low)
            np.maximum(self.high, block.max(0), out=self.high)
            block -= mean
            self._merge(len(block), mean, np.einsum("ij,ij->j", block, block))

    def add_equal(self, count: int, value: float) -> None:
        """Add rows that have one value in all columns."""
        if count:
            np.minimum(self.low, value, out=self.low)
            np.maximum(self.high, value, out=self.high)
            self._merge(count, np.full_like(self.mean, value), np.zeros_like(self.mean))

    def _merge(self, count: float, mean: Floats, squares: Floats) -> None:
        """Add rows of which the moments are known (Chan, Golub and LeVeque 1979)."""
        total = self.count + count
        distance = mean - self.mean
        self.squares += squares + distance * distance * (self.count * count / total)
        self.mean += distance * (count / total)
        self.count = total

    @property
    def std(self) -> Floats:
        """The standard deviation of each column (divided by the number of rows); 1 for a constant column."""
        deviation = np.sqrt(self.squares / max(1.0, self.count))
        return np.where((self.low < self.high) & (deviation > 0), deviation, 1.0)

    def pooled(self, groups: int) -> tuple[Floats, Floats]:
        """Return mean and std of groups of adjacent columns of equal size, each taken as one column."""
        means, squares = self.mean.reshape(groups, -1), self.squares.reshape(groups, -1)
        mean = means.mean(1)
        between = self.count * ((means - mean[:, None]) ** 2).sum(1)
        deviation = np.sqrt((squares.sum(1) + between) / max(1.0, self.count * means.shape[1]))
        return mean, np.where(deviation > 0, deviation, 1.0)
