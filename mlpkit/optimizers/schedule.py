"""Combines a schedule with its warm-up into one function: step -> multiplier of `optimizer.lr`.

The schedule's own time starts when the warm-up ends.
"""

import math
from collections.abc import Callable

from mlpkit.config.scheduler import SchedulerConfig

PARTS = 10_000  # of trainer.time_limit, the units of a schedule over time


def build_schedule(
    config: SchedulerConfig, lr: float, steps_per_epoch: int, epochs: int, time_limit: float | None = None
) -> Callable[[int, float], float]:
    """Return the function from the number of steps taken, and the seconds passed, to the multiplier of `lr`.

    Args:
        config: the config's scheduler section.
        lr: the base learning rate; options that are learning rates (eta_min) are divided by it.
        steps_per_epoch: optimizer steps in an epoch.
        epochs: epochs of the run; a schedule over the whole run ends after the last one.
        time_limit: `trainer.time_limit`, at which a schedule over time ends.
    """
    warmup = config.warmup_steps
    over_time = config.multiplier(lr, PARTS) if config.is_over_time() else None
    limit = time_limit or math.inf
    unit = steps_per_epoch if config.counts_epochs() else 1
    whole_run = max(1, -(-(steps_per_epoch * epochs - warmup) // unit))  # rounded up
    after = config.multiplier(lr, whole_run)

    def multiplier(step: int, seconds: float) -> float:
        if step < warmup:  # torch LinearLR(start_factor=1 / (warmup + 1), total_iters=warmup)
            return (step + 1) / (warmup + 1)
        if over_time is not None:
            return over_time(min(int(PARTS * (seconds / limit)), PARTS - 1))
        try:
            return after((step - warmup) // unit)
        except OverflowError:  # a growing lr is too large for a float; training will report divergence
            return math.inf

    return multiplier
