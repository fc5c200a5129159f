"""One-cycle policy (Smith, Topin 2018)."""

import math
from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, WholeRunSchedule
from mlpkit.config.section import Factor, Positive


@choice("scheduler")
class OneCycle(WholeRunSchedule):
    """Up to lr and down again over the whole run (torch OneCycleLR, momentum left alone)."""

    name: Literal["onecycle"]
    pct_start: Factor = Field(0.3, description="share of the run spent rising")
    anneal_strategy: Literal["cos", "linear"] = Field("cos", description="shape of the rise and the fall")
    div_factor: Positive = Field(25.0, description="the first learning rate is lr / div_factor")
    final_div_factor: Positive = Field(
        1e4, description="the last learning rate is the first / final_div_factor"
    )

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Rise to 1 over the first pct_start of the run, then fall to 1 / (div_factor · final_div_factor)."""
        first = 1 / self.div_factor
        last = first / self.final_div_factor
        top = self.pct_start * whole_run - 1
        end = whole_run - 1

        def multiplier(t: int) -> float:
            if t <= top:
                return self._between(first, 1.0, t / top if top > 0 else 1.0)
            return self._between(1.0, last, (t - top) / (end - top))

        return multiplier

    def spans_the_run(self) -> bool:
        """See `SchedulerConfig.spans_the_run`."""
        return True

    def _between(self, start: float, stop: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (stop - start) * share
        return stop + (start - stop) / 2 * (1 + math.cos(math.pi * share))
