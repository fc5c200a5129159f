"""Chooses the runs and checkpoints that `mlpkit clean` removes, and removes them.

A run is renamed to a hidden name first, which is atomic: a process that is killed leaves whole runs, and what
is left of a renamed one goes with the next clean.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlpkit.errors import DataError, LockedError
from mlpkit.runs.fork import read_fork
from mlpkit.runs.listing import RUNNING, UNFINISHED, Listed, ListedRun, ListedSweep
from mlpkit.runs.run_folder import RunFolder
from mlpkit.runs.sweep_folder import SweepFolder, is_sweep
from mlpkit.system.atomic_write import SUFFIX, sync_folder
from mlpkit.system.failed_write import failed_write
from mlpkit.system.lock import is_held, locked

REMOVED = f".removed{SUFFIX}"  # ends the hidden name of a run that is being removed
FINISHED = ("done", "stopped early", "pruned")


@dataclass(frozen=True)
class Removal:
    """A run folder or an older checkpoint to be removed.

    Attributes:
        path: the folder, or the checkpoint file.
        reason: why it goes.
        size: in bytes; a file with several names counts once.
    """

    path: Path
    reason: str
    size: int


@dataclass
class Plan:
    """What is to be removed, and how many runs that would go are kept, by the reason."""

    removals: list[Removal] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        """The bytes of all removals."""
        return sum(removal.size for removal in self.removals)


@dataclass(frozen=True)
class Wanted:
    """What the user wants to have removed besides failed runs and those with nothing saved.

    Attributes:
        checkpoints: older checkpoints of finished runs.
        before: runs that have not been changed since then, in seconds since 1970; None for none of them.
        age: the age as the user has typed it.
    """

    checkpoints: bool = False
    before: float | None = None
    age: str = ""


def plan(listed: Iterable[Listed], wanted: Wanted, best_run: Callable[[Path], Path | None]) -> Plan:
    """Choose what is removed; nothing is changed.

    Args:
        listed: runs and sweeps.
        wanted: what goes.
        best_run: returns the run that stands for a sweep; None if it cannot be told.

    Raises:
        DataError: a run of a sweep is given without the sweep.
    """
    found, listed = Plan(), list(listed)
    forked = _forked(listed)
    for each in listed:
        if isinstance(each, ListedRun):
            if is_sweep(each.path.parent):
                raise DataError(f"{each.path}: a run of a sweep, whose best run is kept; name the sweep")
            _choose(each, wanted, found, _reason_to_keep(each, forked))
            continue
        if is_held(SweepFolder(each.path).lock):
            found.kept["sweep in use"] += sum(_why(run, wanted) is not None for run in each.runs)
            continue
        is_labelled = os.path.lexists(SweepFolder(each.path).labels)
        best = _best_of(each, best_run) if any(_why(run, wanted) for run in each.runs) else ()
        for run in each.runs:
            reason = "tag or note of the sweep" if is_labelled else _reason_to_keep(run, forked)
            if run.score is not None and (best is None or run.path in best):
                reason = "best of its sweep"
            _choose(run, wanted, found, reason)
    return found


def _best_of(sweep: ListedSweep, best_run: Callable[[Path], Path | None]) -> Collection[Path] | None:
    """Return the runs of which one is a sweep's best; None if they all may be."""
    if all(run.score is None for run in sweep.runs):
        return ()
    ranked = best_run(sweep.path)
    if sweep.best is None or ranked is None:
        return None
    equal = [run.path for run in sweep.runs if run.score == sweep.best.score]  # a search names one of them
    return [*equal, ranked]


def _why(run: ListedRun, wanted: Wanted) -> str | None:
    """Return why a run would go; None if it stays."""
    if run.status == RUNNING:
        return None
    if run.status == "failed":
        return "failed"
    folder = RunFolder(run.path)
    if run.status in ("interrupted", UNFINISHED) and not (folder.last.exists() or folder.older()):
        return f"{run.status}, nothing saved"
    if wanted.before is not None and run.changed < wanted.before:
        return f"older than {wanted.age}"
    return None


def _forked(listed: Iterable[Listed]) -> set[Path]:
    """Return the runs that some of the listed runs branch off from; without them these cannot be verified."""
    runs = [run for each in listed for run in (each.runs if isinstance(each, ListedSweep) else (each,))]
    forks = map(read_fork, (run.path for run in runs))
    return {Path(fork.run).resolve() for fork in forks if fork is not None}


