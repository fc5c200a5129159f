"""Trains one job of a sweep by itself: starts it, or resumes it if its run folder exists."""

import os
from pathlib import Path

from rich.console import Console

from mlpkit.config.config import Config
from mlpkit.errors import DataError, MlpkitError, RunInterruptedError
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.sweeps.work import Work
from mlpkit.system.console import printable
from mlpkit.system.lock import locked
from mlpkit.training.resume import Warn, check_config, newest_good
from mlpkit.training.start import Saved, resume_run, run
from mlpkit.training.trainer import Judge


def train_alone(work: Work, number: int) -> None:
    """Start or resume one job; its result goes to `work.on_end`."""
    config, judge = work.config(number), work.judge
    judge_run = None if judge is None else lambda recorders, *scores: judge([number], *scores)
    try:
        train(config, work.origin_of(number), work.warn, judge_run)
    except RunInterruptedError:
        raise
    except Exception as error:  # a failed job does not stop the others
        work.on_end(number, error)
    else:
        work.on_end(number, None)


def train(config: Config, origin: Origin, warn: Warn = lambda line: None, judge: Judge | None = None) -> None:
    """Train a job into its run folder, or resume the run that is there. Prints nothing.

    Args:
        config: the job's config.
        origin: the command line, and whether the sweep is the user's own or foreign.
        warn: called with each warning.
        judge: chooses the trials of a search to prune; see `Trainer`.

    Raises:
        MlpkitError: as in `mlpkit.training.start.run`.
    """
    with Path(os.devnull).open("w") as devnull:
        console = Console(file=devnull)
        folder = RunFolder(Path(str(config.run.dir)))
        if folder.config_file.exists():
            resume_run(folder, config, origin, console, warn, judge=judge)
        else:
            run(config, origin, console, warn, judge)


def clear_if_fresh(work: Work, number: int) -> bool:
    """Return whether a job starts from scratch; files of a run without a checkpoint are removed."""
    work.stop.check()
    folder = RunFolder(work.folder.run(work.entries[number].folder))
    try:
        if not folder.path.exists():
            return True
        with locked(folder.lock):
            if folder.last.exists() or folder.older():
                return False
            folder.clear()
    except (MlpkitError, OSError):  # in use by another process, or unusable: training it alone reports why
        return False
    return True


def newest_saved(work: Work, config: Config) -> Saved | None:
    """Return the path and the newest undamaged checkpoint of a run, or None if it cannot be resumed."""
    work.stop.check()
    folder = RunFolder(Path(str(config.run.dir)))
    try:
        with locked(folder.lock):
            folder.open_for_writing()
            paths = [path for path in (folder.last, *folder.older()) if path.exists()]
            if not paths:
                return None
            saved = newest_good(paths, lambda line: None, work.origin.trust)
            check_config(config, saved[1])
    except (MlpkitError, OSError):  # resuming it alone reports why
        return None
    return saved


def has_ended_well(path: Path) -> bool:
    """Whether a run was trained to its end, according to its summary."""
    try:
        return read_summary(RunFolder(path)).get("status") in ("done", "stopped early")
    except DataError:
        return False


def last_line(error: BaseException) -> str:
    """Return the most informative line of an error."""
    if isinstance(error, MlpkitError) and error.args:
        return printable(str(error).splitlines()[-1])
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])
