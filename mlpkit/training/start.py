"""Starts or resumes one run, and writes its run folder."""

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mlpkit.config.config import Config
from mlpkit.config.problems import plural
from mlpkit.engines.engine import Engine
from mlpkit.errors import ConfigError, DataError, RunInterruptedError, WriteError
from mlpkit.folders import environment, new_run
from mlpkit.folders.checkpoint import Checkpoint
from mlpkit.folders.choices import stored_choices
from mlpkit.folders.metrics_file import MetricsPosition
from mlpkit.folders.origin import Origin
from mlpkit.folders.overrides_file import keep_overrides
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_commands, read_environment, read_summary
from mlpkit.folders.trust import Trust
from mlpkit.system.append_file import append_line
from mlpkit.system.console import say
from mlpkit.system.device import choose_device
from mlpkit.system.lock import locked
from mlpkit.system.paths import expand
from mlpkit.system.plain_json import write_json
from mlpkit.training import resume
from mlpkit.training.build import build, choices_made
from mlpkit.training.leader import Leader, leading, with_processes
from mlpkit.training.one_file import OneFile
from mlpkit.training.recorder import Recorder
from mlpkit.training.resume import Warn
from mlpkit.training.states import check, restore
from mlpkit.training.stop import StopRequest, stop_on_signals
from mlpkit.training.trainer import Judge, Trainer

Saved = tuple[Path, Checkpoint]


def run(
    config: Config, origin: Origin, console: Console, warn: Warn, judge: Judge | None = None
) -> RunFolder:
    """Train a run into a new run folder; with run.resume=auto, resume the run that run.dir holds.

    Args:
        config: the run's config.
        origin: the command line, and whether the config is the user's own or foreign.
        console: where progress is shown.
        warn: called with each warning.
        judge: chooses the trials of a search to prune; see `Trainer`.

    Raises:
        MlpkitError: the run cannot be started, or it failed; then it is marked as failed and its checkpoints
            stay.
    """
    config = with_processes(config)
    if config.run.resume == "auto" and (folder := new_run.existing_run(config, origin.trust)):
        return resume_run(folder, config, origin, console, warn)
    with leading(config) as leader:
        engine = build([config], origin.trust, processes=None if leader is None else leader.processes)
        for line in engine.experiments[0].dataset.remarks:
            warn(line)
        if config.trainer.early_stopping.patience and engine.experiments[0].dataset.monitored == "train":
            warn(
                "warning: without validation rows, early stopping watches the training rows and stops too "
                "late; set trainer.epochs to the best epoch of runs with validation rows"
            )
        if origin.trust.may_run_git:
            environment.git_commit()
        with stop_on_signals() as stop, ExitStack() as locks:
            try:
                folder = new_run.create(engine.experiments[0].config, origin.trust, locks)
            except ConfigError:
                if config.run.resume == "never" or new_run.existing_run(config, origin.trust) is None:
                    raise
            else:
                _begin(engine, folder, origin, console, warn, stop, judge, locks, leader)
                return folder
    # Another process has made the folder meanwhile; if it still trains, its lock refuses us.
    return resume_run(RunFolder(expand(str(config.run.dir))), config, origin, console, warn)


def _begin(
    engine: Engine,
    folder: RunFolder,
    origin: Origin,
    console: Console,
    warn: Warn,
    stop: StopRequest,
    judge: Judge | None,
    locks: ExitStack,
    leader: Leader | None,
) -> None:
    recorder = Recorder(engine.experiments[0], folder, console, judge is None, warn)
    try:
        record_setup(recorder, engine, origin)
        _train(recorder, engine, origin.trust, stop, judge, leader)
    except WriteError:
        if not recorder.has_begun:  # for example, the disk was full from the start
            folder.clear()
        locks.close()
        with suppress(OSError):
            folder.path.rmdir()  # fails if it is not empty
        raise


def _train(
    recorder: Recorder,
    engine: Engine,
    trust: Trust,
    stop: StopRequest,
    judge: Judge | None,
    leader: Leader | None,
    saved: Saved | None = None,
    position: MetricsPosition | None = None,
) -> None:
    """Train a run that is not part of a group to its end."""
    failures = list[BaseException]()

    def on_end(_: Recorder, error: BaseException | None) -> None:
        failures.extend([error] if error else [])

    def on_step(trainer: Trainer) -> None:
        recorder.show_progress(trainer.progress.batch / trainer.steps_per_epoch)

    trainer = Trainer(engine, [recorder], stop, on_end, on_step, judge, alone=True)
    if saved is not None:
        restore(trainer, [saved[1].state])
    try:
        if leader is not None:
            try:
                leader.begin(engine, recorder.config, trust, stop, saved and saved[0])
            except RunInterruptedError as error:
                raise error.with_place(f"interrupted; {recorder.resume_hint()}") from None
        recorder.begin(engine, position)
        trainer.fit()
    except BaseException as error:
        raise failures[0] if failures else recorder.fail(error, stop.signal_number) from None
    if failures:
        raise failures[0] from None


