"""One run: train what a config asks for, or go on with it, and write the run folder."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from rich.console import Console

from mlpkit import environment, resume, run_folder
from mlpkit.append_file import AppendFile
from mlpkit.atomic_write import atomic_write
from mlpkit.checkpoint import Checkpoint
from mlpkit.config import Config, to_dict
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.experiment import Experiment, build
from mlpkit.interrupts import polite_signals
from mlpkit.lock import locked
from mlpkit.metrics_file import Kept, keep_until
from mlpkit.plain_json import read_object
from mlpkit.run_folder import RunFolder
from mlpkit.schedules import spans_the_run
from mlpkit.session import Session, write_json

Say = Callable[[str], None]


def run(config: Config, command: str, console: Console, warn: Say) -> RunFolder:
    """Train, and write the run folder; with run.resume=auto, go on with the run that is there.

    Args:
        config: what to train.
        command: the command line, for the records.
        console: where progress is shown.
        warn: told of what the user should know and that stops nothing.

    Raises:
        MlpkitError: as the parts do; a run that had begun keeps what it saved and is marked as failed.
    """
    if config.run.resume == "auto" and (folder := run_folder.existing(config)):
        return go_on(folder, config, command, console, warn, owned=True)
    experiment = build(config)
    with polite_signals() as wish:
        folder = run_folder.create(config)
        session = Session(experiment, folder, console, wish)
        try:
            with locked(folder.lock):
                _describe(folder, experiment, command)
                session.begin()
        except WriteError:
            if session.trainer.progress.step == 0:
                shutil.rmtree(folder.path, ignore_errors=True)  # a full disk has let nothing begin
            raise
    return folder


def go_on(
    folder: RunFolder,
    config: Config,
    command: str,
    console: Console,
    warn: Say,
    start: Path | None = None,
    strict: bool = False,
    allow_large: bool = False,
    owned: bool = False,
) -> RunFolder:
    """Go on with a run where its newest whole checkpoint is, or from the beginning where it has none.

    Args:
        folder: of the run.
        config: of the run; some keys may have changed, see `resume.MAY_CHANGE`.
        command: the command line, for the records.
        console: where progress is shown.
        warn: told of what the user should know and that stops nothing.
        start: a checkpoint of the run to go on from, instead of the newest.
        strict: refuse to go on where the machine is not the same.
        allow_large: take models of any size that can be trained.
        owned: the config is the user's own, not one that lay in the folder: data may be fetched.

    Raises:
        MlpkitError: as `run` does, or the run cannot go on as asked.
    """
    with locked(folder.lock):
        folder.open_for_writing()
        paths = [start] if start else [path for path in (folder.last, *folder.older()) if path.exists()]
        path, stored = resume.newest_good(paths, warn, allow_large or owned) if paths else (None, None)
        if stored is not None:
            resume.check_config(config, stored)
            if _is_finished(folder, config, stored):
                console.print(
                    f"{folder.path}: all {stored.state.progress.epoch} epochs are done; "
                    "trainer.epochs=N trains for more",
                    markup=False,
                )
                return folder
        experiment = build(config, download=owned)
        kept = Kept()
        if stored is not None:
            resume.check_dataset(experiment, stored)
            if difference := resume.differences(folder, experiment):
                line = f"{difference}: the numbers may differ from those of an uninterrupted run"
                if strict:
                    raise ConfigError(f"--strict: {line}; go on without it, or where the run began")
                warn(f"warning: {line}")
            if config.trainer.epochs != stored.config.trainer.epochs and spans_the_run(config.scheduler):
                warn(
                    f"warning: scheduler={config.scheduler.name} spans the whole run: from here on its rates "
                    f"are those of trainer.epochs={config.trainer.epochs}"
                )
            epoch, every = stored.state.progress.epoch, stored.config.trainer.log_every
            kept = keep_until(folder.metrics, epoch, ("train", experiment.dataset.monitored), every)
            if kept.epoch < epoch - epoch % every:
                warn(f"warning: {folder.metrics}: ends at epoch {kept.epoch}, the run is at {epoch}")
        with polite_signals() as wish:
            _describe(folder, experiment, command, again=True)
            Session(experiment, folder, console, wish).go_on(stored, path, kept)
    return folder


def _describe(folder: RunFolder, experiment: Experiment, command: str, again: bool = False) -> None:
    """Write what a run is made of: config, command and environment."""
    about = environment.describe(experiment.device)
    if again:  # the commit is that of the run's beginning
        with suppress(DataError):
            about["git_commit"] = read_object(folder.environment).get("git_commit")
    else:
        about["git_commit"] = environment.git_commit()
    text = yaml.safe_dump(to_dict(experiment.config), sort_keys=False)
    atomic_write(folder.config, text.encode())
    commands = AppendFile(folder.command)
    try:
        commands.write(f"{command}\n".encode())
    finally:
        commands.close()
    write_json(folder.environment, about)


def _is_finished(folder: RunFolder, config: Config, stored: Checkpoint) -> bool:
    """Whether nothing is left to do: neither epochs nor the summary."""
    try:
        summary = read_object(folder.summary)
    except DataError:
        return False
    if summary.get("steps") != stored.state.progress.step or stored.state.progress.batch:
        return False
    done = summary.get("status") == "done" and config.trainer.epochs == stored.state.progress.epoch
    return done or summary.get("status") == "stopped early"
