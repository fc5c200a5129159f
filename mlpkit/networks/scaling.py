"""Standardisation as layers, so that a checkpoint reads raw inputs and answers in raw units."""

import torch
from torch import Tensor, nn

from mlpkit.data.dataset import Affine


class Scaling(nn.Module):
    """(values - mean) / std for each column; both are buffers and travel with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, values: Affine) -> None:
        """Keep copies of the mean and the standard deviation."""
        super().__init__()
        self.register_buffer("mean", values.mean.clone())
        self.register_buffer("std", values.std.clone())

    def set(self, values: Affine) -> None:
        """Take other values of the same shape."""
        with torch.no_grad():
            self.mean.copy_(values.mean)
            self.std.copy_(values.std)

    def forward(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return (values - self.mean).div_(self.std)


class Unscaling(Scaling):
    """The inverse: values · std + mean."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the values (rows, columns) in their own unit."""
        return values * self.std + self.mean

    def inverse(self, values: Tensor) -> Tensor:
        """Return the standardised values (rows, columns)."""
        return super().forward(values)
