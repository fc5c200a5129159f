"""A validated config in, a trained model and its run folder out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from mlpkit import checkpoint, environment, run_folder
from mlpkit.atomic_write import atomic_write
from mlpkit.checkpoint import Checkpoint
from mlpkit.config import Config, to_dict
from mlpkit.console import TrainingDisplay, number, print_scores, print_weights
from mlpkit.data import load_dataset
from mlpkit.data.augment import augment, is_active
from mlpkit.data.dataset import Dataset
from mlpkit.device import choose_device, set_determinism
from mlpkit.engines import Engine
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.errors import ConfigError, MlpkitError
from mlpkit.logs import RunLog, read_metrics
from mlpkit.models import Network, build_model, count_parameters
from mlpkit.plain_json import to_json
from mlpkit.run_folder import RunFolder
from mlpkit.schema.dataset import ImageOptions
from mlpkit.tasks import TASKS, Task
from mlpkit.trainer import EpochReport, Trainer
from mlpkit.weights import readable_weights


@dataclass
class Experiment:
    """The objects that a config stands for.

    Attributes:
        config: what they were built from.
        dataset: all splits, in memory.
        task: what the dataset makes of it.
        network: the initialised model, on the device.
        engine: what takes the steps.
        device: cpu or cuda:N.
        announcement: the line that says what was chosen.
    """

    config: Config
    dataset: Dataset
    task: Task
    network: Network
    engine: Engine
    device: str
    announcement: str


def build(config: Config) -> Experiment:
    """Return the objects that a config stands for; nothing is written.

    Raises:
        ConfigError: the parts do not go together, or the device is not there.
        DataError: the data is missing or cannot be used.
    """
    device, announcement = choose_device(config.device)
    set_determinism(config.trainer.deterministic)
    dataset = load_dataset(config.dataset)
    task = TASKS[dataset.signature.task]
    _check_batches(config, len(dataset.splits["train"]))
    network = build_model(config, dataset, device)
    augmentation = None
    if isinstance(config.dataset, ImageOptions) and is_active(config.dataset.augment):
        options, shape = config.dataset.augment, dataset.signature.input_shape
        augmentation = partial(_augment, shape=shape, options=options)
    engine = AutogradEngine(network, task, dataset.splits, config, device, augmentation)
    return Experiment(config, dataset, task, network, engine, device, announcement)


def _augment(images: torch.Tensor, random: torch.Generator, *, shape: Any, options: Any) -> torch.Tensor:
    return augment(images, shape, options, random)


def run(config: Config, command: str, console: Console) -> RunFolder:
    """Train, and write the run folder.

    Raises:
        MlpkitError: as the parts do; a run that had begun keeps what it saved and is marked as failed.
    """
    experiment = build(config)
    folder = run_folder.create(config)
    atomic_write(folder.config, yaml.safe_dump(to_dict(config), sort_keys=False).encode())
    atomic_write(folder.command, f"{command}\n".encode())
    _write_json(folder.environment, environment.describe(experiment.device))
    log = RunLog(folder, config.run.tensorboard)
    try:
        _train(experiment, folder, log, console)
    except BaseException as error:
        reason = str(error) if isinstance(error, MlpkitError) else type(error).__name__
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        log.text(f"{status}: {reason}")
        _write_json(folder.summary, {"status": status, "error": reason})
        raise
    finally:
        log.close()
    return folder


def _train(experiment: Experiment, folder: RunFolder, log: RunLog, console: Console) -> None:
    config, dataset, task, engine = experiment.config, experiment.dataset, experiment.task, experiment.engine
    rows = {name: len(split) for name, split in dataset.splits.items()}

    def say(line: str) -> None:
        log.text(line)
        if config.run.progress != "none":
            console.print(line, markup=False)

    parameters = count_parameters(experiment.network)
    say(f"{dataset.name}: {task.name}, " + ", ".join(f"{count:,} {name}" for name, count in rows.items()))
    say(f"{config.model.name}: {parameters:,} parameters; engine: autograd")
    say(experiment.announcement)
    display = TrainingDisplay(
        console, config.run.progress, config.trainer.epochs, dataset.monitored, task.monitor
    )
    latest: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        latest[:] = [epoch]
        if epoch.epoch % config.trainer.log_every == 0 or epoch.epoch == config.trainer.epochs:
            log.scores(
                epoch.epoch, epoch.step, epoch.scores, epoch.seconds, lr=epoch.lr, grad_norm=epoch.grad_norm
            )
        if line := display.epoch(epoch):
            log.text(line)

    trainer = Trainer(
        config,
        engine,
        task,
        rows["train"],
        dataset.monitored,
        report,
        partial(_save, experiment, folder, log),
    )
    try:
        trainer.fit()
    finally:
        display.stop(latest[-1] if latest else None)
    summary = _summarize(experiment, trainer, parameters)
    final = {name: summary[name] for name in rows}
    extra = {name: scores for name, scores in final.items() if name not in ("train", dataset.monitored)}
    if extra:
        log.scores(trainer.progress.epoch, trainer.progress.step, extra, trainer.seconds)
    log.hparams({name: section for name, section in to_dict(config).items() if name not in ("run", "format")})
    _write_json(folder.summary, summary)
    log.flush()
    for line in _outcome(summary, config, trainer):
        log.text(line)
    if config.run.progress != "none":
        _print_outcome(experiment, summary, trainer, console)
    if config.run.plots:
        _draw(experiment, trainer, folder, log)
    say(f"run folder: {folder.path}")


def _save(experiment: Experiment, folder: RunFolder, log: RunLog, trainer: Trainer) -> None:
    """Write last.safetensors, and best.safetensors with the best weights so far."""
    log.flush()
    config, signature, engine = experiment.config, experiment.dataset.signature, experiment.engine
    progress = trainer.progress
    monitored = {
        "split": trainer.monitored,
        "score": trainer.task.monitor,
        "best": progress.best_value,
        "best_epoch": progress.best_epoch,
    }
    last = Checkpoint(
        config, signature, progress.to_dict(), monitored, engine.model_state(), engine.optimizer_state()
    )
    checkpoint.save(folder.last, last)
    if trainer.best_model is not None:
        at_best = {"epoch": progress.best_epoch, "step": progress.best_step}
        checkpoint.save(folder.best, Checkpoint(config, signature, at_best, monitored, trainer.best_model))


def _summarize(experiment: Experiment, trainer: Trainer, parameters: int) -> dict[str, Any]:
    """Return summary.json: the last weights' scores on each split, and the best weights'."""
    engine, progress = experiment.engine, trainer.progress
    splits = experiment.dataset.splits
    last = {name: engine.evaluate(name) for name in splits}
    best: dict[str, Any] = {
        "split": trainer.monitored,
        "score": trainer.task.monitor,
        "value": progress.best_value,
        "epoch": progress.best_epoch,
        "step": progress.best_step,
    }
    if trainer.best_model is not None:
        kept = engine.model_state()
        engine.load_model_state(trainer.best_model)
        best |= {name: engine.evaluate(name) for name in splits}
        engine.load_model_state(kept)
    stopped = progress.epoch < experiment.config.trainer.epochs
    return {
        "status": "stopped early" if stopped else "done",
        "epochs": progress.epoch,
        "steps": progress.step,
        "train_seconds": trainer.seconds,
        "samples_per_second": trainer.rows_seen / trainer.seconds,
        "parameters": parameters,
        "monitored": f"{trainer.task.monitor} on {trainer.monitored}",
        **last,
        "best": best,
    }


def _outcome(summary: dict[str, Any], config: Config, trainer: Trainer) -> list[str]:
    """Return the lines that say how it ended."""
    best = summary["best"]
    lines = [
        f"{summary['status']}: {summary['epochs']} epochs, {summary['steps']} steps in "
        f"{summary['train_seconds']:.2f} s ({summary['samples_per_second']:,.0f} samples/s)"
    ]
    if trainer.best_model is not None:
        value = f"{best['score']} {number(best['value'])}"
        others = [
            f"{name} {best['score']} {number(best[name][best['score']])}"
            for name in ("val", "test")
            if name in best and name != best["split"]
        ]
        scores = ", ".join([f"{best['split']} {value}", *others])
        lines.append(f"best epoch by {best['split']}: {best['epoch']} ({scores})")
    if trainer.monitored != "val":
        lines.append(f"no validation split (dataset.val_fraction=0): {trainer.monitored} was monitored")
    return lines


def _print_outcome(
    experiment: Experiment, summary: dict[str, Any], trainer: Trainer, console: Console
) -> None:
    outcome, *more = _outcome(summary, experiment.config, trainer)
    console.print()
    console.print(outcome, markup=False)
    scores = {name: summary[name] for name in experiment.dataset.splits}
    print_scores(console, f"epoch {summary['epochs']}", scores)
    for line in more:
        console.print(line, markup=False)
    if weights := readable_weights(experiment.network, experiment.dataset.signature):
        print_weights(console, f"epoch {summary['epochs']}", weights)


def _draw(experiment: Experiment, trainer: Trainer, folder: RunFolder, log: RunLog) -> None:
    from mlpkit.plots import draw_pictures
    from mlpkit.predict import Predictor

    if trainer.best_model is not None:
        experiment.engine.load_model_state(trainer.best_model)
    signature, epoch = experiment.dataset.signature, trainer.progress.best_epoch
    predictor = Predictor(experiment.network, signature, experiment.device, epoch)
    for path in draw_pictures(folder, predictor, experiment.dataset, read_metrics(folder.metrics)):
        log.picture(trainer.progress.step, path)


def _check_batches(config: Config, rows: int) -> None:
    """Refuse a last batch of one row where batch norm needs two."""
    size = config.trainer.batch_size
    norm = getattr(config.model, "norm", "none")
    if norm == "batch" and (rows == 1 if size == "full" else rows % size == 1 or size == 1):
        raise ConfigError(
            f"trainer.batch_size={size}: {rows} training rows leave a batch of one row, and model.norm=batch "
            "needs two; change the batch size or set model.norm=layer"
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, f"{to_json(content, indent=2)}\n".encode())
