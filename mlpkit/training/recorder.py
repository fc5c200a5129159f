"""Writes one run's files: metrics, log, checkpoints, summary and plots."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mlpkit.config.config import to_dict
from mlpkit.config.problems import plural
from mlpkit.engines.batches import Steps
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.frames import shapes_of_frame
from mlpkit.errors import NonFiniteError, RunInterruptedError, WriteError, reason_of
from mlpkit.folders.film_file import FilmFile
from mlpkit.folders.metrics_file import MetricsPosition
from mlpkit.folders.origin import resume_command
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.state import Progress, Scores, State
from mlpkit.models.architecture import architecture
from mlpkit.plots.drawing import drawing
from mlpkit.system.console import note, say
from mlpkit.system.device import describe_device
from mlpkit.training.checkpoint_files import CheckpointFiles
from mlpkit.training.display import TrainingDisplay
from mlpkit.training.one_file import OneFile
from mlpkit.training.outcome import diagnosis, outcome_lines, print_outcome
from mlpkit.training.records import EpochReport
from mlpkit.training.run_log import NoLog, RunLog


class Recorder:
    """Writes a run's files into its folder, which must be locked, and shows its progress.

    Attributes:
        experiment: the run's config, dataset, task and network.
        folder: the run folder.
        splits: the splits that are scored at the end.
        checkpoints: the run's checkpoints on the disk.
        saved_at: (epochs done, batches done in the running epoch) at the last save; None before the first.
        scores: scores after the last epoch, by split; used until the trainer has scores of its own.
        resumed_from: the line that names the checkpoint of a resumed run.
        is_minimal: whether the run leaves one file (run.files=minimal).
        has_begun: whether the files have been opened and the first lines written.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        console: Console | None,
        with_test: bool = True,
        warn: Callable[[str], None] = note,
    ) -> None:
        """Make a recorder that has written nothing yet.

        Args:
            console: where a run that is not part of a sweep shows its progress; None in a sweep.
            with_test: score the test split at the end; a search scores only its winner on it.
            warn: called once for each logger that the run goes on without.
        """
        self.experiment, self.folder, self.config = experiment, folder, experiment.config
        self.console = console if self.config.run.progress != "none" else None
        self.is_alone = console is not None
        self._warn_of_logger = warn
        self.splits = [name for name in experiment.dataset.splits if with_test or name != "test"]
        self.is_minimal = self.config.run.files == "minimal"
        self.checkpoints = (OneFile if self.is_minimal else CheckpointFiles)(experiment, folder)
        self.saved_at: tuple[int, int] | None = None
        self.scores: dict[str, Scores] = {}
        self.resumed_from: str | None = None
        self._display: TrainingDisplay | None = None
        self._log_files: RunLog | None = None
        self._latest: EpochReport | None = None
        self._is_summarized = False
        self._failure: BaseException | None = None
        self.has_begun = False

    def note_resumed(self, path: Path, state: State) -> None:
        """Record that the run is resumed from a checkpoint, and save its best weights as the best ones.

        Raises:
            WriteError: the best weights cannot be written.
        """
        progress = state.progress
        self.scores = state.scores
        self.resumed_from = f"resumed from {path.name}: epoch {progress.epoch}, step {progress.step}"
        if state.scores:
            norms = state.epoch.get("gradient_norm")
            norm = 0.0 if norms is None else float(norms.mean())
            steps = Steps.of(self.config.trainer, len(self.experiment.dataset.splits["train"]))
            rows = steps.rows_until(progress.epoch * steps.per_epoch)
            done = progress.epoch, progress.step, state.scores, progress.lr, norm, progress.seconds, rows
            self._latest = EpochReport(*done, time.time())
        self.checkpoints.resume(state)
        self.saved_at = progress.epoch, progress.batch

    def begin(self, engine: Engine, position: MetricsPosition | None = None) -> None:
        """Open the files and print what is trained and how; `close` or `fail` closes them.

        Args:
            engine: trains the run.
            position: where to continue metrics.jsonl; None in a new folder.

        Raises:
            WriteError: a file cannot be opened.
        """
        config, dataset, task = self.config, self.experiment.dataset, self.experiment.task
        step = self.checkpoints.last_step or 0
        self._log_files = (
            NoLog()
            if self.is_minimal
            else RunLog(self.folder, config.run.loggers, position, step, self._warn_of_logger, self._film())
        )
        if config.run.loggers:
            self._files.config(config, architecture(config, dataset.input_schema))
        rows = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
        if "val" in dataset.splits and (folds := dataset.splits["val"].folds):
            rows += f"; each member is validated on one of {len(folds)} folds and trained on the others"
        self._print(f"{dataset.title}: {task.name}, {rows}")
        size, members = plural(self.experiment.parameters, "parameter"), config.model.members
        loss, of = self.experiment.loss, f" of {members} members" if members > 1 else ""
        self._print(f"{config.model.name}: {size}{of}; loss: {loss.on_output(task.name)}")
        self._print(f"engine: {engine.name} ({engine.reason})")
        self._print(describe_device(engine.device, config.device))
        if engine.matmul.reason:
            self._print(f"matrix products: {engine.matmul.level} ({engine.matmul.reason})")
        if self.resumed_from:
            self._print(self.resumed_from)
        self._display = TrainingDisplay(
            self.console or Console(quiet=True),
            config.run.progress if self.console else "none",
            config.trainer.epochs,
            dataset.monitored,
            task.monitor,
            self._latest,
        )
        self.has_begun = True

    def show_progress(self, share: float) -> None:
        """Show the fraction (0 to 1) of the running epoch that is done."""
        if self._display is not None:
            self._display.on_step(share)

    def log(self, epoch: EpochReport) -> None:
        """Log an epoch's scores and show them."""
        self._latest = epoch
        if epoch.epoch % self.config.trainer.log_every == 0:
            self._log(epoch)
        if self._display is not None and (line := self._display.epoch(epoch)):
            self._files.text(line)

    def record_frame(self, epoch: int, weights: bytes) -> None:
        """Add a frame to the film, which must be asked for."""
        self._files.frame(epoch, weights)

    def note_threads(self, threads: int, step: int) -> None:
        """Log that the run continues with fewer threads, and record their number with the next checkpoint."""
        before = torch.get_num_threads()
        self.checkpoints.note_threads(threads)
        self._print(
            f"others use the cores, and steps take several times as long: from step {step} on {threads} "
            f"thread{'s' if threads > 1 else ''} instead of {before} (trainer.threads={before} keeps them)"
        )

    @property
    def wants_epochs(self) -> bool:
        """Whether `log` keeps or shows the scores of an epoch."""
        return self.is_alone or not self.is_minimal

    def save(self, state: State, at_end: bool = False) -> None:
        """Save the state as the newest checkpoint, and the best weights if they have improved.

        Args:
            state: the state.
            at_end: whether the run has ended, and `finish` or `fail` follows.

        Raises:
            WriteError: a checkpoint cannot be written.
            NonFiniteError: the state holds infinities or NaN.
        """
        self._files.sync()
        self.checkpoints.save(state, at_end)
        self.saved_at = state.progress.epoch, state.progress.batch

    def finish(self, summary: dict[str, Any], progress: Progress, seconds: float) -> None:
        """Write the final scores and the summary; the last checkpoint must have been saved."""
        self._stop_display()
        if self._latest is not None and progress.epoch % self.config.trainer.log_every:
            self._log(self._latest)
        logged = "train", self.experiment.dataset.monitored
        if others := {name: summary[name] for name in self.splits if name not in logged}:
            self._files.scores(progress.epoch, progress.step, others, seconds, time.time())
        settings = to_dict(self.config)
        self._files.hparams({name: settings[name] for name in settings if name not in ("run", "format")})
        self._files.sync()
        self.checkpoints.write_summary(summary)
        self._is_summarized = True
        for line in outcome_lines(summary, self.config.trainer):
            self._files.text(line)
        if self.console is not None:
            print_outcome(self.console, self.experiment, summary)
        self._print(*(diagnosis(self.experiment, self.folder) if self.is_alone else ()))

    def draw(self, progress: Progress) -> None:
        """Draw the run's plots; the network must hold the best weights."""
        if self.config.run.plots and not self.is_minimal:
            with drawing("pictures", self._warn):
                from mlpkit.training.probabilities import probabilities_of
                from mlpkit.training.run_pictures import draw_run

                if self.config.run.loggers:
                    found = probabilities_of(self.experiment, self.splits)
                    self._files.probabilities(progress.step, found)
                for path in draw_run(self.experiment, self.folder, self.splits, progress, self._warn):
                    self._files.picture(progress.step, path)

    def close(self) -> None:
        """Print the run folder and close the files."""
        self._print(f"run folder: {self.folder.path}")
        self._files.close()

    def fail(self, error: BaseException, signal_number: int | None = None) -> BaseException:
        """Mark the run as failed or interrupted and close its files; return the error to show.

        Later calls return the error of the first one.

        Args:
            error: the reason.
            signal_number: the signal that arrived, if any.
        """
        if self._failure is not None:
            return self._failure
        self._stop_display()
        if isinstance(error, KeyboardInterrupt):
            error = RunInterruptedError(signal_number or signal.SIGINT, f"interrupted; {self.resume_hint()}")
        elif isinstance(error, NonFiniteError) and self.is_alone:  # a sweep's report names the run folder
            error = NonFiniteError(f"{error}; the run so far is in {self.folder.path}")
        self._failure = error
        reason = reason_of(error)
        status = "interrupted" if isinstance(error, RunInterruptedError) else "failed"
        # On a full disk these writes fail as well; the first error is the one to show.
        with suppress(WriteError):
            if not self._is_summarized:  # an error while plotting keeps the scores
                self.checkpoints.write_failure({"status": status, "error": reason})
            if self._log_files is not None:
                self._log_files.text(f"{status}: {reason}")
        with suppress(WriteError):
            if self._log_files is not None:
                self._log_files.close()
        return error

    def resume_hint(self) -> str:
        """Return whether the run was saved and, unless it is part of a sweep, the command to resume it."""
        saved = "saved" if self.saved_at is not None else "nothing was saved yet"
        return f"{saved}; to go on: {resume_command(self.folder.path)}" if self.is_alone else saved

    def _film(self) -> FilmFile | None:
        every, (epoch, _) = self.config.run.film, self.saved_at or (0, 0)
        if every is None:
            return None
        return FilmFile(self.folder.film, every, shapes_of_frame(self.experiment.network), epoch)

    def _warn(self, line: str) -> None:
        self._files.text(line)
        if self.is_alone:
            note(line)

    @property
    def _files(self) -> RunLog:
        assert self._log_files is not None, "begin() opens the files"
        return self._log_files

    def _stop_display(self) -> None:
        if self._display is not None:
            self._display.stop(self._latest)
            self._display = None

    def _print(self, *lines: str) -> None:
        for line in lines:
            self._files.text(line)
        if self.console is not None:
            say(self.console, *lines)

    def _log(self, epoch: EpochReport) -> None:
        extra = {"lr": epoch.lr, "grad_norm": epoch.grad_norm}
        seconds, now = epoch.seconds, epoch.wall_time
        self._files.scores(epoch.epoch, epoch.step, epoch.scores, seconds, now, epoch.layers, **extra)
