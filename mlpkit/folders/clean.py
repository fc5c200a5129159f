"""Chooses the runs and checkpoints that `mlpkit clean` removes, and removes them.

A run is first renamed to a hidden name, which is atomic. So if the process is killed, each run is whole or
hidden; the next clean removes what is left of hidden ones.
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
from mlpkit.folders.fork import read_fork
from mlpkit.folders.listed_run import FINISHED, RUNNING, UNFINISHED, ListedRun
from mlpkit.folders.listing import Listed, ListedSweep
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_name import events_folder
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
from mlpkit.system.atomic_write import SUFFIX, sync_folder
from mlpkit.system.failed_write import failed_write
from mlpkit.system.lock import is_held, locked

REMOVED = f".removed{SUFFIX}"  # ends the hidden name of a run that is being removed
NO_RUN = "sweep without runs"
OLDER_CHECKPOINT, BEST_OF_SWEEP = "older checkpoint", "best of its sweep"  # reasons


@dataclass(frozen=True)
class Removal:
    """A run folder, a sweep without runs or an older checkpoint to be removed.

    Attributes:
        path: the folder, or the checkpoint file.
        reason: why it is removed.
        size: in bytes; a file with several names counts once.
    """

    path: Path
    reason: str
    size: int


@dataclass
class Plan:
    """What is removed, and how many runs are kept that would be removed otherwise, by the reason."""

    removals: list[Removal] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        """The bytes of all removals."""
        return sum(removal.size for removal in self.removals)


@dataclass(frozen=True)
class Wanted:
    """What the user wants to remove besides failed runs, runs with nothing saved and sweeps without runs.

    Attributes:
        checkpoints: whether to remove older checkpoints of finished runs.
        before: remove runs that were started or resumed before this time, in seconds since 1970; None: none.
        age: the age as the user typed it.
    """

    checkpoints: bool = False
    before: float | None = None
    age: str = ""


def plan(listed: Iterable[Listed], wanted: Wanted, best_run: Callable[[Path], Path | None]) -> Plan:
    """Choose what is removed, without removing anything.

    Args:
        listed: runs and sweeps.
        wanted: what the user wants to remove.
        best_run: returns the best run of a sweep; None if it is not known.

    Raises:
        DataError: a run of a sweep is given without the sweep.
    """
    planned, listed = Plan(), list(listed)
    forked = _forked(listed)
    for each in listed:
        if isinstance(each, ListedRun):
            if is_sweep(each.path.parent):
                raise DataError(f"{each.path}: a run of a sweep, whose best run is kept; name the sweep")
            _add(planned, each, wanted, _label_of(each, forked))
            continue
        if is_held(SweepFolder(each.path).lock):
            removable = sum(_reason_to_remove(run, wanted) is not None for run in each.runs)
            planned.kept["sweep in use"] += removable
            continue
        is_labelled = os.path.lexists(SweepFolder(each.path).labels)
        if not (each.runs or is_labelled or foreign_content(RunFolder(each.path))):
            planned.removals.append(Removal(each.path, NO_RUN, _size([each.path])))
        best = _best_of(each, best_run) if any(_reason_to_remove(run, wanted) for run in each.runs) else ()
        for run in each.runs:
            keep = "tag or note of the sweep" if is_labelled else _label_of(run, forked)
            if run.score is not None and (best is None or run.path in best):
                keep = BEST_OF_SWEEP
            _add(planned, run, wanted, keep)
    return planned


def _best_of(sweep: ListedSweep, best_run: Callable[[Path], Path | None]) -> Collection[Path] | None:
    """Return the runs that may be called a sweep's best; None if any of them may be."""
    if all(run.score is None for run in sweep.runs):
        return ()
    best_by_mean = best_run(sweep.path)
    if sweep.best is None or best_by_mean is None:
        return None
    equal = [run.path for run in sweep.runs if run.score == sweep.best.score]  # a search names one of them
    return [*equal, best_by_mean]


def _reason_to_remove(run: ListedRun, wanted: Wanted) -> str | None:
    """Return why a run is removed if nothing keeps it; None if it stays."""
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
    """Return the runs that listed runs branch off from; without them the branches cannot be verified."""
    runs = [run for each in listed for run in (each.runs if isinstance(each, ListedSweep) else (each,))]
    forks = map(read_fork, (run.path for run in runs))
    return {Path(fork.run).resolve() for fork in forks if fork is not None}