def resume_run(
    folder: RunFolder,
    config: Config,
    origin: Origin,
    console: Console,
    warn: Warn,
    start: Path | None = None,
    strict: bool = False,
    judge: Judge | None = None,
) -> RunFolder:
    """Resume a run from its newest undamaged checkpoint, or start it again if it has none.

    Args:
        folder: the run folder.
        config: the run's config; the keys in `MAY_CHANGE` may have changed.
        origin: the command line, and whether the config is the user's own or foreign.
        console: where progress is shown.
        warn: called with each warning.
        start: the checkpoint to resume from instead of the newest; later ones are deleted.
        strict: refuse to resume if the machine or the software has changed.
        judge: chooses the trials of a search to prune; see `Trainer`.

    Raises:
        MlpkitError: as in `run`, or the run cannot be resumed with this config.
    """
    config = with_processes(config)
    with locked(folder.lock), leading(config) as leader:
        folder.open_for_writing()
        paths = [start] if start else [path for path in (folder.last, *folder.older()) if path.exists()]
        saved = resume.newest_good(paths, warn, origin.trust) if paths else None
        if saved is not None:
            resume.check_config(config, saved[1])
            if reason := _why_finished(folder, config, saved[1]):
                say(console, f"{folder.path}: {reason}")
                return folder
            origin.trust.check_data(config.dataset, saved[0])
        elif _is_trained(folder):
            raise DataError(
                f"{folder.path}: a finished run without a checkpoint to go on from; train it anew with "
                f"mlpkit train --config {folder.config_file} run.dir=null"
            )
        stored_config = saved[1].config if saved is not None else config
        before = stored_choices(folder, stored_config, choose_device(config.device))
        if config.trainer.processes != stored_config.trainer.processes:  # they share the cores
            before = replace(before, threads=None)
        engine = build([config], origin.trust, before, processes=None if leader is None else leader.processes)
        with stop_on_signals() as stop:
            recorder = Recorder(engine.experiments[0], folder, console, judge is None, warn)
            position = MetricsPosition()
            if saved is not None:
                position = restore_run(recorder, engine, saved, warn, strict)
            else:
                folder.reopen()
                recorder.resumed_from = "no checkpoint yet: beginning anew"
            record_setup(recorder, engine, origin, again=True)
            _train(recorder, engine, origin.trust, stop, judge, leader, saved, position)
    return folder


def restore_run(
    recorder: Recorder, engine: Engine, saved: Saved, warn: Warn, strict: bool = False
) -> MetricsPosition:
    """Rewind a run's folder to a checkpoint and delete later ones; return where to continue metrics.jsonl.

    Raises:
        MlpkitError: the checkpoint does not fit the run, or the machine has changed and `strict` is set.
    """
    experiment, folder, (path, stored) = recorder.experiment, recorder.folder, saved
    try:
        check(engine, engine.experiments.index(experiment), stored.state)
    except DataError as error:
        raise DataError(f"{path}: {error}; resume from another checkpoint") from None
    resume.check_dataset(experiment, stored, warn)
    resume.check_machine(folder, engine, strict, warn)
    resume.check_schedule(recorder.config, stored, warn)
    position = resume.keep_metrics(folder, experiment, stored, warn)
    if not stored.state.progress.seconds:  # written by an older mlpkit
        stored.state.progress.seconds = position.seconds
    folder.reopen()
    if path != folder.last:
        folder.rewind_to(path, stored.state.progress.step)
    recorder.note_resumed(path, stored.state)
    return position


def record_setup(recorder: Recorder, engine: Engine, origin: Origin, again: bool = False) -> None:
    """Write command.txt, overrides.yaml and environment.json, and config.yaml of a resumed run.

    The environment.json of a resumed run is written with its next checkpoint: until then the old one
    describes the checkpoints that are there. With run.files=minimal all is written with the checkpoint.

    Args:
        recorder: the run's recorder.
        engine: trains the run.
        origin: the command line, and whether the config is the user's own or foreign.
        again: whether the run is resumed.
    """
    folder = recorder.folder
    content = {**environment.process_environment(engine.device), **choices_made(engine).to_dict()}
    if again:  # keep the commit that the run was started with
        folder.write_config(recorder.config)
        with suppress(DataError):
            content["git_commit"] = read_environment(folder).get("git_commit")
    else:
        content["git_commit"] = environment.git_commit() if origin.trust.may_run_git else None
    files = recorder.checkpoints
    if isinstance(files, OneFile):
        files.environment, files.commands = content, (*read_commands(folder), origin.command)
        return
    append_line(folder.command, origin.command)
    keep_overrides(folder.overrides, origin.overrides)
    if recorder.saved_at is None:
        write_json(folder.environment, content)
    else:
        files.environment = content


def _is_trained(folder: RunFolder) -> bool:
    """Whether the run was trained to its end, according to its summary."""
    with suppress(DataError):
        return "steps" in read_summary(folder)
    return False


def _why_finished(folder: RunFolder, config: Config, stored: Checkpoint) -> str | None:
    """Return why nothing is left to train, or None if something is.

    Raises:
        ConfigError: the run has stopped early, and trainer.epochs has changed.
    """
    progress = stored.state.progress
    try:
        summary = read_summary(folder)
    except DataError:
        return None
    if summary.get("steps") != progress.step or progress.batch:
        return None
    if summary.get("status") == "stopped early":
        seconds = progress.seconds
        ended_by, limit = stored.config.trainer.ended_by(seconds), config.trainer.time_limit
        ended = f"stopped early after {plural(progress.epoch, 'epoch')} ({ended_by})"
        if ended_by.startswith("trainer.time_limit"):
            if limit is None or limit > seconds:
                return None
            return f"{ended}; a larger trainer.time_limit trains for longer"
        if (epochs := config.trainer.epochs) != stored.config.trainer.epochs:
            raise ConfigError(f"trainer.epochs={epochs}: the run {ended}; train anew with a larger patience")
        return f"{ended}; nothing is left to do"
    if summary.get("status") == "done" and config.trainer.epochs == progress.epoch:
        return f"done after {plural(progress.epoch, 'epoch')}; trainer.epochs=N trains for more"
    return None
