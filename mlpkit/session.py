"""One process's part in a run: it trains, shows, records and saves, until the end or an interruption."""

import os
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mlpkit import checkpoint
from mlpkit.atomic_write import atomic_write
from mlpkit.checkpoint import Checkpoint, not_finite
from mlpkit.config import to_dict
from mlpkit.console import TrainingDisplay, note, printable
from mlpkit.device import describe_device
from mlpkit.drawing import one_warning
from mlpkit.errors import (
    DataError,
    MlpkitError,
    NonFiniteError,
    RunInterruptedError,
    WriteError,
    diverged,
)
from mlpkit.experiment import Experiment
from mlpkit.interrupts import Wish
from mlpkit.logs import RunLog
from mlpkit.metrics_file import Kept, read_metrics
from mlpkit.models import count_parameters
from mlpkit.outcome import describe, print_outcome, summarize
from mlpkit.plain_json import write_json
from mlpkit.run_folder import RunFolder, step_of
from mlpkit.state import Progress, State
from mlpkit.trainer import EpochReport, Trainer


@dataclass(frozen=True)
class Trial:
    """What a search asks of a run: its test score is left to the winner, and it may end before its time.

    Attributes:
        leaves: (epochs done, best monitored value so far, its loss) -> whether to end there.
    """

    leaves: Callable[[int, float, float], bool] = lambda epoch, value, loss: False


class _PrunedError(Exception):
    """A run is not worth going on with."""


