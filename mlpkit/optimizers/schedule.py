"""Combines a schedule with its warm-up into one function: step -> multiplier of `optimizer.lr`.

The schedule's own time starts when the warm-up ends.
"""

import math

from mlpkit.config.scheduler import Multiplier, SchedulerConfig


def build_schedule(config: SchedulerConfig, lr: float, steps_per_epoch: int, epochs: int) -> Multiplier:
    """Return the function from the number of steps taken to the multiplier of `lr`.

    Args:
        config: the config's scheduler section.
        lr: the base learning rate; options that are learning rates (eta_min) are divided by it.
        steps_per_epoch: optimizer steps in an epoch.
        epochs: epochs of the run; a schedule over the whole run ends after the last one.
    """
    warmup = config.warmup_steps
    unit = steps_per_epoch if config.counts_epochs() else 1
    whole_run = max(1, -(-(steps_per_epoch * epochs - warmup) // unit))  # rounded up
    after = config.multiplier(lr, whole_run)

    def multiplier(step: int) -> float:
        if step < warmup:  # torch LinearLR(start_factor=1 / (warmup + 1), total_iters=warmup)
            return (step + 1) / (warmup + 1)
        try:
            return after((step - warmup) // unit)
        except OverflowError:  # a growing lr is too large for a float; training will report divergence
            return math.inf

    return multiplier
