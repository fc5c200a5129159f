"""The focal loss: rows that are classified well count less (Lin et al. 2017)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative

if TYPE_CHECKING:
    from torch import Tensor


@choice("loss")
class Focal(LossConfig):
    """-(1 - p)^gamma log p, for the probability p of the true class; gamma = 0 is cross-entropy."""

    name: Literal["focal"]
    gamma: NotNegative = Field(2.0, description="how little rows that are classified well count")
    tasks = ("binary", "multiclass")
    title = "focal loss"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """See `LossConfig.per_example`."""
        from torch.nn.functional import logsigmoid

        if outputs.shape[1] == 1:
            signed = ((2 * targets - 1) * outputs).squeeze(1)
            return -(self.gamma * logsigmoid(-signed)).exp() * logsigmoid(signed)
        log_p = outputs.log_softmax(1).gather(1, targets[:, None]).squeeze(1)
        return -(_rest(log_p.exp()) ** self.gamma) * log_p

    def gradient(self, outputs: "Tensor", y: "Tensor") -> "Tensor":
        """With the chain rule through log p, whose gradient is y - softmax(z), or ±σ(∓z) for one output."""
        from torch.nn.functional import logsigmoid

        if outputs.shape[-1] == 1:
            signs = 2 * y - 1
            signed = signs * outputs
            p, rest = signed.sigmoid(), (-signed).sigmoid()
            return signs * rest**self.gamma * (self.gamma * p * logsigmoid(signed) - rest)
        log_softmax = outputs.log_softmax(-1)
        log_p = (log_softmax * y).sum(-1, keepdim=True)
        p = log_p.exp()
        rest = _rest(p)
        return (y - log_softmax.exp()) * rest**self.gamma * (self.gamma * p * log_p / rest - 1)


def _rest(p: "Tensor") -> "Tensor":
    """Return 1 - p, at least the smallest normal number, by which one can divide."""
    import torch

    return (1 - p).clamp_min(torch.finfo(p.dtype).tiny)
