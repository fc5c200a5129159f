"""A learning rate that falls with the square root of time."""

from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, StepSchedule
from mlpkit.config.section import Positive


@choice("scheduler")
class SqrtDecay(StepSchedule):
    """lr / √(1 + t / scale)."""

    name: Literal["sqrt"]
    scale: Positive = Field(10.0, description="units of time after which the rate has begun to fall")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        return lambda t: (1 + t / self.scale) ** -0.5
