"""Forks a run: branches with other settings start from the state of the run at one step.

Each branch gets a run folder like that of a run that was interrupted at that step. Resuming the sweep then
trains all branches together.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlpkit.config import nested
from mlpkit.config.config import Config, to_dict
from mlpkit.config.problems import show
from mlpkit.errors import ConfigError, DataError, JobsFailedError
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.fork import Fork, write_fork
from mlpkit.folders.may_change import may_change_at_a_fork
from mlpkit.folders.metrics_file import keeps_none
from mlpkit.folders.origin import Origin
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import ENVIRONMENT, read_environment
from mlpkit.folders.same_bits import compare_logs
from mlpkit.folders.state import KINDS
from mlpkit.folders.sweep_folder import SweepFolder, is_sweep, run_name
from mlpkit.folders.trust import Trust
from mlpkit.sweeps.grid import Job
from mlpkit.sweeps.ledger import Ledger, config_key, write_ledger
from mlpkit.sweeps.run import resume
from mlpkit.sweeps.train_again import moved, silent, train_again
from mlpkit.sweeps.vectorized import vectorized
from mlpkit.system.atomic_write import atomic_write, temporary_folder
from mlpkit.system.plain_json import write_json

Warn = Callable[[str], None]


def state_at(folder: RunFolder, step: int | None, trust: Trust, warn: Warn) -> Checkpoint:
    """Return the state of a run at a step; without a checkpoint of it the run is trained up to there again.

    Args:
        folder: the run.
        step: number of optimizer steps taken; None for the newest checkpoint.
        trust: whether the run is the user's own or foreign.
        warn: called with a line for each damaged checkpoint, and if the run is trained again.

    Raises:
        ConfigError: the run has taken fewer steps.
        DataError: there is no checkpoint, or the run cannot be trained again with the same scores.
    """
    paths = [path for path in (folder.last, *folder.older()) if path.exists()]
    if not paths:
        raise DataError(f"{folder.path}: holds no checkpoint; resume the run first")
    for path in paths:
        with suppress(DataError):
            if step in (None, checkpoint.read_header(path).state.progress.step):
                return checkpoint.load(path, KINDS, trust)
    _, last = checkpoint.load_first(paths, warn, KINDS, trust)
    end = last.state.progress.step
    assert step is not None, "the newest checkpoint was loaded"
    if not 1 <= step <= end:
        raise ConfigError(f"--at={step}: the run has {end} steps; choose 1 to {end}")
    if keeps_none(folder):
        raise DataError(
            f"{folder.path}: run.files=minimal keeps no scores to check the state at step {step}; "
            f"fork it at its end: --at {end}"
        )
    warn(f"no checkpoint is at step {step}: training up to there again")
    target = replace(last, state=replace(last.state, progress=replace(last.state.progress, step=step)))
    with temporary_folder(Path(tempfile.gettempdir())) as scratch:
        again, _ = train_again(folder, target, scratch, trust)
        stored = checkpoint.load(again.last, KINDS, Trust.LARGE)
        difference, _ = compare_logs(folder.metrics, again.metrics, stored.state.progress.epoch)
    if difference.epoch is not None:
        steps = ", ".join(str(checkpoint.read_header(path).state.progress.step) for path in paths)
        raise DataError(
            f"{folder.path}: trained again, it has other scores from epoch {difference.epoch} on; "
            f"fork it at a checkpoint: --at {steps}"
        )
    return stored


def check_branches(configs: Sequence[Config], stored: Checkpoint) -> None:
    """Check that branches differ from the run only in what may change at a fork.

    Raises:
        ConfigError: another key differs, or nothing is left to train.
    """
    old = dict(nested.items(to_dict(stored.config)))
    problems: dict[str, None] = {}
    for config in configs:
        new = dict(nested.items(to_dict(config)))
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        for key in changed:
            if not may_change_at_a_fork(key):
                problems[
                    f"{key}={show(new.get(key))}: the run has {show(old.get(key))}, and a fork keeps data, "
                    "model and batches; optimizer, scheduler and epochs may change"
                ] = None
        if config.optimizer.slots() != stored.config.optimizer.slots():
            problems["optimizer: the new settings keep a state that the run does not have"] = None
        progress = stored.state.progress
        if config.trainer.epochs <= progress.epoch:
            problems[
                f"trainer.epochs={config.trainer.epochs}: the run has done {progress.epoch}; "
                "choose more, or fork it at an earlier step with --at"
            ] = None
    if problems:
        raise ConfigError(*problems)


def make_branches(sweep: SweepFolder, jobs: Sequence[Job], origin: RunFolder, stored: Checkpoint) -> None:
    """Make the run folders of the branches, and last the ledger, without which the folder is not a sweep.

    Args:
        sweep: a new sweep folder.
        jobs: the branches.
        origin: the run.
        stored: its state at the step where they branch off.

    Raises:
        WriteError: a file cannot be written.
    """
    progress = stored.state.progress
    fork = Fork(str(origin.path), progress.step, progress.epoch)
    metrics = origin.metrics.read_bytes() if origin.metrics.is_file() else b""
    environment: dict[str, Any] = {}
    with suppress(DataError):
        environment = read_environment(origin)
    for number, job in enumerate(jobs):
        folder = RunFolder(sweep.run(run_name(number, config_key(job.config))))
        config = job.config.with_run(dir=str(folder.path), resume="never")
        folder.write_config(config)
        record = {}
        if config.run.files == "minimal":
            record = {ENVIRONMENT: environment}
        else:
            atomic_write(folder.metrics, metrics)
            write_json(folder.environment, environment)
        write_fork(folder, fork)
        checkpoint.save(folder.last, replace(stored, config=config, record=record))
    write_ledger(sweep.ledger, jobs)


def train_branches_again(
    folder: RunFolder, stored: Checkpoint, fork: Fork, scratch: Path, trust: Trust, warn: Warn
) -> tuple[RunFolder, int]:
    """Fork a run again in another folder, and train all branches together again.

    Args:
        folder: one of the branches.
        stored: its checkpoint.
        fork: where it branches off.
        scratch: an empty folder.
        trust: whether the run is the user's own or foreign.
        warn: see `state_at`.

    Returns:
        The folder of the new branch, and the number of branches.

    Raises:
        MlpkitError: the run that was forked is missing, or a branch cannot be trained.
    """
    origin = RunFolder(Path(fork.run))
    if not origin.is_run:
        raise DataError(f"{folder.path}: a fork of {fork.run}, which is missing; bring it back")
    configs = branches_of(folder.path) or [stored.config]
    jobs = [Job((), moved(config, scratch)) for config in configs]
    again = SweepFolder(scratch / "sweep")
    again.path.mkdir()
    make_branches(again, jobs, origin, state_at(origin, fork.step, trust, warn))
    with silent() as console, suppress(JobsFailedError):  # branches that failed may fail again
        resume(again.path, Origin("mlpkit verify", trust), vectorized, console)
    ending = config_key(stored.config)[:6]  # of the branch's name; see `run_name`
    (branch,) = (entry for entry in again.path.iterdir() if entry.name.endswith(ending))
    return RunFolder(branch), len(jobs)


def branches_of(branch: Path) -> list[Config]:
    """Return the configs of all branches in the sweep of a branch; empty if it was moved out of the sweep."""
    sweep = SweepFolder(branch.resolve().parent)
    if not is_sweep(sweep.path):
        return []
    sweep.open_for_writing()
    with Ledger(sweep.ledger) as ledger:
        return [entry.config for entry in ledger.entries()]
