"""Huber's loss: squared for small errors, so that outliers count less (Huber 1964)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Huber(LossConfig):
    """e²/2 for errors |e| ≤ delta, else delta (|e| - delta/2); a mean over the targets."""

    name: Literal["huber"]
    delta: Positive = Field(1.0, description="error from which the loss is linear")
    tasks = ("regression",)

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import huber_loss

        return huber_loss(outputs, targets, reduction="none", delta=self.delta).mean(1)

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        return (outputs - y).clamp(-self.delta, self.delta) / outputs.shape[-1]