def _label_of(run: ListedRun, forked: Collection[Path]) -> str:
    """Return whether a tag, a note or branches keep a run, in words; empty if there are none."""
    if os.path.lexists(RunFolder(run.path).labels):
        return "tag or note"
    return "has branches" if forked and run.path.resolve() in forked else ""


def _add(planned: Plan, run: ListedRun, wanted: Wanted, keep: str) -> None:
    """Add to the plan what is removed of a run, or why it is kept.

    Args:
        planned: the plan.
        run: the run.
        wanted: what the user wants to remove.
        keep: a reason to keep the run; empty if there is none so far.
    """
    folder, reason = RunFolder(run.path), _reason_to_remove(run, wanted)
    checkpoints = folder.older() if wanted.checkpoints and run.status in FINISHED else []
    if reason is None and not checkpoints:
        return
    if reason is None and keep == BEST_OF_SWEEP:
        keep = ""  # its older checkpoints are removed all the same
    keep = keep or ("in use" if is_held(folder.lock) else "") or foreign_content(folder)
    if keep:
        planned.kept[keep] += 1
    elif reason is not None:
        planned.removals.append(Removal(run.path, reason, _size([run.path, events_folder(folder)])))
    else:
        planned.removals += [Removal(path, OLDER_CHECKPOINT, _size([path])) for path in checkpoints]


def foreign_content(folder: RunFolder) -> str:
    """Return what a run folder, or the rest of one, holds that mlpkit has not written; empty if nothing.

    It may also be a sweep that has no runs.
    """
    of_sweep = SweepFolder(folder.path).files
    if folder.path.is_symlink():
        return "a link"
    try:
        events_folder(folder)
        for path in [*folder.path.iterdir(), *_within(folder.last.parent)]:
            is_temporary = path.name.startswith(".") and path.name.endswith(SUFFIX)
            if path.is_symlink():
                return "holds links"
            is_own = folder.owns(path) or path in of_sweep or is_temporary
            if not is_own or (path in (*folder.files, *of_sweep) and not path.is_file()):
                return "holds files that are not mlpkit's"
            if path.parent == folder.last.parent and path.suffix not in (".safetensors", SUFFIX):
                return "holds files that are not mlpkit's"
    except DataError:
        return "event files behind a link"
    except OSError:
        return "not readable"
    return ""


def _within(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() and not folder.is_symlink() else iter(())


def left_over(folders: Iterable[Path]) -> list[Removal]:
    """Return the hidden folders in some folders, which are left of runs whose removal was stopped."""
    removals = []
    for folder in sorted(set(folders)):
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                is_hidden = path.name.startswith(".") and path.name.endswith(REMOVED)
                if is_hidden and path.is_dir() and not foreign_content(RunFolder(path)):
                    removals.append(Removal(path, "left by a stopped clean", _size([path])))
    return removals


def remove(removals: Sequence[Removal], warn: Callable[[str], None]) -> int:
    """Remove runs and checkpoints; return the number of bytes freed.

    Args:
        removals: of `plan` and `left_over`.
        warn: called with a line for each that is kept because it is in use or has changed meanwhile.

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
        if removal.reason == OLDER_CHECKPOINT:
            with locked(RunFolder(path.parents[1]).lock):
                path.unlink(missing_ok=True)
            return
        events = events_folder(RunFolder(path))
        hidden = path if path.name.endswith(REMOVED) else _hide(RunFolder(path))
        if events.exists():  # in the sweep's folder
            shutil.rmtree(events)
        shutil.rmtree(hidden)
    except OSError as error:
        raise failed_write(error.filename or path, error, "cannot be removed") from None


def _hide(folder: RunFolder) -> Path:
    """Rename a run's folder, so that it is no longer a run; return its new path."""
    path = folder.path.resolve()
    hidden = path.with_name(f".{path.name}{REMOVED}")
    with locked(folder.lock):
        if problem := foreign_content(folder):
            raise DataError(f"{folder.path}: {problem}")
        if sys.platform != "win32":  # which renames no folder with an open file
            path.rename(hidden)
    if sys.platform == "win32":
        path.rename(hidden)
    sync_folder(path.parent)
    return hidden


def _size(paths: Iterable[Path]) -> int:
    """Return the size of files and folders in bytes; a file with several names in them counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for path in paths:
        for file in [path, *(Path(top, name) for top, _, names in os.walk(path) for name in names)]:
            with suppress(OSError):
                about = file.lstat()
                if not file.is_dir():
                    sizes[about.st_dev, about.st_ino] = about.st_size
    return sum(sizes.values())
