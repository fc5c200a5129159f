"""Warm-up, stable, decay (Hu et al. 2024)."""

import math
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, WholeRunSchedule
from mlpkit.config.section import Factor

SHAPES: dict[
    str, Callable[[float], float]
] = {  # (share of the decay that is over) -> share of lr - end that is left
    "linear": lambda share: 1 - share,
    "cos": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "sqrt": lambda share: 1 - math.sqrt(share),
}


@choice("scheduler")
class WarmupStableDecay(WholeRunSchedule):
    """lr until near the end of the run, then down to end_factor; set warmup_steps for a warm-up."""

    name: Literal["wsd"]
    decay_fraction: Factor = Field(0.2, description="share of the run, without warm-up, spent falling")
    end_factor: float = Field(0.0, ge=0, le=1, description="factor of lr at the end")
    shape: Literal["linear", "cos", "sqrt"] = Field("sqrt", description="shape of the fall; sqrt: 1 - √share")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return 1 until decay_fraction of the run is left, then a fall to end_factor."""
        length = max(1, round(self.decay_fraction * whole_run))
        start, left = whole_run - length, SHAPES[self.shape]

        def multiplier(t: int) -> float:
            share = min(max(0, t - start) / length, 1)
            return self.end_factor + (1 - self.end_factor) * left(share)

        return multiplier

    def spans_the_run(self) -> bool:
        """See `SchedulerConfig.spans_the_run`."""
        return True
