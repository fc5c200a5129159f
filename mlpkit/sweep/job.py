"""One job of a sweep, trained by itself: begun, or gone on with where its run folder says so."""

import os
from pathlib import Path

from rich.console import Console

from mlpkit.config.config import Config
from mlpkit.errors import MlpkitError, RunInterruptedError
from mlpkit.runs.origin import Origin
from mlpkit.runs.run_folder import RunFolder
from mlpkit.sweep.work import Work
from mlpkit.system.console import printable
from mlpkit.system.lock import locked
from mlpkit.training.resume import Warn, check_config, newest_good
from mlpkit.training.start import Saved, resume_run, run
from mlpkit.training.stop import polite_signals
from mlpkit.training.trainer import Judge


def train_alone(work: Work, number: int) -> None:
    """Train one job, or go on with it."""
    config, judge = work.config(number), work.judge
    of_run = None if judge is None else lambda recorders, *known: judge([number], *known)
    try:
        train(config, work.origin_of(number), work.warn, of_run)
    except RunInterruptedError:
        raise
    except Exception as error:  # one job's trouble is not the others'
        work.ended(number, error)
    else:
        work.ended(number, None)


def train(config: Config, origin: Origin, warn: Warn = lambda line: None, judge: Judge | None = None) -> None:
    """Train what a job's config says into its folder; a run that is there goes on.

    Args:
        config: of the job.
        origin: the command line, and whose the sweep is.
        warn: told of what the user should know and that stops nothing.
        judge: of a search; see `Trainer`.

    Raises:
        MlpkitError: as `mlpkit.training.start.run` does.
    """
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere)
        folder = RunFolder(Path(str(config.run.dir)))
        if folder.config.exists():
            resume_run(folder, config, origin, console, warn, judge=judge)
        else:
            run(config, origin, console, warn, judge)


def outcome(config: Config, origin: Origin) -> str | None:
    """Train as `train` does, in a process of the job's own; return the last line of its error, None without.

    A signal that comes before the run listens, or after it, ends the training as well.

    Raises:
        RunInterruptedError: there was one; what was trained has been saved.
    """
    try:
        with polite_signals() as wish:
            wish.at_once = True
            train(config, origin)
    except RunInterruptedError:
        raise
    except Exception as error:  # whatever it is, the sweep's process is to say it
        return last_line(error)
    return None


def is_fresh(work: Work, number: int) -> bool:
    """Whether nothing of a job's run can be gone on from; what there is of it is cleared away."""
    work.wish.check()
    folder = RunFolder(work.folder.run(work.entries[number].folder))
    try:
        if not folder.path.exists():
            return True
        with locked(folder.lock):
            if folder.last.exists() or folder.older():
                return False
            folder.clear()
    except (MlpkitError, OSError):  # somebody goes on with the run by itself, or it says what is wrong alone
        return False
    return True


def newest_saved(work: Work, config: Config) -> Saved | None:
    """Return the newest good checkpoint of a run that can go on, and its path."""
    work.wish.check()
    folder = RunFolder(Path(str(config.run.dir)))
    try:
        with locked(folder.lock):
            folder.open_for_writing()
            paths = [path for path in (folder.last, *folder.older()) if path.exists()]
            if not paths:
                return None
            found = newest_good(paths, lambda line: None, work.origin.trust)
            check_config(config, found[1])
    except (MlpkitError, OSError):  # going on alone, it says what is wrong
        return None
    return found


def last_line(error: BaseException) -> str:
    """Return the line that says most of an error."""
    if isinstance(error, MlpkitError) and error.args:
        return printable(str(error).splitlines()[-1])
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])
