"""What every learning-rate schedule has, and what it gives: a multiplier of `optimizer.lr`."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from mlpkit.config.section import Section

Multiplier = Callable[[int], float]  # of the learning rate, from the time that has passed


class SchedulerConfig(Section):
    """A schedule. A new one has a name, options and `multiplier`."""

    name: str
    warmup_steps: int = Field(
        0, ge=0, le=10**9, description="steps of linear warm-up in front of the schedule"
    )

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return the function from time to the multiplier of the learning rate.

        It is a closed form of the time, so that a run can be resumed anywhere.

        Args:
            lr: the base rate, by which options that are rates themselves are divided.
            whole_run: the time that the run has, without warm-up; at least 1.
        """
        raise NotImplementedError(f"scheduler={self.name} has no multiplier")

    def spans_the_run(self) -> bool:
        """Whether the multiplier depends on `whole_run`."""
        return False

    def counts_epochs(self) -> bool:
        """Whether time is the number of whole epochs that have passed, instead of optimizer steps."""
        return False


class EpochSchedule(SchedulerConfig):
    """A schedule whose time is counted in epochs unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("epoch", description="what the schedule counts")

    def counts_epochs(self) -> bool:
        """See `SchedulerConfig.counts_epochs`."""
        return self.unit == "epoch"


class StepSchedule(EpochSchedule):
    """A schedule whose time is counted in optimizer steps unless `unit` says otherwise."""

    unit: Literal["epoch", "step"] = Field("step", description="what the schedule counts")
