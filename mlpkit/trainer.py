"""The loop: train an epoch, evaluate, follow the scores, log, save."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from mlpkit.batches import rows_of_steps, steps_per_epoch
from mlpkit.collapse import CollapseWatch
from mlpkit.config import Config
from mlpkit.engines import Engine
from mlpkit.errors import DataError, diverged
from mlpkit.schedules import build_schedule
from mlpkit.schema.scheduler import Plateau
from mlpkit.state import Progress, Scores, State, Tensors
from mlpkit.tasks import Task


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
        wall_time: seconds since 1970.
    """

    epoch: int
    step: int
    scores: dict[str, Scores]
    lr: float
    grad_norm: float
    seconds: float
    rows: int
    wall_time: float


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
        take_fewer_threads: Callable[[int], None] = lambda threads: None,
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
            tick: called after each step, and between parts of an evaluation, with the share of the epoch
                that is done; what it raises stops the run there.
            take_fewer_threads: called with their number after a step, where others have taken the cores.
        """
        trainer = config.trainer
        self.config, self.engine, self.task = config, engine, task
        self.rows, self.monitored, self.report, self.save, self.tick = rows, monitored, report, save, tick
        self.take_fewer_threads = take_fewer_threads
        may_change = trainer.threads == "auto" and engine.device == "cpu"
        self.watch = CollapseWatch(torch.get_num_threads() if may_change else 1)
        self.progress = Progress()
        self.scores: dict[str, Scores] = {}  # of the last epoch
        self.best_model: Tensors | None = None
        self.is_due = when_due(trainer.checkpoint_every)
        self.steps_per_epoch = steps_per_epoch(rows, trainer.batch_size, trainer.accumulate)
        self.schedule = build_schedule(
            config.scheduler, config.optimizer.lr, self.steps_per_epoch, trainer.epochs
        )
        self.seconds = 0.0  # of training, this process's and those before it
        self._saved_at, self._saved_position = 0.0, self._position()

    # ------------------------------------------------------------------------------------ the loop

    def fit(self) -> None:
        """Train to the last epoch, or until early stopping.

        Raises:
            NonFiniteError: a loss or a gradient became infinite or NaN; what was saved before stays.
        """
        started = time.perf_counter() - self.seconds
        self._saved_at = time.perf_counter()
        while self.progress.epoch < self.config.trainer.epochs and not self.stopped_early():
            self.train_epoch()
            self.evaluate()
            self.follow(self.scores[self.monitored])
            self.seconds = time.perf_counter() - started
            self.report(self.epoch_report())
            if self.is_due(self.progress, self._saved_at):
                self.save_now()
        self.save_news()

    def epoch_report(self) -> EpochReport:
        """Return what is known after the last epoch."""
        progress = self.progress
        return EpochReport(
            epoch=progress.epoch,
            step=progress.step,
            scores=self.scores,
            lr=progress.lr,
            grad_norm=self.engine.gradient_norm(),
            seconds=self.seconds,
            rows=progress.epoch * self.rows,
            wall_time=time.time(),
        )

    def train_epoch(self) -> None:
        """Take the steps of an epoch that are still to be taken."""
        trainer, progress, seed = self.config.trainer, self.progress, self.config.seed
        batches = rows_of_steps(
            self.rows,
            trainer.batch_size,
            trainer.accumulate,
            seed,
            progress.epoch,
            progress.batch,
            self.engine.device,
        )
        for rows in batches:
            progress.lr = self.rate(progress.step)
            last = progress.batch == self.steps_per_epoch - 1
            self.engine.step(rows, progress.lr, progress.epoch, progress.step, measure=last)
            progress.batch += 1
            progress.step += 1
            self.tick(progress.batch / self.steps_per_epoch)
            if threads := self.watch.after_step():
                self.take_fewer_threads(threads)
            if not last and self.is_due(progress, self._saved_at):
                self.save_now()

    def evaluate(self) -> None:
        """Score the epoch and the monitored split, and end the epoch.

        Raises:
            NonFiniteError: a loss is no finite number; the scores are not remembered.
        """
        monitored = self.engine.evaluate(self.monitored, poll=lambda: self.tick(1.0))
        # From here on nothing stops the epoch half-way.
        train = self.engine.collect()
        self.progress.epoch += 1
        self.progress.batch = 0
        for split, values in (("train", train), (self.monitored, monitored)):
            if not math.isfinite(values["loss"]):
                what = f"{split} loss={values['loss']}"
                raise diverged(self.progress.step, self.progress.epoch, what)
        # Where there is only train, its scores are those after the epoch, which are what is monitored.
        self.scores = {"train": train, self.monitored: monitored}

    def follow(self, scores: Scores) -> None:
        """Remember the best weights, and let early stopping and the plateau schedule see the score."""
        progress, stopping = self.progress, self.config.trainer.early_stopping
        value, loss = scores[self.task.monitor], scores["loss"]
        better = self.task.beats(value, loss, progress.best_value, progress.best_loss)
        if better:
            progress.best_value, progress.best_loss = value, loss
            progress.best_epoch, progress.best_step = progress.epoch, progress.step
            progress.best_scores = self.scores
            self.best_model = self.engine.model_state()
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

    def rate(self, step: int) -> float:
        """Return the learning rate after so many steps."""
        return self.config.optimizer.lr * self.schedule(step) * self.progress.plateau.multiplier

    # ------------------------------------------------------------------------------------- saving

    def state(self) -> State:
        """Return a copy of all that the loop needs to go on; `load_state` is the inverse."""
        progress = copy.deepcopy(self.progress)
        best = self.best_model if self.best_model is not None and not progress.best_is_now else {}
        return State(
            progress=progress,
            scores=self.scores,
            model=self.engine.model_state(),
            optimizer=self.engine.optimizer_state(),
            epoch=self.engine.epoch_state(),
            best=best,
        )

    def load_state(self, state: State) -> None:
        """Go on from a state.

        Raises:
            DataError: it is not one of this run.
        """
        progress, rows = state.progress, state.epoch.get("losses")
        at_step = progress.epoch * self.steps_per_epoch + progress.batch
        seen = self.rows_in(progress.batch)
        if (
            progress.step != at_step
            or progress.batch > self.steps_per_epoch
            or progress.best_epoch > progress.epoch
        ):
            raise DataError(f"step {progress.step} is not in epoch {progress.epoch}, batch {progress.batch}")
        if (0 if rows is None else len(rows)) != seen:
            raise DataError(f"the running epoch has seen {seen} rows, and the checkpoint holds others")
        if seen and not _equal(state.epoch.get("rows"), self._rows_until(progress)):
            raise DataError("the rows that the running epoch has seen are not those of its config")
        if progress.epoch and not progress.best_epoch:
            raise DataError("it holds the best weights alone, and not where training was")
        if progress.best_epoch and not progress.best_is_now and not state.best:
            raise DataError("the best weights are missing")
        if progress.step and not state.optimizer and self.config.optimizer.slots():
            raise DataError("the optimizer's tensors are missing")
        self.progress, self.scores = copy.deepcopy(progress), state.scores
        self._saved_position = self._position()
        self.engine.load_model_state(state.model)
        self.engine.load_optimizer_state(state.optimizer)
        self.engine.load_epoch_state(state.epoch)
        if progress.best_epoch:
            self.best_model = state.best or self.engine.model_state()

    def save_now(self) -> None:
        """Save, and remember when and where."""
        self.save(self)
        self._saved_at, self._saved_position = time.perf_counter(), self._position()

    def save_news(self) -> None:
        """Save, unless that was done here already."""
        if self._saved_position != self._position():
            self.save_now()

    def _rows_until(self, progress: Progress) -> Tensor | None:
        """Return the rows that the running epoch has seen by then; None for a full batch."""
        trainer, seed = self.config.trainer, self.config.seed
        steps = rows_of_steps(self.rows, trainer.batch_size, trainer.accumulate, seed, progress.epoch)
        rows = [rows for rows in islice(steps, progress.batch) if not isinstance(rows, slice)]
        return torch.cat(rows) if rows else None

    def rows_in(self, batches: int) -> int:
        """Return how many training rows the first steps of an epoch see."""
        size, accumulate = self.config.trainer.batch_size, self.config.trainer.accumulate
        return min(self.rows, batches * (self.rows if size == "full" else size * accumulate))

    def _position(self) -> tuple[int, int]:
        return self.progress.epoch, self.progress.batch


def _equal(rows: Tensor | None, others: Tensor | None) -> bool:
    return rows is others if rows is None or others is None else torch.equal(rows, others)


def when_due(every: int | str) -> Callable[[Progress, float], bool]:
    """Return whether checkpoint_every asks for a save: (where the loop is, when the last one was) -> answer.

    Args:
        every: epochs (an integer), `Nsteps` or `Ns`.
    """
    if isinstance(every, int):
        return lambda progress, saved_at: progress.batch == 0 and progress.epoch % every == 0
    if every.endswith("steps"):
        steps = int(every.removesuffix("steps"))
        return lambda progress, saved_at: progress.step % steps == 0
    seconds = float(every.removesuffix("s"))
    return lambda progress, saved_at: time.perf_counter() - saved_at >= seconds
