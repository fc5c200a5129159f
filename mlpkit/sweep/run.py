"""A sweep: its jobs go into the ledger, each is trained into its own run folder, and what failed is told."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from mlpkit.append_file import AppendFile
from mlpkit.config import Config
from mlpkit.console import printable
from mlpkit.errors import (
    ConfigError,
    DataError,
    JobsFailedError,
    MlpkitError,
    RunInterruptedError,
)
from mlpkit.interrupts import Wish, polite_signals
from mlpkit.lock import locked
from mlpkit.plain_json import read_object
from mlpkit.resume import check_config, newest_good
from mlpkit.run import go_on, run
from mlpkit.run_folder import RunFolder
from mlpkit.session import Trial
from mlpkit.sweep.allowed import Allowed, refuse_large
from mlpkit.sweep.display import SweepDisplay
from mlpkit.sweep.folder import SweepFolder
from mlpkit.sweep.grid import Job
from mlpkit.sweep.groups import Datasets, Group, group
from mlpkit.sweep.ledger import DONE, Entry, Ledger, key_of, write_ledger
from mlpkit.sweep.pruning import Judge
from mlpkit.sweep.vectorized import Saved, train_together


@dataclass
class Work:
    """What a launcher is given.

    Attributes:
        folder: of the sweep.
        entries: the jobs that are to be trained, by their numbers.
        command: the command line, for the records.
        wish: to stop.
        display: shows how far it is.
        ended: called with the number of each job that has ended, and why, where it has failed.
        datasets: where data comes from.
        judge: of a search's trials, whose test scores are left to the winner; None where runs stand for
            themselves.
        allowed: what the jobs may do.
    """

    folder: SweepFolder
    entries: dict[int, Entry]
    command: str
    wish: Wish
    display: SweepDisplay
    ended: Callable[[int, BaseException | None], None]
    datasets: Datasets = field(default_factory=Datasets)
    judge: Judge | None = None
    allowed: Allowed = field(default_factory=Allowed)

    def config(self, number: int) -> Config:
        """Return a job's config, with the folder that it goes to."""
        entry = self.entries[number]
        place = {"root": self._root(entry), "dir": str(self.folder.run(entry.folder)), "resume": "never"}
        return entry.config.model_copy(update={"run": entry.config.run.model_copy(update=place)})

    def _root(self, entry: Entry) -> str:
        """Return the folder of all runs: as it was given, or the sweep's where that has been moved."""
        root = entry.config.run.root
        inside = self.folder.path.resolve().is_relative_to(Path(root).expanduser().resolve())
        return root if inside else str(self.folder.path)


Launcher = Callable[[Work], None]


def start(
    folder: SweepFolder, jobs: Sequence[Job], command: str, launcher: Launcher, console: Console
) -> None:
    """Train all jobs of a new sweep.

    Args:
        folder: a new one.
        jobs: each config once.
        command: the command line, for the records.
        launcher: how they are trained.
        console: where progress is shown.

    Raises:
        JobsFailedError: some have failed; all others are done.
        RunInterruptedError: somebody wished to stop.
        MlpkitError: the sweep's folder cannot be written.
    """
    with locked(folder.lock):
        if folder.ledger.exists():  # another process has been faster
            raise ConfigError(f"run.dir={folder.path}: already holds a sweep; to go on: {_way_on(folder)}")
        write_ledger(folder.ledger, jobs)
        with Ledger(folder.ledger) as ledger:
            _train(folder, ledger, command, launcher, console, Allowed())


def resume(
    path: Path,
    command: str,
    launcher: Launcher,
    console: Console,
    jobs: Sequence[Job] | None = None,
    allow_large: bool = False,
) -> None:
    """Train what a sweep has left to do: jobs that have not begun, have not ended, or have failed.

    Args:
        path: of the sweep.
        command: the command line, for the records.
        launcher: how they are trained.
        console: where progress is shown.
        jobs: those that the sweep must have, as the user's own command line names them; None takes what there
            is, which somebody else may have written: no data is fetched for it.
        allow_large: take models and datasets of any size from what there is.

    Raises:
        MlpkitError: as `start` does, or another process is at it, or it has other jobs.
    """
    folder = SweepFolder(path)
    with locked(folder.lock):
        folder.open_for_writing()
        with Ledger(folder.ledger) as ledger:
            if jobs is not None and not _are_in(ledger, jobs):
                raise ConfigError(f"run.dir={path}: holds a sweep of other runs; name a new folder")
            allowed = Allowed() if jobs is not None else Allowed(owned=False, large=allow_large)
            _train(folder, ledger, command, launcher, console, allowed)


