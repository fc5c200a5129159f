"""NAdam, with the options and defaults of torch.optim.NAdam (Dozat 2016)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import Slots
from mlpkit.config.registry import choice
from mlpkit.config.section import NotNegative, Positive
from mlpkit.optimizers.adam import AdamOptions

if TYPE_CHECKING:
    from torch import Tensor


@choice("optimizer")
class NAdam(AdamOptions):
    """Adam with Nesterov momentum (torch.optim.NAdam)."""

    has_auto_lr = False
    name: Literal["nadam"]
    lr: Positive = Field(0.002, description="learning rate")
    weight_decay: NotNegative = Field(0.0, description="L2 penalty")
    momentum_decay: NotNegative = Field(0.004, description="how fast the momentum rises to the first beta")
    decoupled_weight_decay: bool = Field(False, description="decay the weights as AdamW does")

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`."""
        return {**super().slots(), "mu_product": "number"}

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        """See `OptimizerConfig.update`.

        What depends on the step is in float64 scalars on the device, for which the host does not wait.
        """
        step, product = slots["step"].add_(1).double(), slots["mu_product"]
        mean, square, (beta1, beta2) = slots["exp_avg"], slots["exp_avg_sq"], self.betas
        if self.weight_decay and self.decoupled_weight_decay:
            values.mul_(1 - lr * self.weight_decay)
        elif self.weight_decay:
            gradients = gradients.add(values, alpha=self.weight_decay)
        mu, next_mu = (beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay)) for t in (step, step + 1))
        product.add_(step == 1).mul_(
            mu.float()
        )  # the empty product of the first step is 1, and slots start at 0
        mean.lerp_(gradients, 1 - beta1)
        square.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        denominator = square.div(1 - beta2**step).sqrt_().add_(self.eps)
        of_gradient = lr * (1 - mu) / (1 - product.double())
        of_mean = lr * next_mu / (1 - product.double() * next_mu)
        values.sub_((of_gradient * gradients).add_(of_mean * mean).div_(denominator))
