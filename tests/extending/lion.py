"""Lion (Chen et al. 2023)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import OptimizerConfig, Slots
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, NotNegative

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@choice("optimizer")
class Lion(OptimizerConfig):
    """Steps of one size, along the sign of an averaged gradient."""

    name: Literal["lion"]
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.99), strict=False, description="decay of the averages")
    weight_decay: NotNegative = Field(0.0, description="decoupled weight decay")

    def slots(self) -> Slots:
        return {"exp_avg": "tensor"}

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        average, (beta1, beta2) = slots["exp_avg"], self.betas
        direction = average.lerp(gradients, 1 - beta1).sign_()
        values.mul_(1 - lr * self.weight_decay).sub_(lr * direction)
        average.lerp_(gradients, 1 - beta2)
