"""Runs a sweep: writes the ledger, trains each job into its own run folder, and reports failed jobs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mlpkit.config.problems import plural
from mlpkit.errors import ConfigError, DataError, JobsFailedError, MlpkitError, RunInterruptedError
from mlpkit.folders import environment
from mlpkit.folders.origin import Origin, resume_command
from mlpkit.folders.overrides_file import keep_overrides
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.display import SweepDisplay
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.job import has_ended_well, last_line
from mlpkit.sweeps.ledger import DONE, JobRecord, Ledger, config_key, write_ledger
from mlpkit.sweeps.work import Launcher, Work, without_large
from mlpkit.system.append_file import append_line
from mlpkit.system.lock import locked
from mlpkit.training.stop import StopRequest, stop_on_signals

MOST_ALIKE = 3  # runs with the same error that are named


def start(
    folder: SweepFolder,
    jobs: Sequence[Job],
    origin: Origin,
    launcher: Launcher,
    console: Console,
    datasets: Datasets | None = None,
    open_workers: Callable[[StopRequest], None] = lambda stop: None,
) -> None:
    """Train all jobs of a new sweep.

    Args:
        folder: a new sweep folder.
        jobs: the jobs, each config once.
        origin: the command line, and whether the sweep is the user's own or foreign.
        launcher: trains the jobs.
        console: where progress is shown.
        datasets: datasets that have been loaded already; their remarks are not printed again.
        open_workers: called before anything is written.

    Raises:
        JobsFailedError: some jobs failed; all others are done.
        RunInterruptedError: a stop signal arrived.
        MlpkitError: the sweep's folder cannot be written, or `open_workers` has failed.
    """
    with locked(folder.lock):
        if folder.ledger.exists():  # another process has started a sweep here meanwhile
            raise ConfigError(
                f"run.dir={folder.path}: already holds a sweep; to go on: {resume_command(folder.path)}"
            )
        with stop_on_signals() as stop:
            open_workers(stop)
        write_ledger(folder.ledger, jobs)
        with Ledger(folder.ledger) as ledger:
            _train(folder, ledger, origin, launcher, console, datasets)


def resume(
    path: Path,
    origin: Origin,
    launcher: Launcher,
    console: Console,
    jobs: Sequence[Job] | None = None,
) -> None:
    """Resume a sweep: train the jobs that were not started, not finished, or failed.

    Args:
        path: the sweep folder.
        origin: the command line, and whether the sweep is the user's own or foreign.
        launcher: trains the jobs.
        console: where progress is shown.
        jobs: the jobs that the user's command line gives, which must be those of the ledger; None takes the
            ledger's jobs, which are foreign.

    Raises:
        MlpkitError: as in `start`, or another process uses the sweep, or it has other jobs.
    """
    folder = SweepFolder(path)
    with locked(folder.lock):
        folder.open_for_writing()
        with Ledger(folder.ledger) as ledger:
            if jobs is not None and not _are_in(ledger, jobs):
                raise ConfigError(f"run.dir={path}: holds a sweep of other runs; name a new folder")
            _train(folder, ledger, origin, launcher, console)


def _are_in(ledger: Ledger, jobs: Sequence[Job]) -> bool:
    """Whether a ledger holds exactly these jobs; compares the configs, not the keys stored in the ledger."""
    return {config_key(entry.config) for entry in ledger.entries()} == {
        config_key(job.config) for job in jobs
    }


def _train(
    folder: SweepFolder,
    ledger: Ledger,
    origin: Origin,
    launcher: Launcher,
    console: Console,
    datasets: Datasets | None = None,
) -> None:
    entries = ledger.entries()
    # A finished job may not be marked in the ledger if the process was killed just then.
    left = {e.number: e for e in entries if not _is_done(e, folder.run(e.folder))}
    for entry in entries:
        if folder.run(entry.folder).is_symlink():
            raise DataError(f"{folder.run(entry.folder)}: may lead out of the sweep; remove the link")
    append_line(folder.command, origin.command)
    origin = replace(origin, overrides=keep_overrides(folder.overrides, origin.overrides))
    unmarked = [e for e in entries if e.status != DONE and e.number not in left]
    for entry in unmarked:
        # Removes the lock that the killed process has left.
        with suppress(MlpkitError), locked(RunFolder(folder.run(entry.folder)).lock):
            pass
    ledger.mark([entry.number for entry in unmarked], DONE)
    failures: dict[int, str] = {}  # errors by job number
    done: list[int] = []  # marked in the ledger at the end; until then the summaries count
    display = SweepDisplay(console, len(entries), len(entries) - len(left))

    def on_end(number: int, error: BaseException | None) -> None:
        if isinstance(error, RunInterruptedError):
            return
        display.on_end(failed=error is not None)
        if error is None:
            done.append(number)
            return
        failures[number] = last_line(error)

    datasets = datasets or Datasets(origin.trust, folder.ledger)
    if origin.trust.may_run_git:
        environment.git_commit()
    try:
        with stop_on_signals() as stop:
            everything = {entry.number: entry for entry in entries}
            work = Work(folder, left, origin, stop, display, on_end, datasets, everything=everything)
            launcher(without_large(work))
    except RunInterruptedError as error:
        finished = len(entries) - len(left) + len(done)
        raise RunInterruptedError(
            error.signal_number,
            f"interrupted: {finished} of {len(entries)} runs are done; "
            f"to go on: {resume_command(folder.path)}",
        ) from None
    finally:
        display.stop()
        ledger.mark(done, DONE)
        ledger.mark_failed(failures)
    if failures:
        raise JobsFailedError(
            *_failure_lines(failures, left),
            f"{len(failures)} of {len(entries)} runs failed; "
            f"to try them again: {resume_command(folder.path)}",
        )


def _failure_lines(failures: Mapping[int, str], jobs: Mapping[int, JobRecord]) -> list[str]:
    """Return a line for each failed run; of runs with the same error, for the first ones."""
    runs_by_error: dict[str, list[JobRecord]] = {}
    for number in sorted(failures):
        runs_by_error.setdefault(failures[number], []).append(jobs[number])
    lines = []
    for error, runs in runs_by_error.items():
        lines += [f"{run.folder} ({' '.join(run.overrides)}): {error}" for run in runs[:MOST_ALIKE]]
        if more := len(runs[MOST_ALIKE:]):
            lines.append(f"{plural(more, 'more run')}: {error}")
    return lines


def _is_done(entry: JobRecord, path: Path) -> bool:
    if entry.status == DONE:
        return path.exists()
    return has_ended_well(path)
