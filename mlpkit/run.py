"""One run: train what a config asks for, or go on with it, and write the run folder."""

from contextlib import suppress
from pathlib import Path

import yaml
from rich.console import Console

from mlpkit import environment, resume, run_folder
from mlpkit.append_file import AppendFile
from mlpkit.atomic_write import atomic_write
from mlpkit.bounds import refuse_large
from mlpkit.checkpoint import Checkpoint
from mlpkit.choices import choices_of
from mlpkit.config import Config, to_dict
from mlpkit.console import printable
from mlpkit.device import choose_device
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.experiment import build
from mlpkit.interrupts import polite_signals
from mlpkit.lock import locked
from mlpkit.metrics_file import Kept
from mlpkit.paths import expand
from mlpkit.plain_json import read_object, write_json
from mlpkit.resume import Say
from mlpkit.run_folder import RunFolder
from mlpkit.session import Session, Trial


def run(
    config: Config,
    command: str,
    console: Console,
    warn: Say,
    trial: Trial | None = None,
    owned: bool = True,
) -> RunFolder:
    """Train, and write the run folder; with run.resume=auto, go on with the run that is there.

    Args:
        config: what to train.
        command: the command line, for the records.
        console: where progress is shown.
        warn: told of what the user should know and that stops nothing.
        trial: of a search.
        owned: the config is the user's own, not one that lay in a sweep's folder: data may be fetched.

    Raises:
        MlpkitError: as the parts do; a run that had begun keeps what it saved and is marked as failed.
    """
    if config.run.resume == "auto" and (folder := run_folder.existing(config)):
        return go_on(folder, config, command, console, warn, owned=owned)
    experiment = build(config, owned)
    with polite_signals() as wish:
        try:
            folder = run_folder.create(config)
        except ConfigError:
            if config.run.resume == "never" or run_folder.existing(config) is None:
                raise
        else:
            _begin(Session(experiment, folder, console, wish, trial), command)
            return folder
    # Another process has been faster; its lock says whether there is anything to do.
    return go_on(RunFolder(expand(str(config.run.dir))), config, command, console, warn, owned=owned)


def _begin(session: Session, command: str) -> None:
    folder = session.folder
    try:
        with locked(folder.lock):
            try:
                describe(session, command)
                session.run()
            except WriteError:
                if session.trainer.progress.step == 0:  # a full disk has let nothing begin
                    folder.clear()
                raise
    except WriteError:
        with suppress(OSError):
            folder.path.rmdir()  # where nothing is left in it
        raise


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
    trial: Trial | None = None,
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
        trial: of a search.

    Raises:
        MlpkitError: as `run` does, or the run cannot go on as asked.
    """
    with locked(folder.lock):
        folder.open_for_writing()
        paths = [start] if start else [path for path in (folder.last, *folder.older()) if path.exists()]
        found = resume.newest_good(paths, warn, allow_large or owned) if paths else None
        if found is not None:
            resume.check_config(config, found[1])
            if nothing_left := _is_finished(folder, config, found[1]):
                console.print(printable(f"{folder.path}: {nothing_left}"), markup=False)
                return folder
            if not (allow_large or owned):
                refuse_large(config.dataset, len(found[1].signature.features), found[0])
        elif _has_ended(folder):
            raise DataError(
                f"{folder.path}: a finished run without a checkpoint to go on from; train it anew with "
                f"mlpkit train --config {folder.config} run.dir=null"
            )
        stored_config = found[1].config if found is not None else config
        experiment = build(config, owned, choices_of(folder, stored_config, choose_device(config.device)))
        with polite_signals() as wish:
            session, kept = Session(experiment, folder, console, wish, trial), Kept()
            if found is not None:
                kept = take_up(session, found, warn, strict)
            else:
                session.resumed = "no checkpoint yet: beginning anew"
            describe(session, command, again=True)
            session.run(kept)
    return folder


def take_up(session: Session, found: tuple[Path, Checkpoint], warn: Say, strict: bool = False) -> Kept:
    """Bring a session to where a checkpoint of its run is; return what remains of metrics.jsonl.

    Raises:
        MlpkitError: it is not one of this run, or the machine is another one and strict says so.
    """
    experiment, folder, (path, stored) = session.experiment, session.folder, found
    resume.check_dataset(experiment, stored, warn)
    resume.check_machine(folder, experiment, strict, warn)
    resume.check_schedule(session.config, stored, warn)
    kept = resume.keep_metrics(folder, experiment, stored, warn)
    session.restore(stored, path, kept)
    if path != folder.last:
        folder.make_newest(path, stored.state.progress.step)
    return kept


def describe(session: Session, command: str, again: bool = False) -> None:
    """Write what a run is made of: config, command and environment.

    What says of a checkpoint how it came about stays until there is another one.

    Args:
        session: of the run.
        command: the command line.
        again: the run has been described before.
    """
    folder, experiment = session.folder, session.experiment
    about = {**environment.describe(experiment.device), **experiment.choices().to_dict()}
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
    if session.good_last is None:
        write_json(folder.environment, about)
    else:
        session.environment = about


def _has_ended(folder: RunFolder) -> bool:
    """Whether a summary says that all was trained."""
    with suppress(DataError):
        return "steps" in read_object(folder.summary)
    return False


def _is_finished(folder: RunFolder, config: Config, stored: Checkpoint) -> str | None:
    """Return what to say of a run that has neither epochs nor a summary left to do, else None."""
    progress = stored.state.progress
    try:
        summary = read_object(folder.summary)
    except DataError:
        return None
    if summary.get("steps") != progress.step or progress.batch:
        return None
    if summary.get("status") == "stopped early":
        patience = stored.config.trainer.early_stopping.patience
        ended = f"stopped early after {progress.epoch} epochs (trainer.early_stopping.patience={patience})"
        if (epochs := config.trainer.epochs) != stored.config.trainer.epochs:
            raise ConfigError(f"trainer.epochs={epochs}: the run {ended}; train anew with a larger patience")
        return f"{ended}; nothing is left to do"
    if summary.get("status") == "done" and config.trainer.epochs == progress.epoch:
        return f"all {progress.epoch} epochs are done; trainer.epochs=N trains for more"
    return None
