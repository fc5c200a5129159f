"""Decay every step_size units."""

from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import EpochSchedule, Multiplier
from mlpkit.config.section import Count, Positive


@choice("scheduler")
class StepDecay(EpochSchedule):
    """Decay by gamma every step_size units (torch StepLR)."""

    name: Literal["step"]
    step_size: Count = Field(10, description="units between two decays")
    gamma: Positive = Field(0.1, description="factor of a decay")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return gamma^⌊t / step_size⌋."""
        return lambda t: self.gamma ** (t // self.step_size)
