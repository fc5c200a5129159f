"""What the scores of K runs decide: best epochs, early stopping and the plateau schedule."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

from mlpkit.config.config import Config
from mlpkit.runs.state import Progress, Scores
from mlpkit.schedules.plateau import Plateau, PlateauState
from mlpkit.tasks import Task


class ScoresOfRuns(Protocol):
    """The scores of an epoch, of all runs."""

    @property
    def epoch(self) -> int:
        """Epochs done."""

    @property
    def step(self) -> int:
        """Optimizer steps done."""

    def scores_of(self, run: int) -> dict[str, Scores]:
        """Return a run's scores by split."""


@dataclass
class Tracked:
    """One run's best epoch, and what its scores are compared with.

    Values are signed: a higher one is better.

    Attributes:
        patience: epochs without an improvement after which it stops; None for never.
        min_delta: how much better than `stopping_value` a value must be to count for early stopping.
        plateau: the plateau schedule's options; None for another schedule.
        lr: its base learning rate.
        best_value: the best monitored value; None before the first epoch.
        best_loss: the loss of the monitored split at that time.
        best_epoch: epochs done by then.
        best_step: optimizer steps done by then.
        best_scores: all scores at that time, by split; or the scores of all runs, and this one's place.
        stopping_value: the value that early stopping compares with.
        improved_epoch: the last epoch that counted as an improvement for early stopping.
        plateau_state: of the plateau schedule.
    """

    patience: int | None
    min_delta: float
    plateau: Plateau | None
    lr: float
    best_value: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    best_scores: dict[str, Scores] | tuple[ScoresOfRuns, int] = field(default_factory=dict)
    stopping_value: float | None = None
    improved_epoch: int = 0
    plateau_state: PlateauState = field(default_factory=PlateauState)


class Tracker:
    """Follows the monitored scores of runs, each by itself."""

    def __init__(self, task: Task, configs: Sequence[Config]) -> None:
        """Begin with runs that have no scores yet.

        Args:
            task: names the monitored score and its direction.
            configs: of the runs.
        """
        self.task, self.sign = task, 1.0 if task.higher_is_better else -1.0
        self.runs = [_tracked(config) for config in configs]

    def update_best(
        self, scores: ScoresOfRuns, values: Sequence[float], losses: Sequence[float]
    ) -> list[int]:
        """Take the scores of an epoch.

        Args:
            scores: all of them.
            values: of the monitored score, one for each run.
            losses: of the monitored split, likewise.

        Returns:
            The runs that are better than they ever were; among equal values the lower loss is better. NaN
            is never better.
        """
        better = []
        for index, run in enumerate(self.runs):
            value, loss, best = self.sign * values[index], losses[index], run.best_value
            if best is None:
                is_better = value == value
            else:
                is_equal = value == best and run.best_loss is not None and loss < run.best_loss
                is_better = value > best or is_equal
            if is_better:
                run.best_value, run.best_loss = value, loss
                run.best_epoch, run.best_step = scores.epoch, scores.step
                run.best_scores = scores, index
                better.append(index)
            if run.min_delta > 0 and value == value:
                is_better = run.stopping_value is None or value > run.stopping_value + run.min_delta
            if is_better:
                run.stopping_value, run.improved_epoch = value, scores.epoch
            if run.plateau is not None:
                run.plateau_state.update(values[index], run.plateau, run.lr, self.sign > 0)
        return better

    def stopped_early(self, epoch: int) -> list[int]:
        """Return the runs whose scores have been stale for as long as early stopping allows."""
        return [
            index
            for index, run in enumerate(self.runs)
            if run.patience is not None and epoch - run.improved_epoch >= run.patience
        ]

    def take(self, runs: Sequence[int]) -> "Tracker":
        """Return a tracker of some of the runs."""
        taken = Tracker(self.task, [])
        taken.runs = [self.runs[run] for run in runs]
        return taken

    def multiplier(self, run: int) -> float:
        """Return the factor by which the plateau schedule has lowered a run's learning rate."""
        return self.runs[run].plateau_state.multiplier

    def best_values(self) -> tuple[list[float], list[float]]:
        """Return the runs' best monitored values so far, and the losses there."""
        values = [self.sign * (math.nan if of.best_value is None else of.best_value) for of in self.runs]
        return values, [math.nan if of.best_loss is None else of.best_loss for of in self.runs]

    def write(self, run: int, progress: Progress) -> None:
        """Write what a run has come to into its progress; `restore` is the inverse."""
        of = self.runs[run]
        if isinstance(of.best_scores, tuple):
            scores, place = of.best_scores
            of.best_scores = scores.scores_of(place)
        progress.best_epoch, progress.best_step = of.best_epoch, of.best_step
        progress.best_value, progress.best_loss = self._signed(of.best_value), of.best_loss
        progress.best_scores, progress.stopping_value = of.best_scores, self._signed(of.stopping_value)
        progress.stale_epochs = progress.epoch - of.improved_epoch
        progress.plateau = deepcopy(of.plateau_state)

    def restore(self, run: int, progress: Progress) -> None:
        """Follow a run from where its checkpoint is."""
        of = self.runs[run]
        of.best_epoch, of.best_step = progress.best_epoch, progress.best_step
        of.best_value, of.best_loss = self._signed(progress.best_value), progress.best_loss
        of.best_scores, of.stopping_value = progress.best_scores, self._signed(progress.stopping_value)
        of.improved_epoch = progress.epoch - progress.stale_epochs
        of.plateau_state = deepcopy(progress.plateau)

    def _signed(self, value: float | None) -> float | None:
        return None if value is None else self.sign * value


def _tracked(config: Config) -> Tracked:
    stopping, scheduler = config.trainer.early_stopping, config.scheduler
    plateau = scheduler if isinstance(scheduler, Plateau) else None
    return Tracked(stopping.patience, stopping.min_delta, plateau, config.optimizer.lr)
