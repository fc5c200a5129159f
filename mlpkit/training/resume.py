"""Going on with a run: which checkpoint, and whether it may go on as it is asked to."""

from collections.abc import Callable
from pathlib import Path

from mlpkit.config import nested
from mlpkit.config.config import Config, to_dict
from mlpkit.config.problems import show
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.errors import ConfigError, DataError
from mlpkit.runs import checkpoint
from mlpkit.runs.checkpoint import Checkpoint, not_finite
from mlpkit.runs.choices import differences
from mlpkit.runs.may_change import MAY_CHANGE
from mlpkit.runs.metrics_file import MetricsPosition, keep_until
from mlpkit.runs.run_folder import RunFolder
from mlpkit.runs.trust import Trust
from mlpkit.system.plain_json import read_object
from mlpkit.training.build import choices_made

_OF_THE_FOLDER = ("format", "run.root", "run.dir", "run.name", "run.resume")  # a run may have been moved

Warn = Callable[[str], None]


def newest_good(paths: list[Path], warn: Warn, trust: Trust = Trust.FOREIGN) -> tuple[Path, Checkpoint]:
    """Return the first checkpoint that is whole, with all that a run goes on from.

    Args:
        paths: the candidates, newest first.
        warn: told of each that is damaged.
        trust: as for `checkpoint.load`.

    Raises:
        DataError: none is whole, or its weights are not finite.
    """
    path, stored = checkpoint.load_first(paths, warn, checkpoint.KINDS, trust)
    bad = next(not_finite(stored.state.tensors()), None)
    if bad:
        raise DataError(f"{path}: {bad} holds values that are not finite; resume from an older checkpoint")
    return path, stored


def check_config(config: Config, stored: Checkpoint) -> None:
    """Refuse what would make another run of it.

    Raises:
        ConfigError: a key has changed that must not.
    """
    ours, theirs = (dict(nested.items(to_dict(c))) for c in (config, stored.config))
    free = (*MAY_CHANGE, *_OF_THE_FOLDER)
    changed = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key) and key not in free]
    if changed:
        raise ConfigError(
            *(
                f"{key}={show(ours.get(key))}: the run has {show(theirs.get(key))}, and goes on as it began; "
                "only epochs, device, engine, logging and checkpoint settings may change"
                for key in changed
            )
        )
    done = stored.state.progress.epoch + (stored.state.progress.batch > 0)
    if config.trainer.epochs < done:
        raise ConfigError(f"trainer.epochs={config.trainer.epochs}: the run is in epoch {done}; choose more")


def check_dataset(experiment: Experiment, stored: Checkpoint, warn: Warn) -> None:
    """Refuse to train on other data than the run began with.

    Raises:
        DataError: the dataset has changed.
    """
    if not stored.fingerprint:
        warn("warning: the checkpoint does not say what its data was; that it is the same is not checked")
    elif difference := stored.other_data(experiment.dataset):
        raise DataError(f"{difference}; bring the old data back, or start a new run")


def check_machine(folder: RunFolder, engine: Engine, strict: bool, warn: Warn) -> None:
    """Warn where the machine is not the one that the run has had, since it may round otherwise.

    Raises:
        ConfigError: so it is, and strict says that it must not be.
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
        before = read_object(folder.environment)
    except DataError as error:
        return f"what machine the run has had is not known ({error})"
    return ", ".join(differences(before, engine.device, choices_made(engine))) or None


def check_schedule(config: Config, stored: Checkpoint, warn: Warn) -> None:
    """Warn where more epochs give a schedule another course."""
    epochs = config.trainer.epochs
    if epochs != stored.config.trainer.epochs and config.scheduler.spans_the_run():
        warn(
            f"warning: scheduler={config.scheduler.name} spans the whole run: from here on its rates are "
            f"those of trainer.epochs={epochs}"
        )


def keep_metrics(
    folder: RunFolder, experiment: Experiment, stored: Checkpoint, warn: Warn
) -> MetricsPosition:
    """Return what remains of metrics.jsonl at a checkpoint; warn where lines of the past are missing."""
    epoch, every = stored.state.progress.epoch, stored.config.trainer.log_every
    kept = keep_until(folder.metrics, epoch, ("train", experiment.dataset.monitored), every)
    if kept.epoch < epoch - epoch % every:
        warn(f"warning: {folder.metrics}: ends at epoch {kept.epoch}, the run is at {epoch}")
    return kept
