"""Huber's loss (1964): squared for small errors, so that outliers count less."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Huber(LossConfig):
    """Mean over the targets of e²/2 for errors |e| ≤ delta, else delta (|e| - delta/2) (torch HuberLoss)."""

    name: Literal["huber"]
    delta: Positive = Field(
        1.0, description="error from which the loss is linear, in the units of the (standardised) targets"
    )
    tasks = ("regression",)
    title = "Huber loss"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        from torch.nn.functional import huber_loss

        return huber_loss(outputs, targets, reduction="none", delta=self.delta).mean(1)

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """The error ŷ - y, at most delta, / width."""
        return (outputs - y).clamp_(-self.delta, self.delta) / outputs.shape[-1]