def _reason_to_keep(run: ListedRun, forked: Collection[Path]) -> str:
    if os.path.lexists(RunFolder(run.path).labels):
        return "tag or note"
    return "has branches" if forked and run.path.resolve() in forked else ""


def _choose(run: ListedRun, wanted: Wanted, found: Plan, keep: str) -> None:
    """Add to the plan what goes of a run, or why it stays."""
    folder, why = RunFolder(run.path), _why(run, wanted)
    checkpoints = folder.older() if wanted.checkpoints and run.status in FINISHED else []
    if why is None and not checkpoints:
        return
    keep = keep if why is not None or keep != "best of its sweep" else ""  # its older checkpoints may go
    keep = keep or ("in use" if is_held(folder.lock) else "") or strange_content(folder)
    if keep:
        found.kept[keep] += 1
    elif why is not None:
        found.removals.append(Removal(run.path, why, _size([run.path])))
    else:
        found.removals += [Removal(path, "older checkpoint", _size([path])) for path in checkpoints]


def strange_content(folder: RunFolder) -> str:
    """Return why a folder is not removed as a run of mlpkit's making; empty if it may be.

    It may also be what is left of one.
    """
    if folder.path.is_symlink():
        return "a link"
    try:
        for path in [*folder.path.iterdir(), *_within(folder.last.parent)]:
            is_temporary = path.name.startswith(".") and path.name.endswith(SUFFIX)
            if path.is_symlink():
                return "holds links"
            if not (folder.owns(path) or is_temporary) or (path in folder.files and not path.is_file()):
                return "holds files that are not mlpkit's"
            if path.parent == folder.last.parent and path.suffix not in (".safetensors", SUFFIX):
                return "holds files that are not mlpkit's"
    except OSError:
        return "not readable"
    return ""


def _within(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() and not folder.is_symlink() else iter(())


def left_over(folders: Iterable[Path]) -> list[Removal]:
    """Return what is left of runs whose removal was stopped, beside the given run folders and sweeps."""
    found = []
    for folder in sorted(set(folders)):
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                is_hidden = path.name.startswith(".") and path.name.endswith(REMOVED)
                if is_hidden and path.is_dir() and not strange_content(RunFolder(path)):
                    found.append(Removal(path, "left by a stopped clean", _size([path])))
    return found


def remove(removals: Sequence[Removal], warn: Callable[[str], None]) -> int:
    """Remove runs and checkpoints; return the bytes that are freed.

    Args:
        removals: of `plan` and `left_over`.
        warn: called with a line for each that is kept, since it is used or has changed meanwhile.

    Raises:
        WriteError: one cannot be removed.
    """
    freed = 0
    for removal in removals:
        try:
            _remove(removal)
            freed += removal.size
        except (LockedError, DataError) as error:
            warn(f"kept: {error}")
    return freed


def _remove(removal: Removal) -> None:
    path = removal.path
    try:
        if path.name.endswith(REMOVED):
            shutil.rmtree(path)
        elif removal.reason == "older checkpoint":
            with locked(RunFolder(path.parents[1]).lock):
                path.unlink(missing_ok=True)
        else:
            shutil.rmtree(_hide(RunFolder(path)))
    except OSError as error:
        raise failed_write(error.filename or path, error, "cannot be removed") from None


def _hide(folder: RunFolder) -> Path:
    """Rename a run's folder, so that it is no run any more; return its new path."""
    path = folder.path.resolve()
    hidden = path.with_name(f".{path.name}{REMOVED}")
    with locked(folder.lock):
        if problem := strange_content(folder):
            raise DataError(f"{folder.path}: {problem}")
        if sys.platform != "win32":  # which renames no folder with an open file
            path.rename(hidden)
    if sys.platform == "win32":
        path.rename(hidden)
    sync_folder(path.parent)
    return hidden


def _size(paths: Iterable[Path]) -> int:
    """Return the bytes of files and folders; of a file with several names within them, once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in paths:
        for file in [path, *(Path(top, name) for top, _, names in os.walk(path) for name in names)]:
            with suppress(OSError):
                about = file.lstat()
                if not file.is_dir():
                    sizes[about.st_dev, about.st_ino] = about.st_size
    return sum(sizes.values())
