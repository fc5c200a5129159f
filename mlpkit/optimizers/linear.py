"""Linear decay."""

from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, WholeRunSchedule
from mlpkit.config.section import Count, Factor


@choice("scheduler")
class LinearDecay(WholeRunSchedule):
    """A straight line between two factors of lr (torch LinearLR)."""

    name: Literal["linear"]
    start_factor: Factor = Field(1.0, description="first factor of lr")
    end_factor: float = Field(0.0, ge=0, le=1, description="last factor of lr")
    total_iters: Count | None = Field(None, description="units of the line; null: the whole run")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return a line from start_factor to end_factor over total_iters units, then constant."""
        start, end, total = self.start_factor, self.end_factor, self.total_iters or whole_run
        return lambda t: start + (end - start) * min(t, total) / total

    def spans_the_run(self) -> bool:
        """See `SchedulerConfig.spans_the_run`."""
        return self.total_iters is None
