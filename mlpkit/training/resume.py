"""Finds the checkpoint to resume from, and checks that the run may be resumed with this config."""

from collections.abc import Callable
from pathlib import Path

from mlpkit.config import nested
from mlpkit.config.config import Config, to_dict
from mlpkit.config.problems import show
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.errors import ConfigError, DataError
from mlpkit.folders import checkpoint
from mlpkit.folders.checkpoint import Checkpoint, not_finite
from mlpkit.folders.choices import differences
from mlpkit.folders.may_change import MAY_CHANGE
from mlpkit.folders.metrics_file import MetricsPosition, keep_until
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_environment
from mlpkit.folders.state import KINDS
from mlpkit.folders.trust import Trust
from mlpkit.training.build import choices_made

_FOLDER_KEYS = ("format", "run.root", "run.dir", "run.name", "run.resume")  # differ if a run was moved

Warn = Callable[[str], None]


def newest_good(paths: list[Path], warn: Warn, trust: Trust = Trust.FOREIGN) -> tuple[Path, Checkpoint]:
    """Return the path and the newest undamaged checkpoint, with all its tensors.

    Args:
        paths: the candidates, newest first.
        warn: called for each damaged one.
        trust: see `checkpoint.load`.

    Raises:
        DataError: all are damaged, or the weights are not finite.
    """
    path, stored = checkpoint.load_first(paths, warn, KINDS, trust)
    bad = next(not_finite(stored.state.tensors()), None)
    if bad:
        raise DataError(f"{path}: {bad} holds values that are not finite; resume from an older checkpoint")
    return path, stored


def check_config(config: Config, stored: Checkpoint) -> None:
    """Check that only keys have changed that may change when a run is resumed.

    Options of the dataset that are null in the new config are found out as they were found out then.

    Raises:
        ConfigError: another key has changed, or trainer.epochs is smaller than the epochs done.
    """
    new, old = (dict(nested.items(to_dict(c))) for c in (config, stored.config))
    inferred_options = [
        key for key in config.dataset.inferred_options if getattr(config.dataset, key) is None
    ]
    free = (*MAY_CHANGE, *_FOLDER_KEYS, *(f"dataset.{key}" for key in inferred_options))
    changed = [key for key in {**new, **old} if new.get(key) != old.get(key) and key not in free]
    if changed:
        raise ConfigError(
            *(
                f"{key}={show(new.get(key))}: the run has {show(old.get(key))}, and goes on as it began; "
                "only epochs, device, engine, logging and checkpoint settings may change"
                for key in changed
            )
        )
    done = stored.state.progress.epoch + (stored.state.progress.batch > 0)
    if config.trainer.epochs < done:
        raise ConfigError(
            f"trainer.epochs={config.trainer.epochs}: the run is in epoch {done}; choose {done} or more"
        )


def check_dataset(experiment: Experiment, stored: Checkpoint, warn: Warn) -> None:
    """Check that the dataset is the one that the run was trained on.

    Raises:
        DataError: the dataset has changed.
    """
    if not stored.fingerprint:
        warn("warning: the checkpoint does not say what its data was; that it is the same is not checked")
    elif difference := stored.other_data(experiment.dataset):
        raise DataError(f"{difference}; bring the old data back, or start a new run")


def check_machine(folder: RunFolder, engine: Engine, strict: bool, warn: Warn) -> None:
    """Warn if the machine or the software has changed, since results may round differently.

    Raises:
        ConfigError: something has changed, and `strict` is set.
    """
    difference = _difference(folder, engine)
    if difference is None:
        return
    line = f"{difference}: the numbers may differ from those of an uninterrupted run"
    if strict:
        raise ConfigError(f"--strict: {line}; go on without it, or where the run began")
    warn(f"warning: {line}")


def _difference(folder: RunFolder, engine: Engine) -> str | None:
    try:
        before = read_environment(folder)
    except DataError as error:
        return f"what machine the run has had is not known ({error})"
    return ", ".join(differences(before, engine.device, choices_made(engine))) or None


def check_schedule(config: Config, stored: Checkpoint, warn: Warn) -> None:
    """Warn if a change of trainer.epochs, or of the time limit, changes the schedule's learning rates."""
    key = "time_limit" if config.scheduler.is_over_time() else "epochs"
    length = getattr(config.trainer, key)
    if length != getattr(stored.config.trainer, key) and config.scheduler.spans_the_run():
        warn(
            f"warning: scheduler={config.scheduler.name} spans the whole run: from here on its learning "
            f"rates are those of trainer.{key}={length}"
        )


def keep_metrics(
    folder: RunFolder, experiment: Experiment, stored: Checkpoint, warn: Warn
) -> MetricsPosition:
    """Return where to continue metrics.jsonl after a checkpoint; warn if earlier lines are missing."""
    if experiment.config.run.files == "minimal":
        return MetricsPosition()
    epoch, every = stored.state.progress.epoch, stored.config.trainer.log_every
    position = keep_until(folder.metrics, epoch, ("train", experiment.dataset.monitored), every)
    if position.epoch < epoch - epoch % every:
        warn(f"warning: {folder.metrics}: ends at epoch {position.epoch}, the run is at {epoch}")
    return position
