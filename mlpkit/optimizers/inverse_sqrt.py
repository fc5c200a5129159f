"""Decay with the square root of time (Vaswani et al. 2017)."""

from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, StepSchedule
from mlpkit.config.section import Count


@choice("scheduler")
class InverseSqrtDecay(StepSchedule):
    """lr · √(timescale / (timescale + t)): falls for ever, however long the run is."""

    name: Literal["inverse_sqrt"]
    timescale: Count = Field(
        1000, description="lr / √2 after so many units; warmup_steps gives the schedule of transformers"
    )

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return √(timescale / (timescale + t))."""
        return lambda t: (self.timescale / (self.timescale + t)) ** 0.5
