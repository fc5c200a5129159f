"""A shift and a scale for each column or channel, measured from values."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 65_536  # numbers that are converted to float64 at once


@dataclass(frozen=True)
class Affine:
    """A shift and a scale for each column: `(values - mean) / std`."""

    mean: Tensor
    std: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """Return the scaled values (rows, columns)."""
        return (values - self.mean) / self.std


def column_scaling(values: Tensor, weights: Tensor | None = None) -> Affine:
    """Return mean and standard deviation of each column; a constant column gets the standard deviation 1.

    Args:
        values: (rows, columns).
        weights: (rows,) how much each row counts; None: all the same.
    """
    rows = max(1, BLOCK // values.shape[1])  # float64 copies of all rows at once would take much longer
    parts = torch.split(values, rows)
    shares = [None] * len(parts) if weights is None else torch.split(weights.double(), rows)

    def average(function: Callable[[Tensor], Tensor]) -> Tensor:
        total = torch.zeros(values.shape[1], dtype=torch.float64)
        for part, share in zip(parts, shares, strict=True):
            found = function(part.double())
            total += found.sum(0) if share is None else share @ found
        return total / (len(values) if weights is None else weights.double().sum())

    mean = average(lambda part: part)
    std = average(lambda part: (part - mean).square_()).sqrt()
    varies = (values != values[:1]).any(0) & (std > 0)  # rounding alone may give a constant column a std
    return Affine(mean.float(), torch.where(varies, std, 1.0).float())


def channel_scaling(pixels: Tensor, channels: int) -> Affine:
    """Return mean and standard deviation (channels,) of each channel of images (rows, pixels)."""
    values = pixels.reshape(len(pixels), channels, -1)
    count = values.shape[0] * values.shape[2]
    # In parts, since float64 copies of all rows at once would take twice the memory of the rows.
    parts = torch.split(values, 4096)
    mean = (
        sum((part.double().sum((0, 2)) for part in parts), torch.zeros(channels, dtype=torch.float64)) / count
    )
    squares = ((part.double() - mean[:, None]).square().sum((0, 2)) for part in parts)
    std = (sum(squares, torch.zeros(channels, dtype=torch.float64)) / count).sqrt()
    return Affine(mean.float(), torch.where(std > 0, std, torch.ones_like(std)).float())
