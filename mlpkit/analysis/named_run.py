"""Finds the run that RUN means: a run, a checkpoint, the best run of a sweep, the newest run of a folder."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlpkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.analysis.compare import Comparison
    from mlpkit.folders.checkpoint import Checkpoint
    from mlpkit.folders.trust import Trust


def open_run(
    run: str | None, which: str, trust: "Trust", parts: tuple[str, ...] = ("model",)
) -> "tuple[Path, Checkpoint]":
    """Load the checkpoint that RUN and --checkpoint refer to; return its path and the checkpoint.

    A note on stderr names the run if RUN is not a single run, and the checkpoint used if another is damaged,
    or if no epoch is the best yet.

    Args:
        run: RUN.
        which: best or last.
        trust: whether the checkpoint is the user's own or foreign.
        parts: the kinds of tensors to load.
    """
    from mlpkit.folders.load_run import load_run
    from mlpkit.system.console import note

    check_which(which)
    chosen, reason = choose_run(run)
    path, stored = load_run(chosen, which, note, parts, trust)
    epoch = f"epoch {stored.state.progress.epoch}"
    if reason:
        note(f"{reason}: {path.parent.parent} ({stored.name_of(path)} checkpoint, {epoch})")
    elif which == "best" and chosen.is_dir() and not stored.is_best:
        note(f"{chosen}: no epoch is the best yet; its newest checkpoint is used ({epoch})")
    return path, stored


def open_members(
    run: str | None, which: str, trust: "Trust", ensemble: bool = False
) -> "list[tuple[Path, Checkpoint]]":
    """Load the checkpoints of a model: one, or the members of an ensemble; as `open_run`.

    Args:
        run: RUN; a folder that an estimator has saved its members in is an ensemble.
        which: best or last.
        trust: whether the checkpoints are the user's own or foreign.
        ensemble: whether a sweep means all runs of its best setting.

    Raises:
        ConfigError: RUN is to be an ensemble, and is not.
    """
    from mlpkit.config.problems import plural
    from mlpkit.folders.checkpoint import load
    from mlpkit.folders.find_run import find_members
    from mlpkit.folders.load_run import load_run
    from mlpkit.folders.sweep_folder import is_sweep
    from mlpkit.system.console import note
    from mlpkit.system.paths import expand

    check_which(which)
    if members := find_members(expand(run)) if run is not None else []:
        return _as_ensemble([(path, load(path, trust=trust)) for path in members])
    if not ensemble:
        return [open_run(run, which, trust)]
    sweep, _ = newest_of(run)
    if not is_sweep(sweep):
        raise ConfigError(f"--ensemble: {sweep} is not a sweep; name that of mlpkit train -m 'seed=range(5)'")
    best = _compare(sweep).settings[0]
    note(f"ensemble of {plural(len(best.runs), 'run')}: {sweep}")
    return _as_ensemble([load_run(of.path, which, note, trust=trust) for of in best.runs.values()])


def _as_ensemble(members: "list[tuple[Path, Checkpoint]]") -> "list[tuple[Path, Checkpoint]]":
    """Return the checkpoints with the temperature of their ensemble, if they were calibrated together."""
    from dataclasses import replace

    from mlpkit.system.console import note

    about = {stored.ensemble for _, stored in members}
    if about == {()}:
        return members
    first, *others = about
    if others or not first or first[1] != len(members):
        note(
            "warning: the runs of the ensemble are not those that were calibrated together; each one's own "
            "temperature is used; calibrate them anew: mlpkit calibrate SWEEP --ensemble"
        )
        return members
    return [(path, replace(stored, temperature=first[0])) for path, stored in members]


def check_which(which: str) -> None:
    """Check the value of --checkpoint.

    Raises:
        ConfigError: it is neither best nor last.
    """
    if which not in ("best", "last"):
        raise ConfigError(f"--checkpoint={which}: must be best or last")


def choose_run(run: str | None) -> tuple[Path, str]:
    """Return the run folder or checkpoint that RUN refers to, and the reason if it was chosen, else "".

    Raises:
        DataError: RUN is left out and there is no run, or RUN is a sweep in which no run has a score.
    """
    from mlpkit.folders.find_run import newest_run
    from mlpkit.folders.sweep_folder import is_sweep

    path, newest = newest_of(run)
    if not is_sweep(path):
        return path, newest
    try:
        return best_of_sweep(path), "best run of the newest sweep" if newest else "best run"
    except DataError:
        if not newest or (found := newest_run(path)) is None:
            raise
        return found, "newest run"


def newest_of(run: str | None, begun: bool = False) -> tuple[Path, str]:
    """Return the path that RUN refers to: a run, a checkpoint or a sweep; with "newest run" if it was chosen.

    Without RUN, and for a folder of runs, it is the newest run, or the sweep of that run.

    Args:
        run: the argument.
        begun: whether the newest run may be without a checkpoint.

    Raises:
        DataError: RUN is left out and there is no run.
    """
    from mlpkit.folders.find_run import newest_begun, newest_run
    from mlpkit.folders.run_folder import RunFolder
    from mlpkit.folders.sweep_folder import SweepFolder, is_sweep
    from mlpkit.system.paths import expand

    path = Path("outputs") if run is None else expand(run)
    own = (RunFolder(path).config, RunFolder(path).last.parent, SweepFolder(path).ledger)
    if run is not None and (not path.is_dir() or any(map(os.path.lexists, own))):
        return path, ""  # a run or sweep, perhaps damaged
    found = newest_begun(path) if begun else newest_run(path)
    if found is not None:
        return (found.parent if is_sweep(found.parent) else found), "newest run"
    if run is None:
        raise DataError("no trained run under outputs/; start one with `mlpkit train`, or name a run folder")
    return path, ""


def best_of_sweep(sweep: Path) -> Path:
    """Return the best run of a sweep's best setting, the same as `mlpkit compare` reports."""
    return _compare(sweep).best_run.path


