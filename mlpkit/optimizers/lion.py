"""Lion, with the defaults of its authors (Chen et al. 2023)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import OptimizerConfig, Slots
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@choice("optimizer")
class Lion(OptimizerConfig):
    """Steps of one size, along the sign of an averaged gradient; lr is about a tenth of AdamW's."""

    name: Literal["lion"]
    lr: Positive = Field(0.0001, description="learning rate")
    betas: tuple[Fraction, Fraction] = Field(
        (0.9, 0.99), strict=False, description="weight of the average in a step, and decay of the average"
    )
    weight_decay: NotNegative = Field(0.0, description="decoupled weight decay")

    def slots(self) -> Slots:
        """See `OptimizerConfig.slots`."""
        return {"exp_avg": "tensor"}

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        """See `OptimizerConfig.update`."""
        average, (beta1, beta2) = slots["exp_avg"], self.betas
        if self.weight_decay:
            values.mul_(1 - lr * self.weight_decay)
        values.sub_(lr * average.lerp(gradients, 1 - beta1).sign_())
        average.lerp_(gradients, 1 - beta2)

    def keeps_zeros(self) -> bool:
        """See `OptimizerConfig.keeps_zeros`."""
        return True
