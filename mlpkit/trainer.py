"""The loop: train an epoch, evaluate, follow the scores, log, save."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from mlpkit.batches import rows_of_steps, steps_per_epoch
from mlpkit.config import Config
from mlpkit.engines import Engine
from mlpkit.errors import NonFiniteError
from mlpkit.schedules import PlateauState, build_schedule
from mlpkit.schema.scheduler import Plateau
from mlpkit.tasks import Task

Scores = dict[str, float]


@dataclass
class Progress:
    """Where the loop is; together with the engine's tensors, all that a checkpoint restores.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        best_epoch: epoch after which the monitored score was best, of equals the loss; 0 before the first.
        best_step: steps done by then.
        best_value: the monitored score at that time; None before the first.
        best_loss: the loss of the monitored split at that time.
        stale_epochs: epochs since it last improved by more than early_stopping.min_delta.
        stopping_value: the value that early stopping compares with.
        plateau: state of the plateau schedule.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_step: int = 0
    best_value: float | None = None
    best_loss: float | None = None
    stale_epochs: int = 0
    stopping_value: float | None = None
    plateau: PlateauState = field(default_factory=PlateauState)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split; those of train are of the epoch's batches, each before its update.
        lr: learning rate of the epoch's last step.
        grad_norm: norm of the last step's gradient before clipping.
        seconds: time since training began.
        rows: training rows seen since then.
    """

    epoch: int
    step: int
    scores: dict[str, Scores]
    lr: float
    grad_norm: float
    seconds: float
    rows: int


class Trainer:
    """Runs an engine for the epochs that the config asks for."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        task: Task,
        rows: int,
        monitored: str,
        report: Callable[[EpochReport], None],
        save: Callable[["Trainer"], None],
        tick: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Build the schedule.

        Args:
            config: the whole config.
            engine: what takes the steps.
            task: names the monitored score and its direction.
            rows: number of training rows.
            monitored: the split that is scored after each epoch.
            report: called after each epoch.
            save: called when a checkpoint is due, and at the end.
            tick: called after each step with the share of the epoch that is done; what it raises stops
                the run there.
        """
        trainer = config.trainer
        self.config, self.engine, self.task = config, engine, task
        self.rows, self.monitored, self.report, self.save, self.tick = rows, monitored, report, save, tick
        self.progress = Progress()
        self.scores: dict[str, Scores] = {}  # of the last epoch
        self.best_model: dict[str, Tensor] | None = None
        self.best_scores: dict[str, Scores] = {}
        self.steps_per_epoch = steps_per_epoch(rows, trainer.batch_size, trainer.accumulate)
        self.schedule = build_schedule(
            config.scheduler, config.optimizer.lr, self.steps_per_epoch, trainer.epochs
        )
        self.saved_best = 0  # the step of the best weights that are on the disk
        self.rate = config.optimizer.lr
        self.seconds = 0.0
        self.rows_seen = 0

    def fit(self) -> None:
        """Train to the last epoch, or until early stopping.

        Raises:
            NonFiniteError: the loss became infinite or NaN; what was saved before stays.
        """
        progress, every = self.progress, self.config.trainer.checkpoint_every
        started = saved = time.perf_counter()
        saved_epoch = 0
        while progress.epoch < self.config.trainer.epochs and not self.stopped_early():
            train = self.train_epoch()
            scores = self.evaluate(train)
            self.follow(scores[self.monitored])
            self.seconds = time.perf_counter() - started
            self.report(
                EpochReport(
                    epoch=progress.epoch,
                    step=progress.step,
                    scores=scores,
                    lr=self.rate,
                    grad_norm=self.engine.gradient_norm(),
                    seconds=self.seconds,
                    rows=self.rows_seen,
                )
            )
            if _is_due(every, progress.epoch, time.perf_counter() - saved):
                self.save(self)
                saved, saved_epoch = time.perf_counter(), progress.epoch
        if saved_epoch != progress.epoch:
            self.save(self)

    def train_epoch(self) -> Scores:
        """Take the steps of one epoch and return the scores of its batches."""
        trainer, progress, lr = self.config.trainer, self.progress, self.config.optimizer.lr
        epoch, last = progress.epoch, self.steps_per_epoch - 1
        batches = rows_of_steps(self.rows, trainer.batch_size, trainer.accumulate, self.config.seed, epoch)
        for index, rows in enumerate(batches):
            self.rate = lr * self.schedule(progress.step) * progress.plateau.multiplier
            self.engine.step(rows, self.rate, epoch, progress.step, measure=index == last)
            progress.step += 1
            self.tick((index + 1) / self.steps_per_epoch)
        progress.epoch += 1
        self.rows_seen += self.rows
        return self.engine.collect()

    def evaluate(self, train: Scores) -> dict[str, Scores]:
        """Score the monitored split; stop where a loss is no number, before it can be remembered or saved."""
        progress, monitored = self.progress, self.engine.evaluate(self.monitored)
        for split, values in (("train", train), (self.monitored, monitored)):
            if not math.isfinite(values["loss"]):
                steps = f"steps {progress.step - self.steps_per_epoch + 1} to {progress.step}"
                raise NonFiniteError(
                    f"{split} loss={values['loss']} in epoch {progress.epoch} ({steps}): training diverged; "
                    "try a lower optimizer.lr or set trainer.clip_norm=1"
                )
        # Where there is only train, its scores are those after the epoch, which are what is monitored.
        self.scores = {"train": train, self.monitored: monitored}
        return self.scores

    def follow(self, scores: Scores) -> None:
        """Remember the best weights, and let early stopping and the plateau schedule see the score."""
        progress, stopping = self.progress, self.config.trainer.early_stopping
        value, loss = scores[self.task.monitor], scores["loss"]
        better = self.task.beats(value, loss, progress.best_value, progress.best_loss)
        if better:
            progress.best_value, progress.best_loss = value, loss
            progress.best_epoch, progress.best_step = progress.epoch, progress.step
            self.best_model, self.best_scores = self.engine.model_state(), self.scores
        if stopping.min_delta > 0:
            better = self.task.improves(value, progress.stopping_value, stopping.min_delta)
        if better:
            progress.stopping_value, progress.stale_epochs = value, 0
        else:
            progress.stale_epochs += 1
        if isinstance(self.config.scheduler, Plateau):
            lr, higher = self.config.optimizer.lr, self.task.higher_is_better
            progress.plateau.update(value, self.config.scheduler, lr, higher)

    def stopped_early(self) -> bool:
        """Whether the monitored score has been stale for as long as early stopping allows."""
        patience = self.config.trainer.early_stopping.patience
        return patience is not None and self.progress.stale_epochs >= patience


def _is_due(every: int | str, epoch: int, seconds: float) -> bool:
    if isinstance(every, int):
        return epoch % every == 0
    match = re.fullmatch(r"(\d+)s", every)
    return match is not None and seconds >= int(match[1])
