"""Exponential decay."""

from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import EpochSchedule, Multiplier
from mlpkit.config.section import Positive


@choice("scheduler")
class ExponentialDecay(EpochSchedule):
    """Decay by gamma every unit (torch ExponentialLR)."""

    name: Literal["exponential"]
    gamma: Positive = Field(0.95, description="factor of a unit")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return gamma^t."""
        return lambda t: self.gamma**t
