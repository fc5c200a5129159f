"""Base classes of learning-rate schedules, which return a multiplier of `optimizer.lr`."""

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from mlpkit.config.section import Section

Multiplier = Callable[[int], float]  # time (steps or epochs since the start) -> factor of the learning rate


class SchedulerConfig(Section):
    """A schedule. A new one defines a name, options and `multiplier`."""

    to_define: ClassVar[tuple[str, ...]] = ("multiplier",)
    name: str
    warmup_steps: int = Field(
        0, ge=0, le=10**9, description="steps of linear warm-up in front of the schedule"
    )

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return a function of time: the factor of the learning rate.

        It is a pure function, so that a run can be resumed at any step.

        Args:
            lr: the base learning rate; divide options that are learning rates, such as eta_min, by it.
            whole_run: length of the run without warm-up, in epochs or steps; at least 1.
        """
        raise NotImplementedError(f"scheduler={self.name} has no multiplier")

    def spans_the_run(self) -> bool:
        """Whether the multiplier depends on `whole_run`."""
        return False

    def counts_epochs(self) -> bool:
        """Whether time is counted in epochs; otherwise in optimizer steps."""
        return False

    def is_over_time(self) -> bool:
        """Whether the run is measured in seconds, up to `trainer.time_limit`, and not in steps."""
        return False


class EpochSchedule(SchedulerConfig):
    """A schedule with the option `unit`, by default epochs."""

    unit: Literal["epoch", "step"] = Field("epoch", description="unit of the schedule's time")

    def counts_epochs(self) -> bool:
        """See `SchedulerConfig.counts_epochs`."""
        return self.unit == "epoch"


class StepSchedule(EpochSchedule):
    """A schedule with the option `unit`, by default optimizer steps."""

    unit: Literal["epoch", "step"] = Field("step", description="unit of the schedule's time")


class WholeRunSchedule(StepSchedule):
    """A schedule over the whole run, which may go by the clock."""

    over: Literal["steps", "time"] = Field(
        "steps",
        description="what the run is measured in; time: the share of trainer.time_limit that has passed",
    )

    def is_over_time(self) -> bool:
        """See `SchedulerConfig.is_over_time`."""
        return self.over == "time"