def _compare(sweep: Path) -> "Comparison":
    """Return the comparison of a sweep's runs, as `mlpkit compare` makes it.

    Raises:
        ConfigError: they are of several datasets or tasks, which have no best run in common.
    """
    from mlpkit.analysis.compare import compare_alike
    from mlpkit.folders.indexed_results import results_below
    from mlpkit.system.console import note

    found = compare_alike(results_below([sweep], note))
    if len(found) > 1:
        names = "; ".join(of.title for of in found)
        raise ConfigError(f"{sweep}: holds runs that have no best one in common ({names}); name one of them")
    return found[0]


def folder_of(members: "Sequence[tuple[Path, Checkpoint]]") -> Path:
    """Return the folder of a model: its run, or the sweep of the runs of an ensemble."""
    from mlpkit.folders.find_run import run_of
    from mlpkit.folders.sweep_folder import is_sweep

    run = run_of(members[0][0])
    return run.parent if len(members) > 1 and is_sweep(run.parent) else run


def warn_of_nan(tensors: "dict[str, Tensor]", path: Path) -> bool:
    """Warn if a checkpoint's weights hold NaN or infinity; return whether they do."""
    from mlpkit.folders.checkpoint import not_finite
    from mlpkit.system.console import note

    bad = next(not_finite(tensors), None)
    if bad:
        note(f"warning: {path}: {bad} holds values that are not finite; the predictions mean nothing")
    return bad is not None


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder of a checkpoint.

    Raises:
        DataError: the checkpoint is not in a run folder.
    """
    from mlpkit.folders.run_folder import RunFolder

    folder = checkpoint.parent.parent
    if checkpoint.parent.name != "checkpoints" or not RunFolder(folder).config_file.is_file():
        raise DataError(f"{checkpoint}: not in a run folder, which this command needs")
    return folder
