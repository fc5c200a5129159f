"""A search: batches of trials, each trained like a small sweep, the next one chosen by what came of it."""

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.trial import Trial, TrialState
from rich.console import Console

from mlpkit.errors import (
    ConfigError,
    DataError,
    JobsFailedError,
    MlpkitError,
    NonFiniteError,
    RunInterruptedError,
)
from mlpkit.runs import environment
from mlpkit.runs.metrics_file import read_metrics
from mlpkit.runs.origin import Origin, resume_command
from mlpkit.runs.overrides_file import keep_overrides
from mlpkit.runs.run_folder import RunFolder
from mlpkit.runs.sweep_folder import SweepFolder, name_of
from mlpkit.sweep.display import SweepDisplay
from mlpkit.sweep.grid import Job
from mlpkit.sweep.job import last_line
from mlpkit.sweep.ledger import DONE, PRUNED, WAITING, Entry, Ledger, key_of, write_ledger
from mlpkit.sweep.pruning import Judge, build_pruner, make_judge, why_nothing
from mlpkit.sweep.search_plan import Plan
from mlpkit.sweep.study import Outcome, Study
from mlpkit.sweep.vectorized import vectorized
from mlpkit.sweep.winner import describe_winner, find_winner, score_on_test
from mlpkit.sweep.work import Work, without_large
from mlpkit.system.append_file import append_line
from mlpkit.system.console import number as shown
from mlpkit.system.console import printable, say
from mlpkit.system.lock import locked
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.training.stop import StopRequest, polite_signals


def start(folder: SweepFolder, plan: Plan, origin: Origin, console: Console) -> None:
    """Search into a new folder.

    Raises:
        JobsFailedError: some trials failed for another reason than their settings.
        RunInterruptedError: somebody wished to stop.
        MlpkitError: the folder cannot be written.
    """
    with locked(folder.lock):
        if folder.ledger.exists():  # another process has been faster
            raise ConfigError(f"run.dir={folder.path}: already holds a sweep; name a new folder")
        write_json(folder.search, plan.search.model_dump())
        write_ledger(folder.ledger, [])
        with Ledger(folder.ledger) as ledger:
            _Searching(folder, ledger, plan, origin, console).run()


def resume(folder: SweepFolder, plan: Plan, origin: Origin, console: Console) -> None:
    """Go on with a search: what has ended is not repeated.

    Args:
        folder: of the search.
        plan: what it says.
        origin: the command line, and whose the search is.
        console: where progress is shown.

    Raises:
        MlpkitError: as `start` does, or another process is at it.
    """
    with locked(folder.lock):
        folder.open_for_writing()
        with Ledger(folder.ledger) as ledger:
            _Searching(folder, ledger, plan, origin, console).run()


@dataclass
class _Batch:
    """Trials that are trained at once, by their numbers.

    Attributes:
        trials: as Optuna knows them.
        entries: of each its job, which may be an earlier trial's; none for settings that make no config.
        failed: what their settings made fail, and how.
        broken: what failed for another reason.
    """

    trials: dict[int, Trial]
    entries: dict[int, Entry] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)


