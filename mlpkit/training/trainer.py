"""The loop: train an epoch, evaluate, update the best weights, log, save; for K runs at once.

A lone run is the case K = 1. Runs leave when they are done, stop early, fail or are pruned; the others go on.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from mlpkit.engines.device_data import Sums
from mlpkit.engines.engine import Engine
from mlpkit.errors import MlpkitError, RunInterruptedError, diverged
from mlpkit.runs.state import Progress, Scores
from mlpkit.system.collapse import watch_threads
from mlpkit.training.rates import LearningRates
from mlpkit.training.recorder import Recorder
from mlpkit.training.records import EpochScores, as_list, not_finite_losses, of_runs, when_due
from mlpkit.training.results import Ending, attempt, write_results
from mlpkit.training.states import progress_of, state_of
from mlpkit.training.stop import StopRequest
from mlpkit.training.tracker import Tracker

PENDING = 200_000  # scores of runs that wait to be handed on, at most
PENDING_SECONDS = 10.0  # and for how long: what is written together finds the processor's caches warm

# (runs, epochs done, their best monitored values so far, the losses there) -> the places of those to prune
Judge = Callable[[Sequence[Recorder], int, Sequence[float], Sequence[float]], list[int]]


class Trainer:
    """Trains the runs of an engine until each is done, has stopped early, or has failed.

    Attributes:
        engine: of the runs that are still trained.
        recorders: of these runs, in the engine's order.
        tracker: likewise.
        progress: where all of them are.
        rates: their learning rates.
        seconds: of training, in this process and those before it.
    """

    def __init__(
        self,
        engine: Engine,
        recorders: Sequence[Recorder],
        stop: StopRequest,
        ended: Callable[[Recorder, BaseException | None], None],
        on_step: Callable[["Trainer"], None] = lambda trainer: None,
        judge: Judge | None = None,
        alone: bool = False,
    ) -> None:
        """Take runs that begin; `mlpkit.training.states.restore` brings them to where they were.

        Args:
            engine: what takes the steps.
            recorders: of its runs, in its order.
            stop: a request to stop; looked at after each step and between parts of an evaluation.
            ended: called with the recorder of each run that has ended, and why, where it has failed.
            on_step: called after each step.
            judge: of a search; asked once after each epoch but the last which runs to prune.
            alone: the process trains this one run and nothing else.
        """
        self.engine, self.recorders, self.stop = engine, list(recorders), stop
        self.ended, self.on_step, self.judge, self.alone = ended, on_step, judge, alone
        first = engine.experiments[0]
        self.config, self.task, self.monitored = first.config, first.task, first.dataset.monitored
        self.epochs, self.steps_per_epoch = self.config.trainer.epochs, engine.steps_per_epoch
        self.is_due = when_due(self.config.trainer.checkpoint_every)
        self.tracker = Tracker(self.task, [of.config for of in engine.experiments])
        self.progress, self.seconds = Progress(), 0.0
        self.scores: EpochScores | None = None  # of the last epoch
        self.rates = LearningRates(engine, self.tracker)
        self.watch = watch_threads(self.config.trainer.threads, engine.uses_threads)
        self._together = len(recorders)  # runs that the same steps train
        self._pending: list[EpochScores] = []  # not handed to the recorders yet
        self.judged = 0  # the epoch after which the judge was asked last

    # ---------------------------------------------------------------------------------------- the loop

    def fit(self) -> None:
        """Train until no run is left.

        Raises:
            RunInterruptedError: a stop signal arrived; what was trained has been saved.
        """
        self.start_clock()
        try:
            while self.leave():
                self.train_epoch()
                self.evaluate()
                self.update_best()
                self.log()
                self.save_if_due()
        except RunInterruptedError as error:
            self._interrupt(error)
            raise
        except BaseException as error:  # no run's in particular
            for recorder in self.recorders:
                recorder.fail(error)
            raise

    def train_epoch(self) -> None:
        """Take the steps of the running epoch that are still to be taken."""
        progress, runs = self.progress, len(self.recorders)
        for rows in self.engine.rows_of_steps(progress.epoch, progress.batch):
            last = progress.batch == self.steps_per_epoch - 1
            lrs = self.rates.at(progress.step)
            failures = self.engine.step(rows, lrs, progress.epoch, progress.step, measure=last)
            progress.batch += 1
            progress.step += 1
            if failures:
                place = progress.step, progress.epoch + 1
                self._fail({run: diverged(*place, what) for run, what in failures.items()})
            self.on_step(self)
            if threads := self.watch.after_step():
                self._take_fewer_threads(threads)
            self.stop.check()
            if not last and self.is_due(progress, self._saved_at):
                self.save()
            if len(self.recorders) < runs:  # some have failed; the others go on from here
                return

    def evaluate(self) -> None:
        """Score the epoch and the monitored split, and end the epoch."""
        progress = self.progress
        self._fail(self.engine.failures())
        if not self.recorders or progress.batch < self.steps_per_epoch:
            return
        monitored = self.engine.evaluate(self.monitored, self.stop.check)
        # From here on nothing stops the epoch half-way. Where there is only train, its scores are those
        # after the epoch, which are what is monitored.
        sums = self._finite({"train": self.engine.collect(), self.monitored: monitored})
        progress.epoch += 1
        progress.batch = 0
        self._read_clock()
        if self.recorders:
            place = progress.epoch, progress.step
            scores = {split: self.engine.scores(of, split) for split, of in sums.items()}
            lrs, norms = self.rates.of_runs(), self.engine.clip.norms
            seen = progress.epoch * self.engine.data.rows
            self.scores = EpochScores(*place, scores, lrs, norms, self.seconds, seen, time.time())
            self._pending.append(self.scores)

    def update_best(self) -> None:
        """Remember the weights of the runs that are better than they ever were."""
        if self.is_between_epochs() and self.scores is not None:
            monitored = self.scores.scores[self.monitored]
            values, losses = as_list(monitored[self.task.monitor]), as_list(monitored["loss"])
            if better := set(self.tracker.update_best(self.scores, values, losses)):
                self.engine.remember([run in better for run in range(len(self.recorders))])

    def log(self) -> None:
        """Hand the scores of the last epochs to the recorders, now and then; of a lone run at once."""
        runs, late = len(self.recorders), time.perf_counter() - self._logged_at > PENDING_SECONDS
        if late or runs == 1 or len(self._pending) * runs > PENDING:
            self.flush()

    def save_if_due(self) -> None:
        """Save after an epoch, where it is time to."""
        if self.is_between_epochs() and self.is_due(self.progress, self._saved_at):
            self.save()

    def leave(self) -> bool:
        """Let the runs go that are done, have stopped early or are pruned; return whether any is left."""
        if self.is_between_epochs():
            epoch = self.progress.epoch
            done = range(len(self.recorders)) if epoch >= self.epochs else self.tracker.stopped_early(epoch)
            self._finish(list(done))
            if self.judge is not None and self.recorders and self.judged < epoch:
                self.judged = epoch
                pruned = self.judge(self.recorders, epoch, *self.tracker.best_values())
                self._finish(pruned, pruned=True)
        return bool(self.recorders)

    # --------------------------------------------------------------------------------- where runs are

    def is_between_epochs(self) -> bool:
        """Whether there are runs, and no epoch of theirs has begun."""
        return bool(self.recorders) and self.progress.batch == 0

    def scores_of(self, run: int) -> dict[str, Scores]:
        """Return a run's scores after the last epoch, by split."""
        return self.recorders[run].scores if self.scores is None else self.scores.scores_of(run)

    def start_clock(self) -> None:
        """Begin to count seconds, from those of processes before this one on."""
        self._started = time.perf_counter() - self.seconds
        self._saved_at = self._logged_at = time.perf_counter()

    def _read_clock(self) -> None:
        self.seconds = time.perf_counter() - self._started

    def _finite(self, sums: dict[str, Sums]) -> dict[str, Sums]:
        """Fail the runs whose losses are no finite numbers; return the sums of the others."""
        found = not_finite_losses(sums, self.progress.step, self.progress.epoch + 1)
        if not found:
            return sums
        before = self.recorders
        self._fail(found)
        kept = [run for run, recorder in enumerate(before) if recorder in self.recorders]
        return {split: of_runs(of, kept) for split, of in sums.items()} if kept else sums

    # ----------------------------------------------------------------------------------------- records

    def flush(self) -> None:
        """Hand the scores of all epochs so far to the recorders."""
        pending, self._pending, self._logged_at = self._pending, [], time.perf_counter()
        errors: dict[int, Exception] = {}
        for run, recorder in enumerate(self.recorders if pending else ()):
            try:
                for scores in pending:
                    recorder.log(scores.report(run))
            except MlpkitError as error:
                errors[run] = error
        self._fail(errors)

    def save(self) -> None:
        """Save all runs; a run that cannot be saved has failed."""
        self._fail(self.engine.failures())
        self._read_clock()
        self.flush()
        everyone = range(len(self.recorders))
        self._fail(attempt(everyone, lambda run: self.recorders[run].save(state_of(self, run))))
        self._saved_at = time.perf_counter()

    def _take_fewer_threads(self, threads: int) -> None:
        """Save, and go on with fewer threads, which may round otherwise: a resumed run does the same."""
        step, runs = self.progress.step, range(len(self.recorders))
        self._fail(attempt(runs, lambda run: self.recorders[run].note_threads(threads, step)))
        self.save()
        torch.set_num_threads(threads)

    def _save_if_changed(self, run: int) -> None:
        if self.recorders[run].saved_at != (self.progress.epoch, self.progress.batch):
            self.recorders[run].save(state_of(self, run))

    # ------------------------------------------------------------------------------------ how runs end

    def _finish(self, runs: Sequence[int], pruned: bool = False) -> None:
        """Let some runs write what they have come to."""
        if not runs:
            return
        leaving = [self.recorders[run] for run in runs]
        self.flush()
        self._fail(attempt(self._places(leaving), self._save_if_changed))
        if runs := self._places(leaving):
            leaving, places = [self.recorders[run] for run in runs], [progress_of(self, run) for run in runs]
            ending = Ending(places, self.seconds, self._together, pruned, self.alone)
            engine = self.engine.take(runs, to_end=True)
            self._drop(leaving)
            try:
                ended = write_results(engine, leaving, ending, self.stop)
            except BaseException as error:
                for recorder in leaving:
                    recorder.fail(error, self.stop.signal_number)
                raise
            for recorder, failure in ended.items():
                self.ended(recorder, failure)
            self.stop.check()

    def _fail(self, errors: Mapping[int, Exception]) -> None:
        """Mark some runs as failed, and go on without them."""
        if errors:
            failed = {self.recorders[run]: error for run, error in errors.items()}
            self.flush()  # which may fail runs of its own
            failed = {of: error for of, error in failed.items() if of in self.recorders}
            self._drop(list(failed))
            for recorder, error in failed.items():
                self.ended(recorder, recorder.fail(error))

    def _drop(self, leaving: Sequence[Recorder]) -> None:
        """Go on without some runs."""
        runs = self._places(leaving)
        kept = [run for run in range(len(self.recorders)) if run not in set(runs)]
        for run in kept:
            self.recorders[run].scores = self.scores_of(run)
        lrs = self.rates.of_runs()
        if kept and runs:
            self.engine, self.tracker = self.engine.take(kept), self.tracker.take(kept)
            self.rates = LearningRates(self.engine, self.tracker)
            self.rates.restore([lrs[run] for run in kept])
        self.recorders, self.scores = [self.recorders[run] for run in kept], None

    def _places(self, recorders: Sequence[Recorder]) -> list[int]:
        """Return which of the runs that are left have these recorders."""
        return [run for run, recorder in enumerate(self.recorders) if recorder in recorders]

    def _interrupt(self, error: RunInterruptedError) -> None:
        """Save all runs that are left, and mark them as interrupted."""
        self._read_clock()
        self._fail(self.engine.failures())
        self.flush()
        errors = attempt(range(len(self.recorders)), self._save_if_changed)
        place = f"interrupted after epoch {self.progress.epoch}, step {self.progress.step}"
        for run, recorder in enumerate(self.recorders):
            interrupted = RunInterruptedError(error.signal_number, f"{place}; {recorder.way_on()}")
            self.ended(recorder, recorder.fail(errors.get(run, interrupted)))