def _are_in(ledger: Ledger, jobs: Sequence[Job]) -> bool:
    """Whether a ledger holds these jobs and no others; its own word for what its configs are is not taken."""
    return {key_of(entry.config) for entry in ledger.entries()} == {key_of(job.config) for job in jobs}


def _train(
    folder: SweepFolder, ledger: Ledger, command: str, launcher: Launcher, console: Console, allowed: Allowed
) -> None:
    entries = ledger.entries()
    # A job that had ended when the last process was killed may not have been written down.
    left = {e.number: e for e in entries if not _is_done(e, folder.run(e.folder))}
    for entry in entries:
        if folder.run(entry.folder).is_symlink():
            raise DataError(f"{folder.run(entry.folder)}: may lead out of the sweep; remove the link")
    commands = AppendFile(folder.command)
    commands.write(f"{command}\n".encode())
    commands.close()
    unmarked = [e for e in entries if e.status != DONE and e.number not in left]
    for entry in unmarked:
        # Of which the killed process still had the lock.
        with suppress(MlpkitError), locked(RunFolder(folder.run(entry.folder)).lock):
            pass
    ledger.mark([entry.number for entry in unmarked], DONE)
    failures: dict[int, str] = {}  # why, by number
    done: list[int] = []  # and not written down yet: what a run's summary says counts until then
    display = SweepDisplay(console, len(entries), len(entries) - len(left))

    def ended(number: int, error: BaseException | None) -> None:
        if isinstance(error, RunInterruptedError):
            return
        display.ended(failed=error is not None)
        if error is None:
            done.append(number)
            return
        failures[number] = last_line(error)

    datasets = Datasets(download=allowed.owned)
    try:
        with polite_signals() as wish:
            work = Work(folder, left, command, wish, display, ended, datasets, allowed=allowed)
            launcher(without_large(work))
    except RunInterruptedError as error:
        finished = len(entries) - len(left) + len(done)
        raise RunInterruptedError(
            error.signal_number,
            f"interrupted: {finished} of {len(entries)} runs are done; to go on: {_way_on(folder)}",
        ) from None
    finally:
        display.stop()
        ledger.mark(done, DONE)
        ledger.mark_failed(failures)
    if failures:
        lines = [
            f"{left[number].folder} ({' '.join(left[number].overrides)}): {failures[number]}"
            for number in sorted(failures)
        ]
        raise JobsFailedError(
            *lines,
            f"{len(lines)} of {len(entries)} runs failed; to try them again: {_way_on(folder)}",
        )


def _way_on(folder: SweepFolder) -> str:
    return f"mlpkit resume {shlex.quote(str(folder.path))}"


def without_large(work: Work) -> Work:
    """Return the work without the jobs that are larger than is allowed; those have failed."""
    if work.allowed.large:
        return work
    kept: dict[int, Entry] = {}
    for number, entry in work.entries.items():
        work.wish.check()
        try:
            refuse_large(entry.config, work.datasets, work.folder.ledger)
        except MlpkitError as error:
            work.ended(number, error)
        else:
            kept[number] = entry
    return replace(work, entries=kept)


def vectorized(work: Work) -> None:
    """Train jobs of one shape together, and the others one after another."""
    fresh = {number: work.config(number) for number in work.entries if is_fresh(work, number)}
    others = {number: work.config(number) for number in work.entries if number not in fresh}
    large = work.allowed.large
    saved = {n: found for n, config in others.items() if (found := saved_between_epochs(config, large))}
    begun = {number: stored.state.progress.step for number, (_, stored) in saved.items()}
    ready = fresh | {number: others[number] for number in saved}
    groups, wrong = group(ready, work.datasets, begun)
    for number, error in wrong.items():
        work.ended(number, error)
    groups += [Group((number,), together=False) for number in others if number not in saved]
    work.display.begin(groups)
    for of in groups:
        work.wish.check()
        work.display.next_group(of)
        if of.together:
            _train_group(work, {number: ready[number] for number in of.numbers}, saved)
        else:
            train_alone(work, of.numbers[0])


