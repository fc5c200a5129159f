"""No schedule."""

from typing import Literal

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, SchedulerConfig


@choice("scheduler")
class ConstantSchedule(SchedulerConfig):
    """The learning rate stays constant."""

    name: Literal["none"]

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """See `SchedulerConfig.multiplier`."""
        return lambda t: 1.0
