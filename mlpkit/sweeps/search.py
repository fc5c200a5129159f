"""Runs a search: trains trials in batches, each like a small sweep; results decide what is sampled next."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from optuna.trial import Trial, TrialState
from rich.console import Console

from mlpkit.config.problems import plural
from mlpkit.errors import (
    ConfigError,
    DataError,
    JobsFailedError,
    MlpkitError,
    NonFiniteError,
    RunInterruptedError,
)
from mlpkit.folders import environment
from mlpkit.folders.metrics_file import read_metrics
from mlpkit.folders.origin import Origin, resume_command
from mlpkit.folders.overrides_file import keep_overrides
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder, run_name
from mlpkit.sweeps.batch import Batch
from mlpkit.sweeps.display import BatchDisplay
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.job import last_line
from mlpkit.sweeps.ledger import DONE, PRUNED, WAITING, JobRecord, Ledger, config_key, write_ledger
from mlpkit.sweeps.pruning import Judge, build_pruner, make_judge, why_no_pruning
from mlpkit.sweeps.search_plan import SearchPlan
from mlpkit.sweeps.study import Study
from mlpkit.sweeps.trial_result import TrialResult, progress_line, read_trial
from mlpkit.sweeps.winner import describe_winner, find_winner, forget_test_scores, score_on_test
from mlpkit.sweeps.work import Launcher, Work, without_large
from mlpkit.system.append_file import append_line
from mlpkit.system.console import printable, say
from mlpkit.system.lock import locked
from mlpkit.system.plain_json import write_json
from mlpkit.training.stop import StopRequest, stop_on_signals


def start(
    folder: SweepFolder,
    plan: SearchPlan,
    origin: Origin,
    launcher: Launcher,
    console: Console,
    open_workers: Callable[[StopRequest], None],
) -> None:
    """Run a new search; `open_workers` is called before anything is written.

    Raises:
        JobsFailedError: trials failed for a reason other than their settings.
        RunInterruptedError: a stop signal arrived.
        MlpkitError: the folder cannot be written.
    """
    with locked(folder.lock):
        if folder.ledger.exists():  # another process has started a sweep here meanwhile
            raise ConfigError(f"run.dir={folder.path}: already holds a sweep; name a new folder")
        with stop_on_signals() as stop:
            open_workers(stop)
        write_json(folder.search, plan.search.model_dump())
        write_ledger(folder.ledger, [])
        with Ledger(folder.ledger) as ledger:
            _RunningSearch(ledger, plan, origin, launcher, console).run()


def resume(
    folder: SweepFolder, plan: SearchPlan, origin: Origin, launcher: Launcher, console: Console
) -> None:
    """Resume a search; finished trials are not repeated.

    Args:
        folder: the search's folder.
        plan: the plan made from its search.json.
        origin: the command line, and whether the search is the user's own or foreign.
        launcher: trains the trials.
        console: where progress is shown.

    Raises:
        MlpkitError: as in `start`, or another process uses the search.
    """
    with locked(folder.lock):
        folder.open_for_writing()
        write_json(folder.search, plan.search.model_dump())  # --trials may have been raised
        with Ledger(folder.ledger) as ledger:
            _RunningSearch(ledger, plan, origin, launcher, console).run()


class _RunningSearch:
    def __init__(
        self, ledger: Ledger, plan: SearchPlan, origin: Origin, launcher: Launcher, console: Console
    ) -> None:
        self.folder, self.ledger, self.plan = SweepFolder(ledger.path.parent), ledger, plan
        self.origin, self.launcher = origin, launcher
        self.search, self.task, self.console = plan.search, plan.task, console
        self.known = {config_key(entry.config): entry for entry in ledger.entries()}
        self._check_configs()
        self.study = Study(
            self.folder.study,
            plan.space,
            self.search.sampler,
            build_pruner(self.search.pruner, plan.first.trainer.epochs),
            self.search.batch,
            plan.first.seed,
            plan.task.higher_is_better,
        )

    def _check_configs(self) -> None:
        """Refuse to resume if the same overrides now compose another config."""
        for key, entry in list(self.known.items())[:1]:
            if config_key(self.plan.compose(entry.overrides)) != key:
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
        seeds = f", the mean of {search.seeds} seeds each" if search.seeds > 1 else ""
        pruned = f", pruned by {search.pruner}" if search.pruner != "none" else ""
        say(
            self.console,
            f"search of {plural(search.trials, 'trial')}{before}: {search.sampler}, "
            f"{search.batch} at once{seeds}{pruned}",
        )
        if reason := why_no_pruning(
            search.pruner, search.trials, search.batch, self.plan.first.trainer.epochs
        ):
            say(self.console, f"warning: --pruner={search.pruner} ends no trial: {reason}")
        if self.origin.trust.may_run_git:
            environment.git_commit()
        try:
            with stop_on_signals() as stop:
                while self.study.told < search.trials:
                    stop.check()
                    self._run_batch(stop)
                self._announce(stop)
        except RunInterruptedError as error:
            raise RunInterruptedError(
                error.signal_number,
                f"interrupted: {self.study.told} of {search.trials} trials are done; "
                f"to go on: {resume_command(self.folder.path)}",
            ) from None

    def _run_batch(self, stop: StopRequest) -> None:
        count = min(self.search.batch, self.search.trials - self.study.asked)
        batch = Batch({trial.number: trial for trial in self.study.ask(count, stop.check)})
        for trial in batch.trials.values():
            self._prepare(batch, trial)
        self._train(batch, stop)
        if batch.broken:
            lines = [batch.broken[number] for number in sorted(batch.broken)]
            failed = sum(any(job.number in batch.broken for job in jobs) for jobs in batch.entries.values())
            raise JobsFailedError(
                *lines,
                f"{failed} of {count} trials failed; to try them again: {resume_command(self.folder.path)}",
            )
        self._mark(batch)  # before study.tell: a resumed search does not read a batch again that it knows
        for trial in batch.trials.values():
            self.study.tell(trial, self._result(batch, trial.number))
        say(self.console, progress_line(self.study.trials, self.search.trials, self.task))

    def _prepare(self, batch: Batch, trial: Trial) -> None:
        """Add a trial's jobs to the ledger, unless an earlier trial has the same configs."""
        overrides = tuple(f"{key}={_text(value)}" for key, value in trial.params.items())
        count, first = self.search.seeds, self.plan.first.seed
        repeats = [(*overrides, f"seed={first + i}") for i in range(count)] if count > 1 else [overrides]
        try:
            jobs = [Job(lines, self.plan.compose(lines)) for lines in repeats]
        except ConfigError as error:
            batch.failed[trial.number] = last_line(error)
            return
        batch.entries[trial.number] = [
            self._entry(job, number) for number, job in enumerate(jobs, trial.number * count)
        ]

    def _entry(self, job: Job, number: int) -> JobRecord:
        """Return the job in the ledger with this config, which has this number if it is new."""
        key = config_key(job.config)
        if key not in self.known:
            if any(entry.number == number for entry in self.known.values()):
                raise DataError(f"{self.ledger.path}: holds another job {number}; search anew")
            self.ledger.add([job], number)
            name = run_name(number, key)
            self.known[key] = JobRecord(number, name, job.overrides, job.config, WAITING, "")
        return self.known[key]

    def _trial_of(self, entry: JobRecord) -> int:
        return entry.number // self.search.seeds

    def _train(self, batch: Batch, stop: StopRequest) -> None:
        """Train the unfinished trials of a batch."""
        jobs = [entry for of_trial in batch.entries.values() for entry in of_trial]
        entries = {entry.number: entry for entry in jobs if self._trial_of(entry) in batch.trials}
        left = {n: e for n, e in entries.items() if self._read([e]).state == TrialState.RUNNING}
        for number, entry in entries.items():
            path = self.folder.run(entry.folder)
            if path.is_symlink():
                raise DataError(f"{path}: may lead out of the sweep; remove the link")
            if number not in left:  # removes a lock that a killed process has left
                with suppress(MlpkitError), locked(RunFolder(path).lock):
                    pass
        seeds = self.search.seeds
        done = self.study.told * seeds + len(entries) - len(left)
        display = BatchDisplay(self.console, self.search.trials * seeds, done)
        errors: dict[int, str] = {}

        def on_end(number: int, error: BaseException | None) -> None:
            if isinstance(error, RunInterruptedError):
                return
            display.on_end(failed=error is not None)
            if error is None:
                return
            reason, entry = last_line(error), entries[number]
            errors[number] = reason
            if isinstance(error, NonFiniteError | ConfigError):
                batch.failed[self._trial_of(entry)] = reason
            else:
                batch.broken[number] = f"{entry.folder} ({' '.join(entry.overrides)}): {reason}"

        judge = make_judge(
            self.search.pruner,
            batch.trials,
            {number: of_trial[0].config for number, of_trial in batch.entries.items()},
            self.task.higher_is_better,
        )
        if self.search.pruner != "none":
            for number in sorted(entries.keys() - left.keys()):
                self._replay(judge, entries[number])
        try:
            if left:
                shared = self.origin, stop, display, on_end, self.plan.datasets, judge
                work = Work(self.folder, left, *shared, everything=entries)
                self.launcher(without_large(work))
        finally:
            display.stop()
            self.ledger.mark_failed(errors)

    def _replay(self, judge: Judge, entry: JobRecord) -> None:
        """Report the scores of a trial that finished before the search was resumed to the judge."""
        value: float | None = None
        loss = math.inf
        with suppress(DataError):
            for row in read_metrics(RunFolder(self.folder.run(entry.folder)).metrics):
                new_value, new_loss = row.get(self.task.monitor), row.get("loss")
                if row["split"] != "val" or new_value is None or new_loss is None:
                    continue
                if self.task.beats(new_value, new_loss, value, loss):
                    value, loss = new_value, new_loss
                if value is not None and row["epoch"] < entry.config.trainer.epochs:
                    judge([entry.number], row["epoch"], [value], [loss])

    def _read(self, entries: Sequence[JobRecord]) -> TrialResult:
        return read_trial([self.folder.run(entry.folder) for entry in entries])

    def _result(self, batch: Batch, number: int) -> TrialResult:
        """Return the result of a trial that has ended."""
        entries = batch.entries.get(number, [])
        if entries and (result := self._read(entries)).state != TrialState.RUNNING:
            return result
        trials = [number, *map(self._trial_of, entries)]
        error = next((batch.failed[trial] for trial in trials if trial in batch.failed), None)
        attributes = {"error": error or "an earlier trial has failed with these settings"}
        folders = {"folder": ",".join(entry.folder for entry in entries)} if entries else {}
        return TrialResult(TrialState.FAIL, None, attributes | folders)

    def _mark(self, batch: Batch) -> None:
        """Mark the finished and pruned trials of a batch in the ledger; failed ones are marked already."""
        by_state: dict[TrialState, list[int]] = {TrialState.COMPLETE: [], TrialState.PRUNED: []}
        for number, entries in batch.entries.items():
            for entry in entries:
                if self._trial_of(entry) == number and (state := self._read([entry]).state) in by_state:
                    by_state[state].append(entry.number)
        self.ledger.mark(by_state[TrialState.COMPLETE], DONE)
        self.ledger.mark(by_state[TrialState.PRUNED], PRUNED)

    def _announce(self, stop: StopRequest) -> None:
        """Find the winner, score it on the test split and print it."""
        entries = {entry.folder: entry for entry in self.known.values()}
        winner = find_winner(self.folder, self.study.trials, self.task)
        if winner is None:
            first = self.study.trials[0].user_attrs.get("error", "it was pruned")
            raise JobsFailedError(
                f"none of {self.search.trials} trials came to its end; of the first: {printable(str(first))}"
            )
        stop.check()
        tests = []
        for folder in winner.folders:
            if folder not in entries:
                raise DataError(f"{self.folder.study}: its best trial is not in the ledger; search anew")
            dataset = self.plan.datasets.load(entries[folder].config.dataset)
            tests.append(score_on_test(self.folder.run(folder), dataset, self.origin.trust))
        forget_test_scores(map(self.folder.run, entries.keys() - set(winner.folders)))
        say(self.console, describe_winner(winner, tests, self.task, self.search.trials))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
