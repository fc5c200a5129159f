"""Finds the run or the checkpoint that a path means."""

from collections.abc import Mapping
from pathlib import Path

from mlpkit.errors import DataError
from mlpkit.folders.overrides_file import read_overrides
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.sweep_folder import SweepFolder

MEMBERS = "member-*.safetensors"  # of a folder that an estimator has saved


def find_run(path: Path) -> RunFolder:
    """Return the run folder at a path: the path itself, or the run of a checkpoint file.

    Raises:
        DataError: there is no run.
    """
    _check_exists(path)
    folder = path if path.is_dir() else run_of(path)
    if not RunFolder(folder).config_file.exists():
        raise DataError(f"{path}: not a run folder (it has no config.yaml), which this command needs")
    if not RunFolder(folder).has_begun():
        raise DataError(f"{path}: this run was killed before it began; train it anew into the same folder")
    return RunFolder(folder)


def run_of(checkpoint: Path) -> Path:
    """Return the run folder of a checkpoint file; of a file outside of one, the folder that it lies in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def find_members(path: Path) -> list[Path]:
    """Return the checkpoint files in a folder that an estimator of several members has saved, in order."""
    return sorted(path.glob(MEMBERS)) if path.is_dir() and not RunFolder(path).is_run else []


def find_checkpoints(path: Path, which: str) -> list[Path]:
    """Return the checkpoint files to try, in order: later ones are used if the first is damaged.

    Args:
        path: a run folder or a checkpoint file.
        which: best or last, for a folder; best falls back to last if there is no best yet.

    Raises:
        DataError: there is no run, or it has no checkpoint.
    """
    _check_exists(path)
    if not path.is_dir():
        return [path]
    folder = RunFolder(path)
    candidates = [*([folder.best] if which == "best" else []), folder.last, *folder.older()]
    existing = [file for file in candidates if file.exists()]
    if members := find_members(path):
        raise DataError(
            f"{path}: holds {len(members)} members of an ensemble; name one, such as {members[0]}"
        )
    if not existing:
        raise DataError(f"{path}: holds no checkpoint ({folder.last.relative_to(path)}); name a run folder")
    return existing


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise DataError(
            f"{path}: no such run folder or checkpoint; name one, or leave it out for the newest run"
        )


def newest_run(root: Path) -> Path | None:
    """Return the folder of the newest run with a checkpoint anywhere below `root`, or None."""
    return _newest({run.path: run.config_file for run in _trained(root) if run.config_file.is_file()})


def newest_begun(root: Path) -> Path | None:
    """Return the newest run or sweep anywhere below `root`, or None; it may have no checkpoint yet."""
    runs = [*(RunFolder(file.parent) for file in root.rglob("config.yaml")), *_trained(root)]
    begun = {run.path: run.config_file for run in runs if run.is_run}
    ledgers = [file for file in root.rglob("ledger.sqlite") if not any(file.parent.glob("*/config.yaml"))]
    return _newest({**begun, **{file.parent: file for file in ledgers}})


def newest_folds(root: Path) -> Path | None:
    """Return the newest sweep over folds anywhere below `root`, or None."""
    sweeps = [file for file in root.rglob("ledger.sqlite") if _has_folds(SweepFolder(file.parent))]
    return _newest({file.parent: file for file in sweeps})


def _trained(root: Path) -> list[RunFolder]:
    return [RunFolder(file.parents[1]) for file in root.rglob("checkpoints/last.safetensors")]


def _has_folds(sweep: SweepFolder) -> bool:
    return any(line.lstrip("+").startswith("dataset.fold=") for line in read_overrides(sweep.overrides))


def _newest(files: Mapping[Path, Path]) -> Path | None:
    """Return the folder whose file was changed last, or None if there is none.

    Args:
        files: for each folder, a file in it.
    """
    return max(files, key=lambda folder: (files[folder].stat().st_mtime_ns, folder.name), default=None)
