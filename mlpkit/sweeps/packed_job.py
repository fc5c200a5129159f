"""A job of a sweep as its own process sees it: a group of runs, trained together."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from mlpkit.config.launcher import JobResult
from mlpkit.config.plugins import Parcel
from mlpkit.errors import (
    ConfigError,
    DataError,
    LockedError,
    MlpkitError,
    NonFiniteError,
    RunInterruptedError,
    WriteError,
)
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.sweeps.datasets import Datasets
from mlpkit.sweeps.display import SweepDisplay
from mlpkit.sweeps.job import last_line
from mlpkit.sweeps.ledger import JobRecord
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.sweeps.work import Work
from mlpkit.system.lock import locked
from mlpkit.training.stop import StopRequest, stop_on_signals

# Seconds to wait for a job that was given up and still saves the same runs, or whose machine is lost: a file
# server frees the locks of a lost machine some time later (NFSv4: after 90 seconds).
PATIENCE = 180.0
KINDS = (NonFiniteError, ConfigError, DataError, LockedError, WriteError)  # of errors that are told apart


@dataclass(frozen=True)
class Task:
    """What a job's process needs to know.

    Attributes:
        folder: the sweep's folder, as the sweep's process names it.
        place: that process's working directory.
        entries: the runs by number, in the order of the group.
        origin: the command line, and whether the sweep is the user's own or foreign.
        is_search: whether the runs are trials, which are not scored on the test split.
    """

    folder: Path
    place: Path
    entries: dict[int, JobRecord]
    origin: Origin
    is_search: bool


def make_parcel(work: Work, runs: tuple[int, ...]) -> Parcel:
    """Return a job's parcel: the group of these runs."""
    entries = {number: work.entries[number] for number in runs}
    return Parcel(Task(work.folder.path, Path.cwd(), entries, work.origin, work.judge is not None))


def train_job(
    parcel: Parcel,
    begin: Callable[[set[str]], None] = lambda devices: None,
    on_signal: Callable[[int], None] = lambda number: None,
) -> JobResult:
    """Train a job in the main thread of this process. A stop signal saves its runs and ends it.

    Args:
        parcel: from `make_parcel`.
        begin: called with the devices that the runs name, before one of them is used.
        on_signal: called after a stop signal, when the runs have been saved.

    Returns:
        How each run has ended; a run that was stopped or not begun is left out.
    """
    errors: dict[int, MlpkitError | None] = {}
    notes = _Notes()

    def on_end(number: int, error: BaseException | None) -> None:
        if not isinstance(error, RunInterruptedError):
            errors[number] = None if error is None else _sendable(error)

    try:
        with stop_on_signals() as stop:
            try:
                task = parcel.open()
            except Exception as error:  # a plug-in cannot be loaded, or the sweep has other versions
                return JobResult(refused=_sendable(error))
            assert isinstance(task, Task)
            begin({entry.config.device for entry in task.entries.values()})
            with _folder_of(task) as folder:
                _train(task, folder, stop, notes, on_end)
    except RunInterruptedError as error:
        on_signal(error.signal_number)
    except Exception as error:  # what concerns all runs, such as too little memory
        for number in task.entries.keys() - errors.keys():
            on_end(number, error)
    return JobResult(errors, None, notes.lines)


def _train(
    task: Task,
    folder: SweepFolder,
    stop: StopRequest,
    notes: "_Notes",
    on_end: Callable[[int, BaseException | None], None],
) -> None:
    datasets = Datasets(task.origin.trust, folder.ledger)
    judge = _prune_none if task.is_search else None
    work = Work(folder, task.entries, task.origin, stop, notes, on_end, datasets, judge)
    _wait_for_others(work)
    vectorized(work, as_one=True)


def _prune_none(*scores: object) -> list[int]:
    """Prune no trial: those of other jobs are not known here."""
    return []


class _Notes(SweepDisplay):
    """Shows nothing, and keeps the notes."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO()), 0, 0)
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@contextmanager
def _folder_of(task: Task) -> Iterator[SweepFolder]:
    """Work in the same directory as the sweep's process, if this machine has it, so that paths are equal."""
    absolute, before = task.place / task.folder, Path.cwd()
    with suppress(OSError):
        os.chdir(task.place)
    try:
        yield SweepFolder(task.folder if task.folder.absolute() == absolute.absolute() else absolute)
    finally:
        os.chdir(before)


def _wait_for_others(work: Work) -> None:
    """Wait while an earlier job still holds the runs: one that has lost its scheduler saves and ends soon."""
    deadline = time.monotonic() + PATIENCE
    for number in work.entries:
        folder = RunFolder(work.folder.run(work.entries[number].folder))
        while folder.lock.exists() and time.monotonic() < deadline:
            with suppress(LockedError), locked(folder.lock):
                break
            work.stop.check()
            time.sleep(0.2)


def _sendable(error: BaseException) -> MlpkitError:
    """Return an error of mlpkit's own classes with one line, which another process can read."""
    kind = next((kind for kind in KINDS if isinstance(error, kind)), MlpkitError)
    return kind(last_line(error))
