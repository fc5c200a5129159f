"""From a schedule and its warm-up to one function: step -> multiplier of `optimizer.lr`.

Warm-up comes in front: the schedule's own time begins where it ends.
"""

import math

from mlpkit.config.scheduler import Multiplier, SchedulerConfig


def build_schedule(config: SchedulerConfig, lr: float, steps_per_epoch: int, epochs: int) -> Multiplier:
    """Return the function from the number of steps taken to the multiplier of `lr`.

    Args:
        config: the scheduler's section.
        lr: the base rate; options that are rates themselves (eta_min) are divided by it.
        steps_per_epoch: optimizer steps in an epoch.
        epochs: epochs of the run; a schedule over the whole run ends with them.
    """
    warmup = config.warmup_steps
    unit = steps_per_epoch if config.counts_epochs() else 1
    whole_run = max(1, -(-(steps_per_epoch * epochs - warmup) // unit))  # a part of an epoch counts as one
    after = config.multiplier(lr, whole_run)

    def multiplier(step: int) -> float:
        if step < warmup:  # torch LinearLR(start_factor=1 / (warmup + 1), total_iters=warmup)
            return (step + 1) / (warmup + 1)
        try:
            return after((step - warmup) // unit)
        except OverflowError:  # a growing rate beyond what a number can be; the loss will say the same
            return math.inf

    return multiplier
