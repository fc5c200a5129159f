"""Finds runs at or below folders."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mlpkit.errors import DataError
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
from mlpkit.system.atomic_write import SUFFIX
from mlpkit.system.paths import HERE

_SWEEP = SweepFolder(Path())


def no_run_in(path: Path, otherwise: str) -> str:
    """Return an error for a folder without runs: that its sweep has not begun, or `otherwise`."""
    from mlpkit.folders.origin import resume_command  # not at the top: what lists runs needs neither
    from mlpkit.system.lock import is_held

    if not is_sweep(path):
        return f"{path}: {otherwise}"
    if is_held(SweepFolder(path).lock):
        return f"{path}: no run of this sweep has begun yet"
    return f"{path}: no run of this sweep has begun; to go on: {resume_command(path)}"


def find_runs(paths: Sequence[Path], warn: Callable[[str], None]) -> list[Path]:
    """Return the run folders at or anywhere below the given paths, each once; see `find_folders`."""
    return [Path(folder) for folder in find_folders(paths, warn, lambda folder: False)]


def find_folders(
    paths: Sequence[Path], warn: Callable[[str], None], is_known: Callable[[str], bool]
) -> list[str]:
    """Return the run folders at or anywhere below the given paths, each once.

    Symbolic links below a folder are not followed.

    Args:
        paths: run folders, and folders of runs.
        warn: called for each folder that cannot be read.
        is_known: whether a folder is known to be a run, which is then not looked into.

    Raises:
        DataError: a path is not a folder, or holds no run.
    """
    found: dict[str, str] = {}  # by the real path, where a run may be below several paths
    for path in paths:
        check_folder(path)
        below = list(runs_below(path, warn, is_known))
        if not below:
            way = "holds no run (a folder with a config.yaml); name another folder"
            raise DataError(no_run_in(path, way))
        if len(paths) == 1:
            return below
        for run in below:
            found.setdefault(os.path.realpath(run), run)
    return list(found.values())


def check_folder(path: Path) -> None:
    """Check that a path where runs are looked for is a folder.

    Raises:
        DataError: it is not.
    """
    if not path.is_dir():
        problem = "not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {problem}; name run folders, or folders of runs such as a sweep")


def runs_below(top: Path, warn: Callable[[str], None], is_known: Callable[[str], bool]) -> Iterator[str]:
    """Yield the run folders at or below a folder; see `find_folders`."""
    folders = [str(top)]
    while folders:
        folder = folders.pop()
        if is_known(folder):
            yield folder
            continue
        try:
            with os.scandir(folder) as entries:
                found = {entry.name: entry for entry in entries}
            if not found.keys().isdisjoint(("config.yaml", "checkpoints")) and RunFolder(Path(folder)).is_run:
                yield folder  # there are no runs inside a run
                continue
        except OSError as error:
            warn(f"left out: {error.filename}: cannot be read ({error.strerror})")
            continue
        below = sorted(folders_in(found))
        folders += [found[name].path.removeprefix(HERE) for name in reversed(below)]


def folders_in(found: Mapping[str, "os.DirEntry[str]"]) -> list[str]:
    """Return the folders among a folder's entries, but for those in which there are no runs.

    These are what a killed process was writing or removing, and a sweep's folder of TensorBoard's files.
    """
    return [
        name
        for name, entry in found.items()
        if entry.is_dir(follow_symlinks=False)
        and not is_left_over(name)
        and not (name == _SWEEP.tensorboard.name and _SWEEP.ledger.name in found)
    ]


def is_left_over(name: str) -> bool:
    """Whether a folder's name is that of one which a killed process was writing or removing."""
    return name.startswith(".") and name.endswith(SUFFIX)


def changed(run: Path) -> int:
    """Return when a run's config was written, in ns since 1970; 0 if it has been removed."""
    try:
        return RunFolder(run).config_file.stat().st_mtime_ns
    except OSError:
        return 0
