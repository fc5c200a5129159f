"""The loop: train an epoch, evaluate, update the best weights, log, save; for K runs at once.

A single run is the case K = 1. A run leaves when it is done, stops early, fails or is pruned.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from mlpkit.engines.device_data import Sums
from mlpkit.engines.engine import Engine
from mlpkit.engines.frames import frames_of_runs
from mlpkit.errors import RunInterruptedError, diverged
from mlpkit.folders.state import Progress, Scores
from mlpkit.system.collapse import watch_threads
from mlpkit.training.layers import report_layers
from mlpkit.training.pending_scores import PendingScores
from mlpkit.training.rates import LearningRates
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochScores, as_list, not_finite_losses, select_runs, when_due
from mlpkit.training.results import FinishedRuns, try_each, write_results
from mlpkit.training.states import progress_of, state_of
from mlpkit.training.stop import StopRequest
from mlpkit.training.tracker import Tracker

# (runs, epochs done, their best monitored values so far, the losses there) -> indices of the runs to prune
Judge = Callable[[Sequence[Recorder], int, Sequence[float], Sequence[float]], list[int]]


class Trainer:
    """Trains the runs of an engine until each is done, has stopped early, or has failed.

    Attributes:
        engine: trains the remaining runs.
        recorders: the remaining runs' recorders, in the engine's order.
        tracker: tracks the remaining runs' scores.
        progress: the epoch, batch and step that all runs are at.
        evaluated: the splits that are evaluated after an epoch; without train, it has running averages.
        rates: the runs' learning rates.
        seconds: training time, including that before the run was resumed.
    """

    def __init__(
        self,
        engine: Engine,
        recorders: Sequence[Recorder],
        stop: StopRequest,
        on_end: Callable[[Recorder, BaseException | None], None],
        on_step: Callable[["Trainer"], None] = lambda trainer: None,
        judge: Judge | None = None,
        alone: bool = False,
    ) -> None:
        """Start at epoch 0; `mlpkit.training.states.restore` restores resumed runs.

        Args:
            engine: takes the steps.
            recorders: the runs' recorders, in the engine's order.
            stop: checked after each step and between the batches of an evaluation.
            on_end: called with each finished run's recorder and its error, or None.
            on_step: called after each step.
            judge: chooses the trials of a search to prune; called once after each epoch but the last.
            alone: whether the process trains this one run and nothing else.
        """
        self.engine, self.recorders, self.stop = engine, list(recorders), stop
        self.on_end, self.on_step, self.judge, self.alone = on_end, on_step, judge, alone
        first = engine.experiments[0]
        self.config, self.task, self.monitored = first.config, first.task, first.dataset.monitored
        self.evaluated = [self.monitored]
        self.epochs, self.steps_per_epoch = self.config.trainer.epochs, engine.steps.per_epoch
        self.is_due = when_due(self.config.trainer.checkpoint_every)
        self.tracker = Tracker(self.task, [experiment.config for experiment in engine.experiments])
        self.progress, self.seconds = Progress(), 0.0
        self.scores: EpochScores | None = None  # of the last epoch
        self.rates = LearningRates(engine, self.tracker)
        self.watch = watch_threads(self.config.trainer.threads, engine.uses_threads)
        self._together, self._pending = len(recorders), PendingScores()  # the number of runs at the start
        self.judged_epoch = 0  # the epoch after which the judge was last called

    def fit(self) -> None:
        """Train until no run is left.

        Raises:
            RunInterruptedError: a stop signal arrived; all runs have been saved.
        """
        self.start_clock()
        try:
            self.record_frames()  # of the untrained networks
            while self.finish_runs():
                self.train_epoch()
                self.evaluate()
                self.update_best()
                self.log()
                self.record_frames()
                self.save_if_due()
        except RunInterruptedError as error:
            self._interrupt(error)
            raise
        except BaseException as error:  # an error that concerns all runs
            for recorder in self.recorders:
                recorder.fail(error)
            raise

    def train_epoch(self) -> None:
        """Take the remaining steps of the epoch."""
        progress, runs = self.progress, len(self.recorders)
        for rows in self.engine.rows_of_steps(progress.epoch, progress.batch):
            last = progress.batch == self.steps_per_epoch - 1
            lrs = self.rates.at(progress.step, time.perf_counter() - self._started)
            failures = self.engine.step(rows, lrs, progress.epoch, progress.step, measure=last)
            progress.batch += 1
            progress.step += 1
            if failures:
                place = progress.step, progress.epoch + 1
                self._fail({run: diverged(*place, what) for run, what in failures.items()})
            self.on_step(self)
            if threads := self.watch.after_step():
                self._use_fewer_threads(threads)
            self.stop.check()
            if not last and self.is_due(progress, self._saved_at):
                self.save()
            if len(self.recorders) < runs:  # some have failed: the batches are made again for the others
                return

    def evaluate(self) -> None:
        """Compute the scores of the epoch and of the monitored split, and end the epoch."""
        progress = self.progress
        self._fail(self.engine.failures())
        if not self.recorders or progress.batch < self.steps_per_epoch:
            return
        evaluated = {name: self.engine.evaluate(name, self.stop.check) for name in self.evaluated}
        # From here on a stop signal no longer interrupts the epoch. If train is evaluated, its scores are
        # those of the evaluation, not the averages over the epoch.
        sums = {"train": self.engine.collect()} | evaluated
        sums, self.seconds = self.engine.agree(sums, time.perf_counter() - self._started)
        sums = self._finite(sums)
        steps = self.engine.steps
        rows = {} if "train" in evaluated else {"train": steps.rows_in(progress.epoch, steps.per_epoch)}
        progress.epoch, progress.batch = progress.epoch + 1, 0
        if self.recorders:
            self.scores = EpochScores(
                progress.epoch,
                progress.step,
                {split: self.engine.scores(part, split, rows.get(split)) for split, part in sums.items()},
                self.rates.of_runs(),
                self.engine.norms,
                self.seconds,
                steps.rows_until(progress.step),
                time.time(),
                report_layers(self.engine, self.config, progress.epoch),
            )
            self._pending.add(self.scores)

    def update_best(self) -> None:
        """Update the tracker, and keep a copy of the weights of runs with a new best epoch."""
        if self.is_between_epochs() and self.scores is not None:
            monitored = self.scores.scores[self.monitored]
            values, losses = as_list(monitored[self.task.monitor]), as_list(monitored["loss"])
            if (kept := self.engine.keep_own_best()) is not None:  # by the loss, which is monitored
                best, scores = as_list(kept["loss"]), replace(self.scores, scores={self.monitored: kept})
                self.tracker.update_best(scores, best, best, stopping=losses)
            elif better := set(self.tracker.update_best(self.scores, values, losses)):
                self.engine.save_best([run in better for run in range(len(self.recorders))])

    def log(self) -> None:
        """Log the scores: of a single run at once, of several runs when enough have been collected."""
        if self._pending.are_due(len(self.recorders)):
            self.flush()

    def record_frames(self) -> None:
        """Record the weights for the runs' films every run.film epochs."""
        every, epoch, runs = self.config.run.film, self.progress.epoch, self.recorders
        if every is not None and epoch % every == 0 and self.is_between_epochs():
            frames = frames_of_runs(self.engine)
            self._fail(try_each(range(len(runs)), lambda i: runs[i].record_frame(epoch, frames[i]), False))

    def save_if_due(self) -> None:
        """Save after an epoch if a checkpoint is due."""
        if self.is_between_epochs() and self.is_due(self.progress, self._saved_at):
            self.save()

    def finish_runs(self) -> bool:
        """Finish the runs that are done, stop early or are pruned; return whether any is left."""
        if self.is_between_epochs():
            epoch = self.progress.epoch
            early, all_runs = self.tracker.stopped_early(epoch, self.seconds), range(len(self.recorders))
            self._finish(all_runs if epoch >= self.epochs else early)
            if self.judge is not None and self.recorders and self.judged_epoch < epoch:
                self.judged_epoch = epoch
                pruned = self.judge(self.recorders, epoch, *self.tracker.best_values())
                self._finish(pruned, pruned=True)
        return bool(self.recorders)

    def is_between_epochs(self) -> bool:
        """Whether runs are left and are at the start of an epoch."""
        return bool(self.recorders) and self.progress.batch == 0

    def scores_of(self, run: int) -> dict[str, Scores]:
        """Return a run's scores after the last epoch, by split."""
        return self.recorders[run].scores if self.scores is None else self.scores.scores_of(run)

    def start_clock(self) -> None:
        """Start the clock; the training time before a resume is included."""
        self._started = time.perf_counter() - self.seconds
        self._saved_at = time.perf_counter()

    def _finite(self, sums: dict[str, Sums]) -> dict[str, Sums]:
        """Fail the runs whose loss is infinite or NaN; return the sums of the others."""
        if not (errors := not_finite_losses(sums, self.progress.step, self.progress.epoch + 1)):
            return sums
        before = self.recorders
        self._fail(errors)
        kept = [run for run, recorder in enumerate(before) if recorder in self.recorders]
        return {split: select_runs(part, kept) for split, part in sums.items()} if kept else sums

    def flush(self) -> None:
        """Log all scores that have been collected."""
        self._fail(self._pending.log(self.recorders))

    def save(self) -> None:
        """Save all runs; a run that cannot be saved fails."""
        self._fail(self.engine.failures())
        self.seconds = time.perf_counter() - self._started
        self.flush()
        runs = range(len(self.recorders))
        self._fail(try_each(runs, lambda run: self.recorders[run].save(state_of(self, run))))
        self._saved_at = time.perf_counter()

    def _use_fewer_threads(self, threads: int) -> None:
        """Save, then continue with fewer threads: their rounding may differ, and a resumed run repeats it."""
        step, runs = self.progress.step, range(len(self.recorders))
        self._fail(try_each(runs, lambda run: self.recorders[run].note_threads(threads, step)))
        self.save()
        torch.set_num_threads(threads)

    def _save_if_changed(self, run: int, at_end: bool = False) -> None:
        if self.recorders[run].saved_at != (self.progress.epoch, self.progress.batch):
            self.recorders[run].save(state_of(self, run), at_end)

    def _finish(self, runs: Sequence[int], pruned: bool = False) -> None:
        """Save some runs, write their results and drop them."""
        if not runs:
            return
        leaving = [self.recorders[run] for run in runs]
        self.flush()
        self._fail(try_each(self._indices(leaving), lambda run: self._save_if_changed(run, at_end=True)))
        if runs := self._indices(leaving):
            leaving = [self.recorders[run] for run in runs]
            progress = [progress_of(self, run) for run in runs]
            finished = FinishedRuns(progress, self.seconds, self._together, pruned, self.alone)
            engine = self.engine.select_runs(runs, to_end=True)
            self._drop(leaving)
            try:
                results = write_results(engine, leaving, finished, self.stop)
            except BaseException as error:
                for recorder in leaving:
                    recorder.fail(error, self.stop.signal_number)
                raise
            for recorder, failure in results.items():
                self.on_end(recorder, failure)
            self.stop.check()

    def _fail(self, errors: Mapping[int, Exception]) -> None:
        """Mark some runs as failed and drop them."""
        if errors:
            failed = {self.recorders[run]: error for run, error in errors.items()}
            self.flush()  # may itself fail some of them
            failed = {recorder: error for recorder, error in failed.items() if recorder in self.recorders}
            self._drop(list(failed))
            for recorder, error in failed.items():
                self.on_end(recorder, recorder.fail(error))

    def _drop(self, leaving: Sequence[Recorder]) -> None:
        """Continue without some runs."""
        runs = self._indices(leaving)
        kept = [run for run in range(len(self.recorders)) if run not in set(runs)]
        for run in kept:
            self.recorders[run].scores = self.scores_of(run)
        lrs = self.rates.of_runs()
        if kept and runs:
            self.engine, self.tracker = self.engine.select_runs(kept), self.tracker.select_runs(kept)
            self.rates = LearningRates(self.engine, self.tracker)
            self.rates.restore([lrs[run] for run in kept])
        self.recorders, self.scores = [self.recorders[run] for run in kept], None

    def _indices(self, recorders: Sequence[Recorder]) -> list[int]:
        """Return the indices of the remaining runs that have these recorders."""
        return [run for run, recorder in enumerate(self.recorders) if recorder in recorders]

    def _interrupt(self, error: RunInterruptedError) -> None:
        """Save all remaining runs and mark them as interrupted."""
        self.seconds = time.perf_counter() - self._started
        self._fail(self.engine.failures())
        self.flush()
        errors = try_each(range(len(self.recorders)), self._save_if_changed)
        place = f"interrupted after epoch {self.progress.epoch}, step {self.progress.step}"
        for run, recorder in enumerate(self.recorders):
            interrupted = error.with_place(f"{place}; {recorder.resume_hint()}")
            self.on_end(recorder, recorder.fail(errors.get(run, interrupted)))