class Session:
    """Holds a run's folder, which is locked, while it is being trained."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        console: Console | None,
        wish: Wish,
        trial: Trial | None = None,
    ) -> None:
        """Take what a run needs.

        Args:
            experiment: what is trained.
            folder: where everything goes.
            console: where progress is shown; None where somebody else shows it.
            wish: to stop; asked after each step.
            trial: of a search; None for a run that stands for itself.
        """
        self.experiment, self.folder, self.wish, self.trial = experiment, folder, wish, trial
        self.config = experiment.config
        self.console = console
        self.is_shown = console is not None and self.config.run.progress != "none"
        self.trainer = Trainer(
            self.config,
            experiment.engine,
            experiment.task,
            len(experiment.dataset.splits["train"]),
            experiment.dataset.monitored,
            self._report_and_judge,
            self._save,
            self._tick,
        )
        self.good_last: int | None = None  # step of the newest checkpoint on the disk, where it is whole
        self.saved_best = 0  # step of the best weights that are on the disk
        self.summarized = False
        self.pruned = False  # ended before its time, by a search
        self.resumed: str | None = None  # says from where
        self.environment: dict[str, Any] | None = None  # to be written with the next checkpoint

    def restore(self, stored: Checkpoint, path: Path, kept: Kept) -> None:
        """Take a checkpoint to go on from.

        Args:
            stored: the checkpoint.
            path: where it lies.
            kept: what remains of metrics.jsonl.

        Raises:
            DataError: it is not one of this run.
        """
        try:
            self.trainer.load_state(stored.state)
        except DataError as error:
            raise DataError(f"{path}: {error}; resume from another checkpoint") from None
        self.trainer.seconds = kept.seconds
        self.good_last = stored.state.progress.step
        progress = stored.state.progress
        self.resumed = f"resumed from {path.name}: epoch {progress.epoch}, step {progress.step}"

    def run(self, kept: Kept | None = None) -> None:
        """Train to the end.

        Args:
            kept: what remains of metrics.jsonl; None in a new folder.

        Raises:
            MlpkitError: training or writing failed, or was interrupted; the run is marked so.
        """
        self.begin(kept)
        try:
            self.introduce()
            self._train()
            self.finish()
        except BaseException as error:
            failure = self.fail(error)
            if failure is error:
                raise
            raise failure from None

    def begin(self, kept: Kept | None = None) -> None:
        """Open the records; `finish` or `fail` closes them.

        Raises:
            WriteError: one cannot be opened.
        """
        self.log = RunLog(self.folder, self.config.run.tensorboard, kept, self.trainer.progress.step)

    def fail(self, error: BaseException) -> BaseException:
        """Mark the run as failed or interrupted; return the error to show."""
        if isinstance(error, KeyboardInterrupt):
            number = self.wish.signal_number or signal.SIGINT
            error = RunInterruptedError(number, f"interrupted; {self._way_on()}")
        reason = str(error) if isinstance(error, MlpkitError) else type(error).__name__
        status = "interrupted" if isinstance(error, RunInterruptedError) else "failed"
        # On a full disk these fail as well, and the first error is the one to show.
        with suppress(WriteError):
            if not self.summarized:  # what stops the pictures does not take the scores away
                write_json(self.folder.summary, {"status": status, "error": reason})
            self.log.text(f"{status}: {reason}")
        with suppress(WriteError):
            self.log.close()
        return error

    def introduce(self) -> None:
        """Say what is trained, and how."""
        config, dataset = self.config, self.experiment.dataset
        task, engine, matmul = self.experiment.task, self.experiment.engine, self.experiment.matmul
        rows = {name: len(split) for name, split in dataset.splits.items()}
        self._say(f"{dataset.name}: {task.name}, " + ", ".join(f"{n:,} {name}" for name, n in rows.items()))
        parameters = count_parameters(self.experiment.network)
        because = self.experiment.because
        self._say(f"{config.model.name}: {parameters:,} parameters; engine: {engine.name} ({because})")
        self._say(describe_device(self.experiment.device, config.device))
        if matmul.reason:
            self._say(f"matrix products: {matmul.level} ({matmul.reason})")
        if self.resumed:
            self._say(self.resumed)

    def _train(self) -> None:
        config, dataset, trainer = self.config, self.experiment.dataset, self.trainer
        task = self.experiment.task
        assert self.console is not None
        past = trainer.epoch_report() if trainer.scores else None
        self.display = TrainingDisplay(
            self.console, config.run.progress, config.trainer.epochs, dataset.monitored, task.monitor, past
        )
        try:
            trainer.fit()
        except RunInterruptedError as error:
            trainer.save_news()
            progress = trainer.progress
            raise RunInterruptedError(
                error.signal_number,
                f"interrupted after epoch {progress.epoch}, step {progress.step}; {self._way_on()}",
            ) from None
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}; the run so far is in {self.folder.path}") from None
        except _PrunedError:
            self.pruned = True
            trainer.save_news()
        finally:
            self.display.stop(trainer.epoch_report() if trainer.scores else None)

    def finish(self) -> None:
        """Write the final scores and draw the pictures. All that was trained has been saved."""
        config, trainer, log = self.config, self.trainer, self.log
        self.wish.at_once = True
        if self.wish.signal_number is not None:
            raise KeyboardInterrupt
        progress, monitored = trainer.progress, self.experiment.dataset.monitored
        if progress.epoch % config.trainer.log_every:
            self._log(trainer.epoch_report())
        splits = [name for name in self.experiment.dataset.splits if name != "test" or self.trial is None]
        summary = summarize(self.experiment, trainer, splits, self.pruned)
        final = {name: summary[name] for name in splits}
        extra = {name: scores for name, scores in final.items() if name not in ("train", monitored)}
        if extra:
            log.scores(progress.epoch, progress.step, extra, trainer.seconds, time.time())
        settings = to_dict(config)
        log.hparams({name: settings[name] for name in settings if name not in ("run", "format")})
        log.sync()
        write_json(self.folder.summary, summary)
        self.summarized = True
        for line in describe(summary):
            log.text(line)
        if self.console is not None and self.is_shown:
            print_outcome(self.console, self.experiment, summary)
        if config.run.plots:
            self._draw()
        self._say(f"run folder: {self.folder.path}")
        log.close()

    # ------------------------------------------------------------------- what the trainer calls back

    def report(self, epoch: EpochReport) -> None:
        """Record an epoch."""
        if epoch.epoch % self.config.trainer.log_every == 0:
            self._log(epoch)
        if line := self.display.epoch(epoch):
            self.log.text(line)

    def _report_and_judge(self, epoch: EpochReport) -> None:
        self.report(epoch)
        progress, epochs = self.trainer.progress, self.config.trainer.epochs
        if self.trial is None or progress.epoch == epochs or self.trainer.stopped_early():
            return
        assert progress.best_value is not None and progress.best_loss is not None
        if self.trial.leaves(progress.epoch, progress.best_value, progress.best_loss):
            raise _PrunedError

    def _tick(self, share: float) -> None:
        self.wish.check()
        self.display.tick(share)

    def _save(self, trainer: Trainer) -> None:
        """Write the newest checkpoint, and the best one where there is a better one.

        At every instant the folder holds a whole checkpoint: the one before stays under its step's name
        until a newer one takes the place of `last`.
        """
        self.log.sync()
        folder, state = self.folder, trainer.state()
        progress, dataset = state.progress, self.experiment.dataset
        signature, fingerprint = dataset.signature, dataset.fingerprint
        if bad := next(not_finite(state.tensors()), None):
            raise diverged(progress.step, progress.epoch + (progress.batch > 0), f"{bad} is not finite")
        if trainer.best_model is not None and self.saved_best != progress.best_step:
            at_best = Progress(epoch=progress.best_epoch, step=progress.best_step)
            best = State(at_best, progress.best_scores, trainer.best_model)
            checkpoint.save(folder.best, Checkpoint(self.config, signature, best, fingerprint))
            self.saved_best = progress.best_step
        keep = self.config.trainer.keep_last - 1
        if keep and self.good_last is not None and self.good_last < progress.step:
            _link(folder.last, folder.at_step(self.good_last))
        checkpoint.save(folder.last, Checkpoint(self.config, signature, state, fingerprint))
        self.good_last = progress.step
        if self.environment is not None:
            write_json(folder.environment, self.environment)
            self.environment = None
        older = folder.older()
        kept = [path for path in older if step_of(path) < progress.step][:keep]
        for path in older:
            if path not in kept:
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------- records

    def _say(self, line: str) -> None:
        self.log.text(line)
        if self.console is not None and self.is_shown:
            self.console.print(printable(line), markup=False)

    def _log(self, epoch: EpochReport) -> None:
        self.log.scores(
            epoch.epoch,
            epoch.step,
            epoch.scores,
            epoch.seconds,
            epoch.wall_time,
            lr=epoch.lr,
            grad_norm=epoch.grad_norm,
        )

    def _way_on(self) -> str:
        kept = "saved" if self.good_last is not None else "nothing was saved yet"
        return f"{kept}; to go on: mlpkit resume {shlex.quote(str(self.folder.path))}"

    def _draw(self) -> None:
        with one_warning("pictures", self._warn):
            self._draw_all()

    def _warn(self, line: str) -> None:
        self.log.text(line)
        if self.console is not None:
            note(line)

    def _draw_all(self) -> None:
        from mlpkit.plots import draw_pictures
        from mlpkit.predict import Predictor

        experiment, trainer, dataset = self.experiment, self.trainer, self.experiment.dataset
        if self.trial is not None:
            shown = {name: rows for name, rows in dataset.splits.items() if name != "test"}
            dataset = replace(dataset, splits=shown)
        if trainer.best_model is not None:
            experiment.engine.load_model_state(trainer.best_model)
        signature, epoch = dataset.signature, trainer.progress.best_epoch
        predictor = Predictor(experiment.network, signature, experiment.device, epoch)
        lines = read_metrics(self.folder.metrics)
        for path in draw_pictures(self.folder, predictor, dataset, lines, self._warn):
            self.log.picture(trainer.progress.step, path)


def _link(path: Path, name: Path) -> None:
    """Give a checkpoint a second name; a copy does where the file system knows no links."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        atomic_write(name, path.read_bytes())