class _Searching:
    """A search that is running."""

    def __init__(
        self, folder: SweepFolder, ledger: Ledger, plan: Plan, origin: Origin, console: Console
    ) -> None:
        self.folder, self.ledger, self.plan, self.origin = folder, ledger, plan, origin
        self.search, self.task, self.console = plan.search, plan.task, console
        self.known = {key_of(entry.config): entry for entry in ledger.entries()}
        self._check_configs()
        self.study = Study(
            folder.study,
            plan.space,
            self.search.sampler,
            build_pruner(self.search.pruner, plan.first.trainer.epochs),
            self.search.batch,
            plan.first.seed,
            plan.task.higher_is_better,
        )

    def _check_configs(self) -> None:
        """Refuse to go on where the same overrides mean something else than they did."""
        for key, entry in list(self.known.items())[:1]:
            if key_of(self.plan.compose(entry.overrides)) != key:
                raise ConfigError(
                    f"{self.folder.path}: the configs it was composed from have changed; bring them back, "
                    "or search anew"
                )

    def run(self) -> None:
        append_line(self.folder.command, self.origin.command)
        overrides = keep_overrides(self.folder.overrides, self.origin.overrides)
        self.origin = replace(self.origin, overrides=overrides)
        search = self.search
        before = f" ({self.study.told} done before)" if self.study.told else ""
        pruned = f", pruned by {search.pruner}" if search.pruner != "none" else ""
        say(
            self.console,
            f"search of {search.trials} trials{before}: {search.sampler}, {search.batch} at once{pruned}",
        )
        if reason := why_nothing(search.pruner, search.trials, search.batch, self.plan.first.trainer.epochs):
            say(self.console, f"warning: --pruner={search.pruner} ends no trial: {reason}")
        if self.origin.trust.may_run_git:
            environment.git_commit()
        try:
            with polite_signals() as wish:
                while self.study.told < search.trials:
                    wish.check()
                    self._run_batch(wish)
                self._announce(wish)
        except RunInterruptedError as error:
            raise RunInterruptedError(
                error.signal_number,
                f"interrupted: {self.study.told} of {search.trials} trials are done; "
                f"to go on: {resume_command(self.folder.path)}",
            ) from None

    def _run_batch(self, wish: StopRequest) -> None:
        count = min(self.search.batch, self.search.trials - self.study.asked)
        batch = _Batch({trial.number: trial for trial in self.study.ask(count, wish.check)})
        for trial in batch.trials.values():
            self._prepare(batch, trial)
        self._train(batch, wish)
        if batch.broken:
            lines = [batch.broken[number] for number in sorted(batch.broken)]
            raise JobsFailedError(
                *lines,
                f"{len(lines)} of {count} trials failed; "
                f"to try them again: {resume_command(self.folder.path)}",
            )
        self._mark(batch)  # before the study is told: a batch that it knows whole is not looked at again
        for trial in batch.trials.values():
            self.study.tell(trial, self._outcome(batch, trial.number))
        self._report(batch)

    def _prepare(self, batch: _Batch, trial: Trial) -> None:
        """Write a trial down as a job of the sweep, unless an earlier one was the same."""
        overrides = tuple(f"{key}={_text(value)}" for key, value in trial.params.items())
        try:
            config = self.plan.compose(overrides)
        except ConfigError as error:
            batch.failed[trial.number] = last_line(error)
            return
        key = key_of(config)
        if key not in self.known:
            if any(entry.number == trial.number for entry in self.known.values()):
                raise DataError(f"{self.ledger.path}: holds another trial {trial.number}; search anew")
            self.ledger.add([Job(overrides, config)], trial.number)
            name = name_of(trial.number, key)
            self.known[key] = Entry(trial.number, name, overrides, config, WAITING, "")
        batch.entries[trial.number] = self.known[key]

    def _train(self, batch: _Batch, wish: StopRequest) -> None:
        """Train what of a batch has not ended yet."""
        entries = {entry.number: entry for entry in batch.entries.values() if entry.number in batch.trials}
        left = {n: e for n, e in entries.items() if self._read(e).state == TrialState.RUNNING}
        for number, entry in entries.items():
            path = self.folder.run(entry.folder)
            if path.is_symlink():
                raise DataError(f"{path}: may lead out of the sweep; remove the link")
            if number not in left:  # a process that was killed just then may have left its lock
                with suppress(MlpkitError), locked(RunFolder(path).lock):
                    pass
        display = _BatchDisplay(self.console, self.search.trials, self.study.told + len(entries) - len(left))
        reasons: dict[int, str] = {}  # of what has failed

        def ended(number: int, error: BaseException | None) -> None:
            if isinstance(error, RunInterruptedError):
                return
            display.ended(failed=error is not None)
            if error is None:
                return
            reason, entry = last_line(error), entries[number]
            reasons[number] = reason
            if isinstance(error, NonFiniteError | ConfigError):
                batch.failed[number] = reason
            else:
                batch.broken[number] = f"{entry.folder} ({' '.join(entry.overrides)}): {reason}"

        judge = make_judge(
            self.search.pruner,
            batch.trials,
            {number: entry.config for number, entry in batch.entries.items()},
            self.task.higher_is_better,
        )
        if self.search.pruner != "none":
            for number in sorted(entries.keys() - left.keys()):
                self._look_again(judge, entries[number])
        try:
            if left:
                about = (self.folder, left, self.origin, wish, display, ended)
                vectorized(without_large(Work(*about, self.plan.datasets, judge)))
        finally:
            display.stop()
            self.ledger.mark_failed(reasons)

    def _look_again(self, judge: Judge, entry: Entry) -> None:
        """Let others be compared with a trial that had ended when the last process was killed."""
        value: float | None = None
        loss = math.inf
        with suppress(DataError):
            for row in read_metrics(RunFolder(self.folder.run(entry.folder)).metrics):
                now, its_loss = row.get(self.task.monitor), row.get("loss")
                if row["split"] != "val" or now is None or its_loss is None:
                    continue
                if self.task.beats(now, its_loss, value, loss):
                    value, loss = now, its_loss
                if value is not None and row["epoch"] < entry.config.trainer.epochs:
                    judge([entry.number], row["epoch"], [value], [loss])

    def _read(self, entry: Entry) -> Outcome:
        """Return what came of a job, as its run folder says it."""
        try:
            summary = read_object(RunFolder(self.folder.run(entry.folder)).summary)
        except DataError:
            summary = {}
        states = {
            "done": TrialState.COMPLETE,
            "stopped early": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
        }
        best = summary.get("best")
        value = best.get("value") if isinstance(best, dict) else None
        state = states.get(str(summary.get("status")))
        if state is None or not isinstance(value, float | int):
            return Outcome(TrialState.RUNNING, None, {})
        return Outcome(state, float(value), {"folder": entry.folder})

    def _outcome(self, batch: _Batch, number: int) -> Outcome:
        """Return what came of a trial that has ended."""
        entry = batch.entries.get(number)
        if entry is not None and (found := self._read(entry)).state != TrialState.RUNNING:
            return found
        why = batch.failed.get(number) or (entry and batch.failed.get(entry.number))
        about = {"error": why or "an earlier trial has failed with these settings"}
        return Outcome(TrialState.FAIL, None, about | ({"folder": entry.folder} if entry else {}))

    def _mark(self, batch: _Batch) -> None:
        """Write down in the ledger how the runs of a batch have ended; those that failed have been marked."""
        ended: dict[TrialState, list[int]] = {TrialState.COMPLETE: [], TrialState.PRUNED: []}
        for number, entry in batch.entries.items():
            if number == entry.number and (state := self._read(entry).state) in ended:
                ended[state].append(number)
        self.ledger.mark(ended[TrialState.COMPLETE], DONE)
        self.ledger.mark(ended[TrialState.PRUNED], PRUNED)

    # --------------------------------------------------------------------------------- what is shown

    def _report(self, batch: _Batch) -> None:
        """Say what came of a batch."""
        told = self.study.trials
        mine = [trial.state for trial in told]
        parts = [f"{mine.count(TrialState.COMPLETE)} done"]
        if pruned := mine.count(TrialState.PRUNED):
            parts.append(f"{pruned} pruned")
        if failed := mine.count(TrialState.FAIL):
            parts.append(f"{failed} failed")
        values = [
            trial.value for trial in told if trial.state == TrialState.COMPLETE and trial.value is not None
        ]
        best = (max if self.task.higher_is_better else min)(values, default=None)
        if best is not None:
            parts.append(f"best val {self.task.monitor} so far {shown(best)}")
        say(self.console, f"{self.study.told}/{self.search.trials} trials: {', '.join(parts)}")

    def _announce(self, wish: StopRequest) -> None:
        """Say which trial is the best, and score it on the test split."""
        entries = {entry.folder: entry for entry in self.known.values()}
        winner = find_winner(self.folder, self.study.trials, self.task)
        if winner is None:
            first = self.study.trials[0].user_attrs.get("error", "it was pruned")
            raise JobsFailedError(
                f"none of {self.search.trials} trials came to its end; of the first: {printable(str(first))}"
            )
        wish.check()
        entry = entries.get(winner.folder)
        if entry is None:
            raise DataError(f"{self.folder.study}: its best trial is not in the ledger; search anew")
        dataset = self.plan.datasets.load(entry.config.dataset)
        test = score_on_test(self.folder.run(entry.folder), dataset, self.origin.trust)
        line = describe_winner(winner, test, self.task, self.search.trials)
        say(self.console, line)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


class _BatchDisplay(SweepDisplay):
    """As of a sweep; that a batch begins goes without saying."""

    def _begin(self, line: str) -> None:
        self._show_bar()
