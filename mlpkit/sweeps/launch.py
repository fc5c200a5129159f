"""Cuts a sweep into jobs, gives them to a launcher's workers, and collects what becomes of each run."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mlpkit.config.launcher import JobResult, LauncherConfig, LostJob, Workers
from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, MlpkitError, RunInterruptedError
from mlpkit.sweeps.groups import group
from mlpkit.sweeps.job import has_ended_well
from mlpkit.sweeps.packed_job import make_parcel
from mlpkit.sweeps.remembered import remember
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.sweeps.work import Work
from mlpkit.training.stop import StopRequest

POLL_SECONDS = 0.2  # between two checks for a stop signal


@dataclass(frozen=True)
class Job:
    """Runs that are trained as one program in a worker.

    Attributes:
        runs: their numbers, in the order of the group.
        again: whether a worker was lost with them before.
    """

    runs: tuple[int, ...]
    again: bool = False


class JobLauncher:
    """Trains the runs of a sweep, or of each batch of a search, by the workers of a launcher."""

    def __init__(self, config: LauncherConfig) -> None:
        """Take the launcher's options; `open` opens the workers, or else the first runs do."""
        self.config = config
        self._workers: Workers | None = None
        self._submitted = 0  # jobs, over all batches

    def open(self, folder: Path, runs: int, stop: StopRequest) -> None:
        """Open the workers, unless they are open or the sweep's own process trains the runs.

        Args:
            folder: the sweep's folder.
            runs: number of runs to train; for a search, those of its first batch.
            stop: a stop signal ends the opening at once, which may wait for other machines.

        Raises:
            MlpkitError: the workers cannot be used.
        """
        if self.config.in_this_process or self._workers is not None:
            return
        stop.at_once = True
        try:
            if stop.signal_number is None:
                self._workers = self.config.open(folder, runs)
        finally:
            stop.at_once = False
        if stop.signal_number is not None:  # it came just before or after
            raise RunInterruptedError(stop.signal_number, "interrupted")

    def __call__(self, work: Work) -> None:
        """Train runs.

        Raises:
            RunInterruptedError: a stop signal arrived; the jobs have saved their runs and ended.
            MlpkitError: the workers cannot be used, or are gone.
        """
        limit = self.config.runs_per_job
        if self.config.in_this_process:
            if limit != "auto":
                remember(work.folder, self.config)
            vectorized(work, None if limit == "auto" else limit)
            return
        if not work.entries:
            return
        self.open(work.folder.path, len(work.entries), work.stop)
        assert self._workers is not None
        places = self._workers.places
        if limit == "auto" and places is not None:
            limit = max(1, -(-len(work.all_entries) // places))
        is_search = work.judge is not None  # whose batches may differ in size
        remember(
            work.folder, self.config if is_search else self.config.model_copy(update={"runs_per_job": limit})
        )
        jobs = _cut(work, None if limit == "auto" else limit)
        work.display.begin_jobs([len(job.runs) for job in jobs], places)
        self._run(work, jobs, self._workers)
        work.stop.check()

    def check_pruner(self, pruner: str | None) -> None:
        """Check that a search with a pruner trains its trials in one process, where they can be compared.

        Raises:
            ConfigError: the launcher trains them apart.
        """
        if pruner not in (None, "none") and not self.config.in_this_process:
            raise ConfigError(
                f"--launcher={self.config.name}: trains trials apart, where --pruner={pruner} cannot "
                "compare them; leave out one"
            )

    def _run(self, work: Work, jobs: list[Job], workers: Workers) -> None:
        waiting, running, stopping = deque(jobs), dict[int, Job](), False
        while running or (waiting and not stopping):
            if work.stop.signal_number is not None and not stopping:
                stopping = True
                workers.stop()
            free = len(waiting) if workers.has_queue else (workers.places or 1) - len(running)
            if not stopping and waiting and free > 0:
                first = self._submitted
                taken = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                self._submitted += len(taken)
                new = dict(enumerate(taken, first))
                workers.submit({number: make_parcel(work, job.runs) for number, job in new.items()})
                running |= new
            work.display.show_running(min(len(running), workers.places or len(running)))
            for number, ended in workers.collect(POLL_SECONDS) if running else ():
                # Ctrl-C reaches all processes of a terminal, so that jobs may end before they are asked to.
                stopped = stopping or work.stop.signal_number is not None
                waiting.extend(_end(work, running.pop(number), ended, stopped))

    def __enter__(self) -> Self:
        """Return the launcher."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the workers; jobs that are left after a second Ctrl-C or an error are ended."""
        if self._workers is not None:
            self._workers.close()


def _cut(work: Work, most: int | None) -> list[Job]:
    """Return the jobs: the groups of the whole sweep, without the runs that are done.

    They are the same when the sweep is resumed, so that its runs round as if it had not been stopped.

    Args:
        work: the runs.
        most: the largest number of runs of a job; None leaves it to the grouping.
    """
    configs = {number: entry.config for number, entry in work.all_entries.items()}
    groups, errors = group(configs, work.datasets, check=work.stop.check, most=most)
    for line in work.datasets.take_remarks():
        work.warn(line)
    for number in errors.keys() & work.entries.keys():
        work.on_end(number, errors[number])
    jobs = [Job(tuple(number for number in members.numbers if number in work.entries)) for members in groups]
    return [job for job in jobs if job.runs]


def _end(work: Work, job: Job, ended: JobResult | LostJob, stopped: bool) -> list[Job]:
    """Report the runs of a job that has ended; return jobs for those that are still to be trained."""
    if isinstance(ended, JobResult):
        for line in ended.warnings:
            work.warn(line)
        for number in job.runs:
            if ended.refused is not None or number in ended.errors:
                work.on_end(number, ended.refused or ended.errors[number])
        left = [] if ended.refused else [number for number in job.runs if number not in ended.errors]
        reason = "was stopped by a signal"
    else:
        left = []
        for number in job.runs:
            if has_ended_well(work.folder.run(work.entries[number].folder)):
                work.on_end(number, None)
            else:
                left.append(number)
        reason = ended.reason
    if stopped or not left:
        return []
    if len(left) == 1 and job.again:
        work.on_end(left[0], MlpkitError(reason))
        return []
    go_on = "its run goes on" if len(left) == 1 else "its runs go on"
    work.warn(f"a job of {plural(len(job.runs), 'run')} {reason}; {go_on} from the last checkpoint")
    if not job.again:
        return [Job(tuple(left), again=True)]
    half = len(left) // 2  # a run that ends each process it is in is found by halves
    return [Job(tuple(left[:half]), again=True), Job(tuple(left[half:]), again=True)]
