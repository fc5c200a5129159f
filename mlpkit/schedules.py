"""Learning-rate schedules: step -> multiplier of `optimizer.lr`.

Each is a closed form of the step and equal to the torch class that its docstring names. `Plateau` alone
keeps state. With `unit: epoch` a schedule's time is the number of whole epochs passed; with `unit: step`
the number of optimizer steps. Warm-up comes in front: the schedule's own time begins where it ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mlpkit.config import scheduler as c

Multiplier = Callable[[int], float]


def build_schedule(config: c.SchedulerConfig, lr: float, steps_per_epoch: int, epochs: int) -> Multiplier:
    """Return the function from the number of steps taken to the multiplier of `lr`.

    Args:
        config: the scheduler's section.
        lr: the base rate; options that are rates themselves (eta_min) are divided by it.
        steps_per_epoch: optimizer steps in an epoch.
        epochs: epochs of the run; a schedule over the whole run ends with them.
    """
    warmup = config.warmup_steps
    by_epoch = getattr(config, "unit", "step") == "epoch"
    unit = steps_per_epoch if by_epoch else 1
    whole_run = max(1, -(-(steps_per_epoch * epochs - warmup) // unit))  # a part of an epoch counts as one
    after = _after_warmup(config, lr, whole_run)

    def multiplier(step: int) -> float:
        if step < warmup:  # torch LinearLR(start_factor=1 / (warmup + 1), total_iters=warmup)
            return (step + 1) / (warmup + 1)
        try:
            return after((step - warmup) // unit)
        except OverflowError:  # a growing rate beyond what a number can be; the loss will say the same
            return math.inf

    return multiplier


def spans_the_run(config: c.SchedulerConfig) -> bool:
    """Whether a schedule's rates depend on how many epochs the run has."""
    if isinstance(config, c.CosineDecay):
        return config.t_max is None
    if isinstance(config, c.LinearDecay):
        return config.total_iters is None
    return isinstance(config, c.OneCycle)


def _after_warmup(config: c.SchedulerConfig, lr: float, whole_run: int) -> Multiplier:
    if isinstance(config, c.StepDecay):
        return lambda t: config.gamma ** (t // config.step_size)
    if isinstance(config, c.MultiStepDecay):
        return lambda t: config.gamma ** sum(t >= milestone for milestone in config.milestones)
    if isinstance(config, c.ExponentialDecay):
        return lambda t: config.gamma**t
    if isinstance(config, c.CosineDecay):
        return cosine(config.t_max or whole_run, config.eta_min / lr)
    if isinstance(config, c.LinearDecay):
        return linear(config.start_factor, config.end_factor, config.total_iters or whole_run)
    if isinstance(config, c.OneCycle):
        return one_cycle(config, whole_run)
    return lambda t: 1.0


def cosine(t_max: int, lowest: float) -> Multiplier:
    """lowest + (1 - lowest)(1 + cos(π t / t_max)) / 2 (torch CosineAnnealingLR)."""
    return lambda t: lowest + (1 - lowest) * (1 + math.cos(math.pi * t / t_max)) / 2


def linear(start: float, end: float, total: int) -> Multiplier:
    """From start to end in `total` units, then constant (torch LinearLR)."""
    return lambda t: start + (end - start) * min(t, total) / total


def one_cycle(config: c.OneCycle, total: int) -> Multiplier:
    """Rise to 1 in the first pct_start of the run, fall to almost nothing in the rest (torch OneCycleLR)."""
    first = 1 / config.div_factor
    last = first / config.final_div_factor
    top = config.pct_start * total - 1
    end = total - 1

    def between(start: float, stop: float, share: float) -> float:
        if config.anneal_strategy == "linear":
            return start + (stop - start) * share
        return stop + (start - stop) / 2 * (1 + math.cos(math.pi * share))

    def multiplier(t: int) -> float:
        if t <= top:
            return between(first, 1.0, t / top if top > 0 else 1.0)
        return between(1.0, last, (t - top) / (end - top))

    return multiplier


@dataclass
class PlateauState:
    """Decays when the monitored score stops improving (torch ReduceLROnPlateau).

    Attributes:
        multiplier: current factor of the learning rate.
        best: best monitored value so far.
        bad_epochs: epochs since then.
        cooldown: epochs left to wait after a decay.
    """

    multiplier: float = 1.0
    best: float | None = None
    bad_epochs: int = 0
    cooldown: int = 0

    def update(self, value: float, config: c.Plateau, lr: float, higher_is_better: bool) -> None:
        """Take the monitored value of an epoch."""
        if self._improves(value, config, higher_is_better):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.cooldown > 0:
            self.cooldown -= 1
            self.bad_epochs = 0
        if self.bad_epochs > config.patience:
            rate = lr * self.multiplier
            lower = max(rate * config.factor, config.min_lr)
            if rate - lower > config.eps:
                self.multiplier = lower / lr
            self.cooldown, self.bad_epochs = config.cooldown, 0

    def _improves(self, value: float, config: c.Plateau, higher_is_better: bool) -> bool:
        if self.best is None:  # torch begins with the worst value there is
            return value > -math.inf if higher_is_better else value < math.inf
        margin = config.threshold * (self.best if config.threshold_mode == "rel" else 1.0)
        return value > self.best + margin if higher_is_better else value < self.best - margin