def _train_group(work: Work, configs: Mapping[int, Config], saved: Mapping[int, Saved]) -> None:
    """Train jobs together; where that cannot be done, those that have not ended one after another."""
    left = dict(configs)

    def ended(number: int, error: BaseException | None) -> None:
        del left[number]
        work.ended(number, error)

    try:
        datasets = [work.datasets.load(config.dataset) for config in configs.values()]
        train_together(
            configs, datasets, saved, work.command, work.wish, ended, work.display.tick, work.judge
        )
    except RunInterruptedError:
        raise
    except Exception as error:  # such as memory for one, and not for all of them
        work.display.note(f"trained one after another: {last_line(error)}")
        for number in list(left):
            work.wish.check()
            train_alone(work, number)


def saved_between_epochs(config: Config, allow_large: bool = True) -> Saved | None:
    """Return the newest good checkpoint of a run that stands between two epochs, and its path.

    There it can go on together with others that stand at the same place.
    """
    folder = RunFolder(Path(str(config.run.dir)))
    try:
        with locked(folder.lock):
            folder.open_for_writing()
            paths = [path for path in (folder.last, *folder.older()) if path.exists()]
            if not paths:
                return None
            found = newest_good(paths, lambda line: None, allow_large)
            check_config(config, found[1])
    except (MlpkitError, OSError):  # going on alone, it says what is wrong
        return None
    return found if found[1].state.progress.batch == 0 else None


def train_alone(work: Work, number: int) -> None:
    """Train one job, or go on with it."""
    config, judge = work.config(number), work.judge
    trial = judge and Trial(lambda epoch, value, loss: bool(judge([number], epoch, [value], [loss])))
    try:
        train(config, work.command, trial, work.allowed)
    except RunInterruptedError:
        raise
    except Exception as error:  # one job's trouble is not the others'
        work.ended(number, error)
    else:
        work.ended(number, None)


def train(config: Config, command: str, trial: Trial | None = None, allowed: Allowed | None = None) -> None:
    """Train what a job's config says into its folder; a run that is there goes on.

    Args:
        config: of the job.
        command: the command line, for the records.
        trial: of a search.
        allowed: what the job may do; None allows all.

    Raises:
        MlpkitError: as `mlpkit.run.run` does.
    """
    allowed = allowed or Allowed()
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere)
        folder = RunFolder(Path(str(config.run.dir)))
        if folder.config.exists():
            go_on(
                folder,
                config,
                command,
                console,
                lambda line: None,
                allow_large=allowed.large,
                owned=allowed.owned,
                trial=trial,
            )
        else:
            run(config, command, console, lambda line: None, trial, allowed.owned)


def outcome(config: Config, command: str, allowed: Allowed | None = None) -> str | None:
    """Train as `train` does, in a process of the job's own; return the last line of its error, None without.

    A signal that comes before the run listens, or after it, ends the training as well.
    """
    try:
        with polite_signals() as wish:
            wish.at_once = True
            train(config, command, allowed=allowed)
    except Exception as error:  # whatever it is, the sweep's process is to say it
        return last_line(error)
    return None


def is_fresh(work: Work, number: int) -> bool:
    """Whether nothing of a job's run can be gone on from; what there is of it is cleared away."""
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


def _is_done(entry: Entry, path: Path) -> bool:
    if entry.status == DONE:
        return path.exists()
    try:
        summary = read_object(RunFolder(path).summary)
    except DataError:
        return False
    return summary.get("status") in ("done", "stopped early")


def last_line(error: BaseException) -> str:
    """Return the line that says most of an error."""
    if isinstance(error, MlpkitError) and error.args:
        return printable(str(error).splitlines()[-1])
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])
