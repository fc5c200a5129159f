"""Absolute error."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Mae(LossConfig):
    """Mean over the targets of |ŷ - y| (torch L1Loss); its minimum is the median."""

    name: Literal["mae"]
    tasks = ("regression",)
    title = "mean absolute error"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        return (outputs - targets).abs().mean(1)

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """sign(ŷ - y) / width; 0 for an error of 0."""
        return (outputs - y).sign_() / outputs.shape[-1]
