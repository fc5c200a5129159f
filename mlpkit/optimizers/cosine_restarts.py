"""Cosine decay that starts again (Loshchilov, Hutter 2017)."""

import math
from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import EpochSchedule, Multiplier
from mlpkit.config.section import Count, NotNegative


@choice("scheduler")
class CosineRestarts(EpochSchedule):
    """Half a cosine from lr down to eta_min, again and again (torch CosineAnnealingWarmRestarts)."""

    name: Literal["cosine_restarts"]
    t_0: Count = Field(10, description="units of the first half cosine")
    t_mult: Count = Field(1, description="each half cosine is this many times as long as the one before")
    eta_min: NotNegative = Field(0.0, description="lowest learning rate")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return lowest + (1 - lowest)(1 + cos(π s / length)) / 2, s units after the last restart."""
        lowest = self.eta_min / lr

        def multiplier(t: int) -> float:
            since, length = self._since_restart(t)
            return lowest + (1 - lowest) * (1 + math.cos(math.pi * since / length)) / 2

        return multiplier

    def _since_restart(self, t: int) -> tuple[int, int]:
        """Return the units since the last restart, and the length of the half cosine that began there."""
        length = self.t_0
        if self.t_mult == 1:
            return t % length, length
        while t >= length:
            t, length = t - length, length * self.t_mult
        return t, length
