"""One run: train what a config asks for, or go on with it, and write the run folder."""

from contextlib import suppress
from pathlib import Path

from rich.console import Console

from mlpkit.config.config import Config
from mlpkit.engines.engine import Engine
from mlpkit.errors import ConfigError, DataError, WriteError
from mlpkit.runs import environment, run_folder
from mlpkit.runs.checkpoint import Checkpoint
from mlpkit.runs.choices import choices_of
from mlpkit.runs.metrics_file import MetricsPosition
from mlpkit.runs.origin import Origin
from mlpkit.runs.overrides_file import keep_overrides
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.append_file import append_line
from mlpkit.system.console import say
from mlpkit.system.device import choose_device
from mlpkit.system.lock import locked
from mlpkit.system.paths import expand
from mlpkit.system.plain_json import read_object, write_json
from mlpkit.training import resume
from mlpkit.training.build import build, choices_made
from mlpkit.training.recorder import Recorder
from mlpkit.training.resume import Warn
from mlpkit.training.states import check, restore
from mlpkit.training.stop import StopRequest, polite_signals
from mlpkit.training.trainer import Judge, Trainer

Saved = tuple[Path, Checkpoint]


def run(
    config: Config, origin: Origin, console: Console, warn: Warn, judge: Judge | None = None
) -> RunFolder:
    """Train, and write the run folder; with run.resume=auto, go on with the run that is there.

    Args:
        config: what to train.
        origin: the command line, and whose config it is.
        console: where progress is shown.
        warn: told of what the user should know and that stops nothing.
        judge: of a search; see `Trainer`.

    Raises:
        MlpkitError: as the parts do; a run that had begun keeps what it saved and is marked as failed.
    """
    if config.run.resume == "auto" and (folder := run_folder.existing(config, origin.trust)):
        return resume_run(folder, config, origin, console, warn)
    engine = build([config], origin.trust)
    for line in engine.experiments[0].dataset.remarks:
        warn(line)
    if origin.trust.may_run_git:
        environment.git_commit()
    with polite_signals() as stop:
        try:
            folder = run_folder.create(config, origin.trust)
        except ConfigError:
            if config.run.resume == "never" or run_folder.existing(config, origin.trust) is None:
                raise
        else:
            _begin(engine, folder, origin, console, stop, judge)
            return folder
    # Another process has been faster; its lock says whether there is anything to do.
    return resume_run(RunFolder(expand(str(config.run.dir))), config, origin, console, warn)


def _begin(
    engine: Engine,
    folder: RunFolder,
    origin: Origin,
    console: Console,
    stop: StopRequest,
    judge: Judge | None,
) -> None:
    recorder = Recorder(engine.experiments[0], folder, console, judge is None)
    try:
        with locked(folder.lock):
            try:
                describe(recorder, engine, origin)
                _train(recorder, engine, stop, judge)
            except WriteError:
                if not recorder.has_begun:  # a full disk has let nothing begin
                    folder.clear()
                raise
    except WriteError:
        with suppress(OSError):
            folder.path.rmdir()  # where nothing is left in it
        raise


def _train(
    recorder: Recorder,
    engine: Engine,
    stop: StopRequest,
    judge: Judge | None,
    found: Saved | None = None,
    kept: MetricsPosition | None = None,
) -> None:
    """Train a lone run to its end."""
    failures = list[BaseException]()

    def ended(_: Recorder, error: BaseException | None) -> None:
        failures.extend([error] if error else [])

    def on_step(trainer: Trainer) -> None:
        recorder.show_progress(trainer.progress.batch / trainer.steps_per_epoch)

    trainer = Trainer(engine, [recorder], stop, ended, on_step, judge, alone=True)
    if found is not None:
        restore(trainer, [found[1].state])
    try:
        recorder.begin(engine, kept)
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
    """Go on with a run where its newest whole checkpoint is, or from the beginning where it has none.

    Args:
        folder: of the run.
        config: of the run; some keys may have changed, see `MAY_CHANGE`.
        origin: the command line, and whose config it is.
        console: where progress is shown.
        warn: told of what the user should know and that stops nothing.
        start: a checkpoint of the run to go on from, instead of the newest.
        strict: refuse to go on where the machine is not the same.
        judge: of a search; see `Trainer`.

    Raises:
        MlpkitError: as `run` does, or the run cannot go on as asked.
    """
    with locked(folder.lock):
        folder.open_for_writing()
        paths = [start] if start else [path for path in (folder.last, *folder.older()) if path.exists()]
        found = resume.newest_good(paths, warn, origin.trust) if paths else None
        if found is not None:
            resume.check_config(config, found[1])
            if nothing_left := _is_finished(folder, config, found[1]):
                say(console, f"{folder.path}: {nothing_left}")
                return folder
            origin.trust.check_data(config.dataset, found[0])
        elif _has_ended(folder):
            raise DataError(
                f"{folder.path}: a finished run without a checkpoint to go on from; train it anew with "
                f"mlpkit train --config {folder.config} run.dir=null"
            )
        stored_config = found[1].config if found is not None else config
        before = choices_of(folder, stored_config, choose_device(config.device))
        engine = build([config], origin.trust, before)
        with polite_signals() as stop:
            recorder, kept = (
                Recorder(engine.experiments[0], folder, console, judge is None),
                MetricsPosition(),
            )
            if found is not None:
                kept = restore_run(recorder, engine, found, warn, strict)
            else:
                folder.reopen()
                recorder.resumed = "no checkpoint yet: beginning anew"
            describe(recorder, engine, origin, again=True)
            _train(recorder, engine, stop, judge, found, kept)
    return folder


def restore_run(
    recorder: Recorder, engine: Engine, found: Saved, warn: Warn, strict: bool = False
) -> MetricsPosition:
    """Bring a run's folder to where a checkpoint of it is; return what remains of metrics.jsonl.

    Raises:
        MlpkitError: it is not one of this run, or the machine is another one and strict says so.
    """
    experiment, folder, (path, stored) = recorder.experiment, recorder.folder, found
    try:
        check(engine, engine.experiments.index(experiment), stored.state)
    except DataError as error:
        raise DataError(f"{path}: {error}; resume from another checkpoint") from None
    resume.check_dataset(experiment, stored, warn)
    resume.check_machine(folder, engine, strict, warn)
    resume.check_schedule(recorder.config, stored, warn)
    kept = resume.keep_metrics(folder, experiment, stored, warn)
    if not stored.state.progress.seconds:  # written by an older mlpkit
        stored.state.progress.seconds = kept.seconds
    folder.reopen()
    if path != folder.last:
        folder.make_newest(path, stored.state.progress.step)
    recorder.restored(path, stored.state)
    return kept


def describe(recorder: Recorder, engine: Engine, origin: Origin, again: bool = False) -> None:
    """Write what a run is made of: command and environment, and the config where that may have changed.

    What says of a checkpoint how it came about stays until there is another one.

    Args:
        recorder: of the run.
        engine: trains it.
        origin: the command line, and whose config it is.
        again: the run has been described before.
    """
    folder = recorder.folder
    about = {**environment.describe(engine.device), **choices_made(engine).to_dict()}
    if again:  # the commit is that of the run's beginning
        folder.write_config(recorder.config)
        with suppress(DataError):
            about["git_commit"] = read_object(folder.environment).get("git_commit")
    else:
        about["git_commit"] = environment.git_commit() if origin.trust.may_run_git else None
    append_line(folder.command, origin.command)
    keep_overrides(folder.overrides, origin.overrides)
    if recorder.good_last is None:
        write_json(folder.environment, about)
    else:
        recorder.environment = about


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
