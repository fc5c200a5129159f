"""What runs that are trained together have come to, by column; `mlpkit.trainer` follows one run likewise."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mlpkit.schema.scheduler import Plateau
from mlpkit.session import Session
from mlpkit.state import Progress, Scores

Columns = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Moment:
    """What is known of all members after an epoch, by the members' rows.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split, then by name.
        rates: learning rates of the last step, by the program's blocks.
        norms: (K, 1), of the last step's gradients.
        seconds: time since training began.
        wall_time: seconds since 1970.
    """

    epoch: int
    step: int
    scores: Mapping[str, Mapping[str, Columns]]
    rates: Sequence[float]
    norms: Tensor
    seconds: float
    wall_time: float

    def scores_of(self, row: int) -> dict[str, Scores]:
        """Return a member's scores by split."""
        return {
            split: {name: float(values[row]) for name, values in scores.items()}
            for split, scores in self.scores.items()
        }


class Standing:
    """The best epochs of some runs, and how long their scores have been stale."""

    def __init__(self, sessions: Sequence[Session], higher_is_better: bool) -> None:
        """Take over what the runs know of themselves.

        Args:
            sessions: the runs, in the order of their rows.
            higher_is_better: whether the monitored score is to rise.
        """
        self.sessions, self.sign = sessions, 1.0 if higher_is_better else -1.0
        configs = [session.config for session in sessions]
        own = [session.trainer.progress for session in sessions]

        def column(values: Iterator[float | None], missing: float, sign: float = 1.0) -> Columns:
            return np.array([missing if value is None else sign * value for value in values])

        self.best_value = column((p.best_value for p in own), -math.inf, self.sign)
        self.best_loss = column((p.best_loss for p in own), math.inf)
        self.best_epoch = np.array([p.best_epoch for p in own])
        self.best_step = np.array([p.best_step for p in own])
        self.best_moment: list[Moment | dict[str, Scores]] = [p.best_scores for p in own]
        self.stopping_value = column((p.stopping_value for p in own), -math.inf, self.sign)
        self.stale = np.array([p.stale_epochs for p in own])
        stopping = [config.trainer.early_stopping for config in configs]
        self.patience = column((of.patience for of in stopping), math.inf)
        self.min_delta = np.array([of.min_delta for of in stopping])
        self.with_delta = self.min_delta > 0
        self.with_plateau = [row for row, c in enumerate(configs) if isinstance(c.scheduler, Plateau)]

    def follow(self, moment: Moment, values: Columns, losses: Columns) -> Columns:
        """As `Trainer.follow`, for all at once.

        Args:
            moment: the epoch's.
            values: (K,) of the monitored score.
            losses: (K,) of the monitored split.

        Returns:
            (K,) of booleans, which runs are better than they ever were.
        """
        signed = self.sign * values
        better: Columns = (signed > self.best_value) | (
            (signed == self.best_value) & (losses < self.best_loss)
        )
        if better.any():
            self.best_value[better], self.best_loss[better] = signed[better], losses[better]
            self.best_epoch[better], self.best_step[better] = moment.epoch, moment.step
            for row in np.nonzero(better)[0].tolist():
                self.best_moment[row] = moment
        enough = better
        if self.with_delta.any():
            enough = np.where(self.with_delta, signed > self.stopping_value + self.min_delta, better)
        self.stopping_value[enough] = signed[enough]
        self.stale += 1
        self.stale[enough] = 0
        for row in self.with_plateau:
            config = self.sessions[row].config
            plateau = self.sessions[row].trainer.progress.plateau
            assert isinstance(config.scheduler, Plateau)
            plateau.update(float(values[row]), config.scheduler, config.optimizer.lr, self.sign > 0)
        return better

    def best_values(self) -> list[float]:
        """Return the best monitored values."""
        values: list[float] = (self.sign * self.best_value).tolist()
        return values

    def stopped_early(self) -> list[int]:
        """Return the rows of the runs whose scores have been stale for as long as they allow."""
        rows: list[int] = np.nonzero(self.stale >= self.patience)[0].tolist()
        return rows

    def write(self, row: int, progress: Progress) -> None:
        """Write down in a run's progress what it has come to."""
        progress.stale_epochs = int(self.stale[row])
        if math.isfinite(self.stopping_value[row]):
            progress.stopping_value = self.sign * float(self.stopping_value[row])
        if self.best_epoch[row]:
            best = self.best_moment[row]
            progress.best_epoch, progress.best_step = int(self.best_epoch[row]), int(self.best_step[row])
            progress.best_value = self.sign * float(self.best_value[row])
            progress.best_loss = float(self.best_loss[row])
            progress.best_scores = best.scores_of(row) if isinstance(best, Moment) else best
