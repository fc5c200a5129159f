"""Cosine decay."""

import math
from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, WholeRunSchedule
from mlpkit.config.section import Count, NotNegative


@choice("scheduler")
class CosineDecay(WholeRunSchedule):
    """Half a cosine from lr down to eta_min (torch CosineAnnealingLR)."""

    name: Literal["cosine"]
    t_max: Count | None = Field(None, description="units of the half cosine; null: the whole run")
    eta_min: NotNegative = Field(0.0, description="last learning rate")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return lowest + (1 - lowest)(1 + cos(π t / t_max)) / 2, where lowest = eta_min / lr."""
        t_max, lowest = self.t_max or whole_run, self.eta_min / lr
        return lambda t: lowest + (1 - lowest) * (1 + math.cos(math.pi * t / t_max)) / 2

    def spans_the_run(self) -> bool:
        """See `SchedulerConfig.spans_the_run`."""
        return self.t_max is None
