"""Tracks the scores of K runs: best epochs, early stopping and the plateau schedule."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

from mlpkit.config.config import Config
from mlpkit.folders.state import Progress, Scores
from mlpkit.optimizers.plateau import Plateau, PlateauState
from mlpkit.tasks import Task


class ScoresOfRuns(Protocol):
    """The scores of all runs after an epoch."""

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
    """The state that a tracker keeps for one run.

    Values are signed so that higher is better.

    Attributes:
        patience: epochs without improvement after which the run stops; None to never stop early.
        min_delta: the smallest increase over `stopping_value` that early stopping counts as improvement.
        is_relative: whether `min_delta` is a share of `stopping_value`.
        time_limit: seconds of training after which the run stops.
        plateau: the options of a plateau schedule; None for another schedule.
        lr: the base learning rate.
        keeps_last: whether the last epoch counts as the best.
        best_value: the best monitored value; None before the first epoch.
        best_loss: the monitored split's loss at the best epoch.
        best_epoch: the best epoch, counted from 1; 0 before the first.
        best_step: optimizer steps done at the end of the best epoch.
        best_scores: all scores at the best epoch, by split; or (scores of all runs, index of this run).
        stopping_value: the value that early stopping compares with.
        improved_epoch: the last epoch that early stopping counted as improvement.
        plateau_state: the state of the plateau schedule.
    """

    patience: int | None
    min_delta: float
    is_relative: bool
    time_limit: float
    plateau: Plateau | None
    lr: float
    keeps_last: bool
    best_value: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    best_scores: dict[str, Scores] | tuple[ScoresOfRuns, int] = field(default_factory=dict)
    stopping_value: float | None = None
    improved_epoch: int = 0
    plateau_state: PlateauState = field(default_factory=PlateauState)

    @property
    def margin(self) -> float:
        """How much `stopping_value` must be exceeded; see `min_delta`."""
        of = abs(self.stopping_value or 0.0) if self.is_relative else 1.0
        return self.min_delta * of


class Tracker:
    """Tracks the monitored scores of K independent runs."""

    def __init__(self, task: Task, configs: Sequence[Config]) -> None:
        """Start with runs that have no scores yet.

        Args:
            task: gives the monitored score and its direction.
            configs: the runs' configs.
        """
        self.task, self.sign = task, 1.0 if task.higher_is_better else -1.0
        self.runs = [_tracked(config) for config in configs]

    def update_best(
        self,
        scores: ScoresOfRuns,
        values: Sequence[float],
        losses: Sequence[float],
        stopping: Sequence[float] | None = None,
    ) -> list[int]:
        """Update best epochs, early stopping and plateaus with the scores of an epoch.

        Args:
            scores: all scores of all runs.
            values: (K,) monitored scores.
            losses: (K,) losses on the monitored split.
            stopping: (K,) monitored scores for early stopping and plateaus; None: those of `values`.

        Returns:
            The runs with a new best epoch. Among equal scores the lower loss is better; NaN is never better,
            unless the last epoch counts as the best.
        """
        better = []
        for index, run in enumerate(self.runs):
            value, loss = self.sign * values[index], losses[index]
            is_better = self.task.beats(values[index], loss, self._signed(run.best_value), run.best_loss)
            if is_better or run.keeps_last:
                run.best_value, run.best_loss = value, loss
                run.best_epoch, run.best_step = scores.epoch, scores.step
                run.best_scores = scores, index
                better.append(index)
            if stopping is not None:
                value = self.sign * stopping[index]
            if (run.min_delta > 0 or stopping is not None or run.keeps_last) and value == value:
                is_better = run.stopping_value is None or value > run.stopping_value + run.margin
            if is_better:
                run.stopping_value, run.improved_epoch = value, scores.epoch
            if run.plateau is not None:
                run.plateau_state.update(self.sign * value, run.plateau, run.lr, self.sign > 0)
        return better

    def stopped_early(self, epoch: int, seconds: float) -> list[int]:
        """Return the runs that have not improved for `patience` epochs, or have reached their time limit."""
        return [
            index
            for index, run in enumerate(self.runs)
            if (run.patience is not None and epoch - run.improved_epoch >= run.patience)
            or seconds > run.time_limit
        ]

    def select_runs(self, runs: Sequence[int]) -> "Tracker":
        """Return a tracker that shares the state of the given runs."""
        selected = Tracker(self.task, [])
        selected.runs = [self.runs[run] for run in runs]
        return selected

    def multiplier(self, run: int) -> float:
        """Return the factor with which the plateau schedule multiplies a run's learning rate."""
        return self.runs[run].plateau_state.multiplier

    def best_values(self) -> tuple[list[float], list[float]]:
        """Return the runs' best monitored scores so far, and their losses at that epoch; NaN before any."""
        values = [self.sign * (math.nan if run.best_value is None else run.best_value) for run in self.runs]
        return values, [math.nan if run.best_loss is None else run.best_loss for run in self.runs]

    def write(self, run: int, progress: Progress) -> None:
        """Copy a run's tracked state into its progress; `restore` is the inverse."""
        tracked = self.runs[run]
        if isinstance(tracked.best_scores, tuple):
            scores, index = tracked.best_scores
            tracked.best_scores = scores.scores_of(index)
        progress.best_epoch, progress.best_step = tracked.best_epoch, tracked.best_step
        progress.best_value, progress.best_loss = self._signed(tracked.best_value), tracked.best_loss
        progress.best_scores = tracked.best_scores
        progress.stopping_value = self._signed(tracked.stopping_value)
        progress.stale_epochs = progress.epoch - tracked.improved_epoch
        progress.plateau = deepcopy(tracked.plateau_state)

    def restore(self, run: int, progress: Progress) -> None:
        """Restore a run's tracked state from its progress."""
        tracked = self.runs[run]
        tracked.best_epoch, tracked.best_step = progress.best_epoch, progress.best_step
        tracked.best_value, tracked.best_loss = self._signed(progress.best_value), progress.best_loss
        tracked.best_scores = progress.best_scores
        tracked.stopping_value = self._signed(progress.stopping_value)
        tracked.improved_epoch = progress.epoch - progress.stale_epochs
        tracked.plateau_state = deepcopy(progress.plateau)

    def _signed(self, value: float | None) -> float | None:
        return None if value is None else self.sign * value


def _tracked(config: Config) -> Tracked:
    stopping, scheduler = config.trainer.early_stopping, config.scheduler
    plateau = scheduler if isinstance(scheduler, Plateau) else None
    limit = config.trainer.time_limit or math.inf
    is_relative = stopping.min_delta_mode == "rel"
    lr, keeps_last = config.optimizer.lr, config.trainer.best_epoch == "last"
    return Tracked(stopping.patience, stopping.min_delta, is_relative, limit, plateau, lr, keeps_last)
