"""Decay when the monitored score stops improving: the only schedule that depends on scores."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mlpkit.config.registry import choice
from mlpkit.config.scheduler import Multiplier, SchedulerConfig
from mlpkit.config.section import NotNegative


@choice("scheduler")
class Plateau(SchedulerConfig):
    """Decay when the monitored score stops improving (torch ReduceLROnPlateau)."""

    name: Literal["plateau"]
    factor: float = Field(0.1, gt=0, lt=1, description="factor of a decay")
    patience: int = Field(10, ge=0, le=10**9, description="epochs without improvement before a decay")
    threshold: NotNegative = Field(1e-4, description="smallest change that counts as improvement")
    threshold_mode: Literal["rel", "abs"] = Field("rel", description="threshold is relative or absolute")
    cooldown: int = Field(0, ge=0, le=10**9, description="epochs to wait after a decay")
    min_lr: NotNegative = Field(0.0, description="lowest learning rate")
    eps: NotNegative = Field(1e-8, description="smallest change of lr; a smaller decay is ignored")

    def multiplier(self, lr: float, whole_run: int) -> Multiplier:
        """Return a constant 1: the decay is a separate factor, `PlateauState.multiplier`."""
        return lambda t: 1.0


@dataclass
class PlateauState:
    """State of the plateau schedule of one run.

    Attributes:
        multiplier: current factor of the learning rate.
        best: best monitored score so far.
        bad_epochs: epochs since the last improvement.
        cooldown: epochs left to wait after a decay.
    """

    multiplier: float = 1.0
    best: float | None = None
    bad_epochs: int = 0
    cooldown: int = 0

    def update(self, value: float, config: Plateau, lr: float, higher_is_better: bool) -> None:
        """Update with the monitored score of an epoch, and decay if it is due."""
        if self._improves(value, config, higher_is_better):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.cooldown > 0:
            self.cooldown -= 1
            self.bad_epochs = 0
        if self.bad_epochs > config.patience:
            current_lr = lr * self.multiplier
            lower = max(current_lr * config.factor, config.min_lr)
            if current_lr - lower > config.eps:
                self.multiplier = lower / lr
            self.cooldown, self.bad_epochs = config.cooldown, 0

    def _improves(self, value: float, config: Plateau, higher_is_better: bool) -> bool:
        if self.best is None:  # torch starts with the worst possible value
            return value > -math.inf if higher_is_better else value < math.inf
        margin = config.threshold * (self.best if config.threshold_mode == "rel" else 1.0)
        return value > self.best + margin if higher_is_better else value < self.best - margin
