"""Cross-entropy for several classes."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig, OutputGradient
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class CrossEntropy(LossConfig):
    """-log softmax(z)_y = log Σ exp(z - z_y) for logits z (torch CrossEntropyLoss)."""

    name: Literal["cross_entropy"]
    tasks = ("multiclass",)

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        import torch

        if outputs.requires_grad:
            return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        # As exact, in a third of the time for many rows of few classes.
        return torch.logsumexp(outputs - outputs.gather(1, targets[:, None]), 1)

    def by_hand(self) -> OutputGradient:
        """softmax(z) - y, for one-hot y."""
        import torch

        return OutputGradient(lambda outputs, y, out: torch.softmax(outputs, -2, out=out).sub_(y))
