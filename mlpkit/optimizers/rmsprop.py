"""RMSprop, with the options and defaults of torch.optim.RMSprop (Hinton 2012)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import OptimizerConfig, Slots
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("optimizer")
class RmsProp(OptimizerConfig):
    """Gradients divided by the root of their mean square (torch.optim.RMSprop)."""

    name: Literal["rmsprop"]
    lr: Positive = Field(0.01, description="learning rate")
    alpha: Fraction = Field(0.99, description="decay of the average of the squared gradient")
    eps: NotNegative = Field(1e-8, description="added to the denominator")
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    momentum: NotNegative = Field(0.0, description="momentum")
    centered: bool = Field(False, description="divide by the standard deviation of the gradient instead")

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`."""
        found: Slots = {"square_avg": "tensor"}
        if self.centered:
            found["grad_avg"] = "tensor"
        if self.momentum:
            found["momentum_buffer"] = "tensor"
        return found

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        """See `OptimizerConfig.update`."""
        if self.weight_decay:
            gradients = gradients.add(values, alpha=self.weight_decay)
        square = slots["square_avg"]
        square.mul_(self.alpha).addcmul_(gradients, gradients, value=1 - self.alpha)
        if self.centered:
            mean = slots["grad_avg"].lerp_(gradients, 1 - self.alpha)
            # Rounding can make a variance negative: torch's class then gives NaN.
            square = square.addcmul(mean, mean, value=-1).clamp_(min=0)
        step = gradients / square.sqrt().add_(self.eps)
        if self.momentum:
            step = slots["momentum_buffer"].mul_(self.momentum).add_(step)
        values.sub_(lr * step)

    def keeps_zeros(self) -> bool:
        """See `OptimizerConfig.keeps_zeros`; with eps = 0 the update would be 0 / 0."""
        return self.eps > 0
