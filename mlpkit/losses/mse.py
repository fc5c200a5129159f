"""Squared error."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig, OutputGradient
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Mse(LossConfig):
    """Mean over the targets of (ŷ - y)² (torch MSELoss)."""

    name: Literal["mse"]
    tasks = ("regression",)
    title = "mean squared error"
    mixes_targets = True

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        return (outputs - targets).square().mean(1)

    def by_hand(self) -> OutputGradient:
        """2 (ŷ - y) / width."""
        import torch

        return OutputGradient(
            lambda outputs, y, out: torch.sub(outputs, y, out=out), factor=lambda width: 2 / width
        )
