"""Lists runs and sweeps from their small files only, fast enough for tens of thousands of runs.

A run costs one folder listing and two or three small reads.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlpkit.folders.found_runs import check_folder, folders_in
from mlpkit.folders.labels import NO_LABELS, Labels
from mlpkit.folders.listed_run import (
    RUNNING,
    UNFINISHED,
    ListedRun,
    is_regular,
    is_run_folder,
    labels_in,
    plain_of,
    read_run,
    run_of_text,
)
from mlpkit.folders.run_index import LISTED, RunIndex
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.system.paths import HERE

_LEDGER = SweepFolder(Path()).ledger.name


@dataclass
class ListedSweep:
    """A sweep and its runs."""

    folder: str
    changed: float
    labels: Labels = NO_LABELS
    runs: list[ListedRun] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The sweep's folder."""
        return Path(self.folder)

    @property
    def best(self) -> ListedRun | None:
        """The run with the best score, if all runs have the same kind of score."""
        scored = [run for run in self.runs if run.score is not None and run.status != "pruned"]
        kinds = {(run.score.split, run.score.name) for run in scored if run.score is not None}
        return min(scored, key=lambda run: run.score.order if run.score else ()) if len(kinds) == 1 else None


Listed = ListedRun | ListedSweep


def list_runs(paths: Sequence[Path], warn: Callable[[str], None], open_sweeps: bool = True) -> list[Listed]:
    """Return the runs and sweeps at or anywhere below some folders, newest first; links are not followed.

    Args:
        paths: run folders, sweeps and folders of runs.
        warn: called for each folder that cannot be read.
        open_sweeps: whether a sweep among the paths stands for its runs.

    Raises:
        DataError: a path is not a folder.
    """
    by_path: dict[str, Listed] = {}
    real = str if len(paths) == 1 else os.path.realpath  # which costs more than reading a run
    for path in paths:
        check_folder(path)
        with RunIndex("listed", LISTED, [path]) as index:
            below = _below(path, warn, index)
        for found in below:
            opened: Sequence[Listed] = [found]
            if open_sweeps and isinstance(found, ListedSweep) and found.folder == str(path):
                opened = found.runs
            for each in opened:
                by_path.setdefault(real(each.folder), each)
    return sorted(by_path.values(), key=newest_first)


def newest_first(found: Listed) -> tuple[float, str]:
    """Return a sort key that is smaller for a newer run or sweep; of equally old ones, for the first name."""
    return -found.changed, found.folder


def by_score(found: Listed) -> tuple[bool, tuple[str, str, float], tuple[float, str]]:
    """Return a sort key: each kind of score together, the best first; what has none comes last."""
    run = found.best if isinstance(found, ListedSweep) else found
    score = run.score if run else None
    return score is None, score.order if score else ("", "", 0.0), newest_first(found)


def _below(top: Path, warn: Callable[[str], None], index: RunIndex) -> list[Listed]:
    listed: list[Listed] = []
    folders: list[tuple[str, ListedSweep | None]] = [(str(top), None)]  # and the sweep around each
    while folders:
        folder, sweep = folders.pop()
        try:
            index.is_known(folder)
            run = index.find(folder, run_of_text)
            found = {} if run else _entries(folder)
            if run is None and is_run_folder(folder, found):
                run = read_run(folder, found)
                if run.status not in (RUNNING, UNFINISHED):
                    index.keep(folder, plain_of(run))
            if run is not None:
                (listed if sweep is None else sweep.runs).append(run)
                continue
            if sweep is None and is_regular(found, _LEDGER):
                changed = found[_LEDGER].stat(follow_symlinks=False).st_mtime
                sweep = ListedSweep(folder, changed, labels_in(found))
                listed.append(sweep)
        except OSError as error:
            warn(f"left out: {error.filename or folder}: cannot be read ({error.strerror})")
            continue
        folders += [(found[name].path.removeprefix(HERE), sweep) for name in folders_in(found)]
    for each in listed:
        if isinstance(each, ListedSweep) and each.runs:
            each.runs.sort(key=lambda run: run.folder)
            each.changed = max(run.changed for run in each.runs)
    return listed


def _entries(folder: str) -> dict[str, "os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries}
