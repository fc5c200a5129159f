"""Cross-entropy for two classes, or for several labels that are each there or not."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.loss import LossConfig, OutputGradient
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor

LINEAR_FROM = 40.0  # above this, log(1 + exp(x)) equals x even in float64
MANY_ROWS = 1000  # above this, the arithmetic takes longer than starting ten operations


@choice("loss")
class BinaryCrossEntropy(LossConfig):
    """-log σ(z) where y = 1 and -log(1 - σ(z)) where y = 0, for logits z (torch BCEWithLogitsLoss)."""

    name: Literal["binary_cross_entropy"]
    tasks = ("binary", "multilabel")
    title = "binary cross-entropy"
    mixes_targets = True

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`; the mean over the labels.

        Both cases are log(1 + exp((1 - 2y) z)), which is exact for logits of any size.
        """
        import torch

        signed = torch.addcmul(outputs, outputs, targets, value=-2)
        if outputs.requires_grad or len(outputs) < MANY_ROWS:
            return _of_rows(torch.nn.functional.softplus(signed, threshold=LINEAR_FROM))
        # For many rows torch's log1p(t) takes twice as long as log(w) with w = 1 + t, corrected for the
        # rounding of w (after Kahan; Goldberg 1991, theorem 4).
        t = signed.abs().neg_().exp_()
        w = t + 1
        losses = t.sub_(w - 1)
        return _of_rows(losses.add_(w.log_()).add_(signed.clamp_min_(0)))

    def by_hand(self) -> OutputGradient:
        """(σ(z) - y) / labels."""
        import torch

        return OutputGradient(
            lambda outputs, y, out: torch.sigmoid(outputs, out=out).sub_(y), factor=lambda width: 1 / width
        )


def _of_rows(losses: "Tensor") -> "Tensor":
    """Return the mean over the labels; a single one needs none."""
    return losses.squeeze(1) if losses.shape[1] == 1 else losses.mean(1)
