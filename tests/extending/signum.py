"""Signum (Bernstein et al. 2018)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpkit.config.optimizer import OptimizerConfig, Slots
from mlpkit.config.registry import choice
from mlpkit.config.section import Fraction, NotNegative

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@choice("optimizer")
class Signum(OptimizerConfig):
    """Steps of one size, along the sign of an averaged gradient."""

    name: Literal["signum"]
    momentum: Fraction = Field(0.9, description="decay of the average")
    weight_decay: NotNegative = Field(0.0, description="decoupled weight decay")

    def slots(self) -> Slots:
        return {"exp_avg": "tensor"}

    def update(
        self, values: "Tensor", gradients: "Tensor", slots: "Mapping[str, Tensor]", lr: "float | Tensor"
    ) -> None:
        average = slots["exp_avg"].lerp_(gradients, 1 - self.momentum)
        values.mul_(1 - lr * self.weight_decay).sub_(lr * average.sign())
