"""Runs that are trained together: each with its own folder and scores, all with the steps of one program.

The loop is that of `mlpkit.trainer`, and what it follows is held by column: for a hundred small runs, asking
one after another what its best epoch is would take longer than to train them.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mlpkit.atomic_write import flushed_together
from mlpkit.batches import Rows, order_of
from mlpkit.engines.data_of_many import Sums
from mlpkit.engines.together import Together
from mlpkit.errors import MlpkitError, RunInterruptedError, diverged
from mlpkit.interrupts import Wish
from mlpkit.session import Session
from mlpkit.state import Progress
from mlpkit.sweep.standing import Moment, Standing
from mlpkit.trainer import EpochReport, when_due

PENDING = 200_000  # scores of runs that wait to be written, at most
PENDING_SECONDS = 10.0  # and for how long


class Cohort:
    """Trains runs that stand at the same epoch, until each has finished or failed."""

    def __init__(
        self,
        sessions: Sequence[Session],
        together: Together,
        wish: Wish,
        ended: Callable[[Session, BaseException | None], None],
        tick: Callable[["Cohort"], None] = lambda cohort: None,
        judge: Callable[[Sequence[Session], int, Sequence[float], Sequence[float]], list[int]] | None = None,
    ) -> None:
        """Take runs whose folders have been described and whose records are open.

        Args:
            sessions: in the order of the program's members.
            together: the program.
            wish: to stop; asked after each step.
            ended: called with each run that has ended, and why, where it has failed.
            tick: called after each step.
            judge: (runs, epochs done, their best monitored values so far, the losses there) -> the rows of
                those that leave before their time; asked once after each epoch but the last.
        """
        self.sessions, self.together, self.wish = list(sessions), together, wish
        self.ended, self.tick, self.judge = ended, tick, judge
        first = sessions[0].trainer
        self.task, self.monitored, self.steps_per_epoch = first.task, first.monitored, first.steps_per_epoch
        self.is_due = when_due(first.config.trainer.checkpoint_every)
        self.epochs = first.config.trainer.epochs
        self.progress = Progress(epoch=first.progress.epoch, step=first.progress.step)
        self.judged = self.progress.epoch
        self.seconds = first.seconds
        self.rates = [sessions[block.first].trainer.progress.lr for block in together.state.blocks]
        self.present = list(range(len(self.sessions)))  # of those who began the epoch
        self.moments: list[Moment] = []  # not written yet
        self.written = self.saved_at = time.perf_counter()
        self.standing = Standing(self.sessions, self.task.higher_is_better)

    def fit(self) -> None:
        """Train until no run is left.

        Raises:
            RunInterruptedError: somebody wished to stop; what was trained has been saved.
        """
        self.started = time.perf_counter() - self.seconds
        try:
            while self.sessions:
                if ending := self._ending():
                    self._finish(ending)
                elif leaving := self._leaving():
                    self._finish(leaving, pruned=True)
                else:
                    self._train_epoch()
                    self._end_epoch()
        except RunInterruptedError as error:
            self._interrupt(error)
            raise
        except Exception as error:  # which is nobody's in particular
            for session in self.sessions:
                session.fail(error)
            raise

    # ------------------------------------------------------------------------------------- an epoch

    def _train_epoch(self) -> None:
        progress, together = self.progress, self.together
        self.present = list(range(len(self.sessions)))
        for rows in self._rows():
            self.rates = [
                self.sessions[block.first].trainer.rate(progress.step) for block in together.state.blocks
            ]
            last = progress.batch == self.steps_per_epoch - 1
            ours = rows if isinstance(rows, slice) or len(rows) == len(self.present) else rows[self.present]
            failures = together.step(ours, self.rates, progress.epoch, progress.step, measure=last)
            if failures:
                place = progress.step + 1, progress.epoch + 1
                self._fail({row: diverged(*place, f"{what} is not finite") for row, what in failures.items()})
                if not self.sessions:
                    return
            progress.batch += 1
            progress.step += 1
            self.tick(self)
            if threads := self.sessions[0].trainer.watch.after_step():
                self._take_fewer_threads(threads)
                if not self.sessions:
                    return
            if last:  # between two epochs a run can be taken up again together with the others
                return
            self.wish.check()
            if self.is_due(progress, self.saved_at):
                self._save()
                if not self.sessions:
                    return

    def _rows(self) -> Iterator[Rows]:
        """Yield the rows of each step, for all who began the epoch."""
        trainer, epoch = self.sessions[0].config.trainer, self.progress.epoch
        if trainer.batch_size == "full":
            yield slice(None)
            return
        orders = [order_of(self.together.rows, s.config.seed, epoch) for s in self.sessions]
        yield from torch.split(torch.stack(orders), trainer.batch_size * trainer.accumulate, dim=1)

    def _end_epoch(self) -> None:
        """Score the epoch, follow the scores, and save where that is due."""
        if not self.sessions:
            return
        together, progress = self.together, self.progress
        sums = {self.monitored: together.evaluate(self.monitored, self.wish.check)}
        rows = {self.monitored: together.data.inputs[self.monitored].shape[-2], "train": together.rows}
        # Where there is only train, its scores are those after the epoch, which are what is monitored.
        sums = {"train": together.collect(), **sums}
        progress.epoch += 1
        progress.batch = 0
        columns = self._finite(sums, rows)
        if not self.sessions:
            return
        scores = {split: self.task.scores(list(sums), rows[split]) for split, sums in columns.items()}
        followed = scores[self.monitored]
        self.seconds = time.perf_counter() - self.started
        place = progress.epoch, progress.step
        moment = Moment(*place, scores, self.rates, together.state.norms, self.seconds, time.time())
        self.moments.append(moment)
        better = self.standing.follow(moment, followed[self.task.monitor], followed["loss"])
        if better.any():
            together.remember(better)
        self.wish.check()
        late = time.perf_counter() - self.written > PENDING_SECONDS
        if late or len(self.moments) * len(self.sessions) > PENDING:
            self._tell()
        if self.is_due(progress, self.saved_at):
            self._save()

    def _finite(self, sums: dict[str, Sums], rows: Mapping[str, int]) -> dict[str, Sums]:
        """Let the runs go whose losses are no finite numbers; return the sums of the others."""
        if math.isfinite(sum(values[0].sum() for values in sums.values())):
            return sums
        endless = {
            row: diverged(
                self.progress.step, self.progress.epoch, f"{split} loss={values[0, row] / rows[split]}"
            )
            for split, values in reversed(sums.items())
            for row in np.nonzero(~np.isfinite(values[0]))[0].tolist()
        }
        kept = [row for row in range(len(self.sessions)) if row not in endless]
        self._fail(endless)
        return {split: values[:, kept] for split, values in sums.items()}

    def _ending(self) -> list[int]:
        """Return the rows of the runs that have nothing left to do."""
        if self.progress.epoch >= self.epochs:
            return list(range(len(self.sessions)))
        return self.standing.stopped_early()

    def _leaving(self) -> list[int]:
        """Return the rows of the runs that are not worth going on with."""
        if self.judge is None or self.judged == self.progress.epoch:
            return []
        self.judged = self.progress.epoch
        values, losses = self.standing.best_values(), self.standing.best_loss.tolist()
        return self.judge(self.sessions, self.progress.epoch, values, losses)

    # -------------------------------------------------------------------------------------- records

    def _tell_where(self, rows: Sequence[int]) -> None:
        """Tell some runs where they are; the records of all are written."""
        self._tell()
        rates = self._by_row(self.rates)
        for row in rows:
            trainer = self.sessions[row].trainer
            own = trainer.progress
            own.epoch, own.batch, own.step = self.progress.epoch, self.progress.batch, self.progress.step
            own.lr, trainer.seconds = rates[row], self.seconds
            self.standing.write(row, own)
            if own.best_epoch:
                trainer.best_model = self.together.members[row].best_state()

    def _tell(self) -> None:
        """Hand the scores of all epochs so far to the runs' records."""
        listed = [
            (
                {s: {n: v.tolist() for n, v in values.items()} for s, values in moment.scores.items()},
                self._by_row(moment.rates),
                moment.norms.view(-1).tolist(),
            )
            for moment in self.moments
        ]
        for row, session in enumerate(self.sessions):
            for moment, (columns, rates, norms) in zip(self.moments, listed, strict=True):
                scores = {s: {n: v[row] for n, v in values.items()} for s, values in columns.items()}
                session.report(
                    EpochReport(
                        moment.epoch,
                        moment.step,
                        scores,
                        rates[row],
                        norms[row],
                        moment.seconds,
                        moment.epoch * self.together.rows,
                        moment.wall_time,
                    )
                )
            if self.moments:
                session.trainer.scores = scores
        self.moments, self.written = [], time.perf_counter()

    def _by_row(self, of_blocks: Sequence[float]) -> list[float]:
        """Return the members' values of what the program's blocks have in common."""
        blocks = self.together.state.blocks
        return [value for block, value in zip(blocks, of_blocks, strict=True) for _ in range(block.size)]

    def _drop(self, rows: Sequence[int]) -> None:
        """Go on without some runs."""
        kept = [row for row in range(len(self.sessions)) if row not in set(rows)]
        self._tell_where(kept)
        rates = self._by_row(self.rates)
        self.together.keep(kept)
        self.sessions = [self.sessions[row] for row in kept]
        self.present = [self.present[row] for row in kept]
        self.rates = [rates[kept[block.first]] for block in self.together.state.blocks]
        if kept:
            self.standing = Standing(self.sessions, self.task.higher_is_better)

    # ------------------------------------------------------------------------------------ how runs end

    def _finish(self, rows: Sequence[int], pruned: bool = False) -> None:
        """Let some runs write what they have come to."""
        self._tell_where(rows)
        sessions = [self.sessions[row] for row in rows]
        errors = self._attempt(rows, lambda session: session.trainer.save_news())
        self._drop(rows)
        ended: dict[Session, BaseException | None] = {}
        with flushed_together():
            for row, session in zip(rows, sessions, strict=True):
                error = errors.get(row)
                try:
                    self.wish.check()
                    if error is None:
                        session.pruned = pruned
                        session.finish()
                except RunInterruptedError as caught:
                    error = self._interrupted(caught)
                except Exception as caught:  # one run's trouble is not the others'
                    error = caught
                ended[session] = error and session.fail(error)
        for session, failure in ended.items():
            self.ended(session, failure)
        self.wish.check()

    def _save(self) -> None:
        """Save all; a run that cannot be saved has failed."""
        self._tell_where(range(len(self.sessions)))
        errors = self._attempt(range(len(self.sessions)), lambda session: session.trainer.save_now())
        if errors:
            self._fail(errors)
        self.saved_at = time.perf_counter()

    def _take_fewer_threads(self, threads: int) -> None:
        """Go on with fewer threads, since others have taken the cores; see `Session.save_before`."""
        self._tell_where(range(len(self.sessions)))
        errors = self._attempt(range(len(self.sessions)), lambda session: session.save_before(threads))
        torch.set_num_threads(threads)
        if errors:
            self._fail(errors)
        self.saved_at = time.perf_counter()

    def _attempt(self, rows: Sequence[int], act: Callable[[Session], None]) -> dict[int, Exception]:
        """Do something with some runs; return what went wrong, by the runs' rows."""
        errors: dict[int, Exception] = {}
        with flushed_together():
            for row in rows:
                try:
                    act(self.sessions[row])
                except MlpkitError as error:
                    errors[row] = error
        return errors

    def _fail(self, errors: Mapping[int, Exception]) -> None:
        """Mark some runs as failed, and go on without them."""
        self._tell()
        failed = {self.sessions[row]: error for row, error in errors.items()}
        self._drop(list(errors))
        for session, error in failed.items():
            self.ended(session, session.fail(error))

    def _interrupt(self, error: RunInterruptedError) -> None:
        """Save all that are left, and mark them."""
        self._tell_where(range(len(self.sessions)))
        errors: dict[int, Any] = self._attempt(
            range(len(self.sessions)), lambda session: session.trainer.save_news()
        )
        for row, session in enumerate(self.sessions):
            self.ended(session, session.fail(errors.get(row, self._interrupted(error))))

    def _interrupted(self, error: RunInterruptedError) -> RunInterruptedError:
        place = f"epoch {self.progress.epoch}, step {self.progress.step}"
        return RunInterruptedError(error.signal_number, f"interrupted after {place}; saved")
