"""Decay at milestones."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import EpochSchedule, Multiplier
from mlpkit.config.section import Count, Positive, rule_error


@choice("scheduler")
class MultiStepDecay(EpochSchedule):
    """Decay by gamma at each milestone (torch MultiStepLR)."""

    name: Literal["multistep"]
    milestones: tuple[Count, ...] = Field(
        (10, 20), min_length=1, strict=False, description="units at which lr decays, in rising order"
    )
    gamma: Positive = Field(0.1, description="factor of a decay")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return gamma to the power of the number of milestones passed."""
        return lambda t: self.gamma ** sum(t >= milestone for milestone in self.milestones)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.milestones) != sorted(self.milestones):
            raise rule_error(f"milestones={list(self.milestones)} must be in rising order")
        return self
