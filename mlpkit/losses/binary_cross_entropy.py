"""Cross-entropy of two classes."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig, OutputGradient
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor

SURE = 40.0  # from where log(1 + exp(x)) is x in float64 as well
MANY = 1000  # rows whose numbers take longer than to begin ten operations


@choice("loss")
class BinaryCrossEntropy(LossConfig):
    """-log σ(z) where y = 1 and -log(1 - σ(z)) where y = 0, for a logit z (torch BCEWithLogitsLoss)."""

    name: Literal["binary_cross_entropy"]
    tasks = ("binary",)

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`.

        Both are log(1 + exp((1 - 2y) z)), which is exact on either side, however sure the answer is.
        """
        import torch

        against = torch.addcmul(outputs, outputs, targets, value=-2)
        if outputs.requires_grad or len(outputs) < MANY:
            return torch.nn.functional.softplus(against, threshold=SURE).squeeze(1)
        # For many rows torch's log(1 + t) takes twice as long as a log of w = 1 + t, and to give back what
        # rounding has put into w (after Kahan; Goldberg 1991, theorem 4).
        t = against.abs().neg_().exp_()
        w = t + 1
        losses = t.sub_(w - 1)
        return losses.add_(w.log_()).add_(against.clamp_min_(0)).squeeze(1)

    def by_hand(self) -> OutputGradient:
        """σ(z) - y."""
        import torch

        return OutputGradient(lambda outputs, y, out: torch.sigmoid(outputs, out=out).sub_(y))
