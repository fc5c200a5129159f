"""The Poisson loss, for counts."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig, OutputGradient
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Poisson(LossConfig):
    """Mean over the targets of exp(z) - y z, for counts y and log rates z (torch PoissonNLLLoss)."""

    name: Literal["poisson"]
    tasks = ("regression",)
    title = "Poisson loss"
    mixes_targets = True
    log_link = True

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`; up to a constant, the negative log-likelihood."""
        return (outputs.exp() - targets * outputs).mean(1)

    def by_hand(self) -> OutputGradient:
        """(exp(z) - y) / width."""
        import torch

        return OutputGradient(
            lambda outputs, y, out: torch.exp(outputs, out=out).sub_(y), factor=lambda width: 1 / width
        )
