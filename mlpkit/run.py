"""One run: train what a config asks for, and write the run folder."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from mlpkit import checkpoint, environment, run_folder
from mlpkit.atomic_write import atomic_write
from mlpkit.checkpoint import Checkpoint
from mlpkit.config import Config, to_dict
from mlpkit.console import TrainingDisplay
from mlpkit.device import describe_device
from mlpkit.errors import MlpkitError, NonFiniteError, RunInterruptedError, WriteError
from mlpkit.experiment import Experiment, build
from mlpkit.interrupts import Wish, polite_signals
from mlpkit.logs import RunLog, read_metrics
from mlpkit.models import count_parameters
from mlpkit.outcome import describe, print_outcome, summarize
from mlpkit.plain_json import to_json
from mlpkit.run_folder import RunFolder
from mlpkit.trainer import EpochReport, Trainer


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
        with polite_signals() as wish:
            _train(experiment, folder, log, console, wish)
        log.close()
    except BaseException as error:
        reason = str(error) if isinstance(error, MlpkitError) else type(error).__name__
        status = "interrupted" if isinstance(error, KeyboardInterrupt | RunInterruptedError) else "failed"
        # On a full disk these fail as well, and the first error is the one to show.
        with suppress(WriteError):
            if not folder.summary.exists():  # what stopped the pictures does not take the scores away
                _write_json(folder.summary, {"status": status, "error": reason})
            log.text(f"{status}: {reason}")
            log.close()
        raise
    return folder


def _train(experiment: Experiment, folder: RunFolder, log: RunLog, console: Console, wish: Wish) -> None:
    config, dataset, task, engine = experiment.config, experiment.dataset, experiment.task, experiment.engine
    rows = {name: len(split) for name, split in dataset.splits.items()}

    def say(line: str) -> None:
        log.text(line)
        if config.run.progress != "none":
            console.print(line, markup=False)

    say(f"{dataset.name}: {task.name}, " + ", ".join(f"{count:,} {name}" for name, count in rows.items()))
    say(f"{config.model.name}: {count_parameters(experiment.network):,} parameters; engine: {engine.name}")
    say(describe_device(experiment.device, config.device))
    display = TrainingDisplay(
        console, config.run.progress, config.trainer.epochs, dataset.monitored, task.monitor
    )
    latest: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        latest[:] = [epoch]
        if epoch.epoch % config.trainer.log_every == 0:
            _log(log, epoch)
        if line := display.epoch(epoch):
            log.text(line)

    def tick(share: float) -> None:
        wish.check()
        display.tick(share)

    trainer = Trainer(
        config,
        engine,
        task,
        rows["train"],
        dataset.monitored,
        report,
        partial(_save, experiment, folder, log),
        tick,
    )
    try:
        trainer.fit()
    except RunInterruptedError as error:
        trainer.save(trainer)
        progress = trainer.progress
        where = f"after epoch {progress.epoch}, step {progress.step}"
        raise RunInterruptedError(
            error.signal_number, f"interrupted {where}; saved in {folder.path}"
        ) from None
    except NonFiniteError as error:
        raise NonFiniteError(f"{error}; the run so far is in {folder.path}") from None
    finally:
        display.stop(latest[-1] if latest else None)
    if trainer.progress.epoch % config.trainer.log_every:
        _log(log, latest[-1])
    summary = summarize(experiment, trainer)
    final = {name: summary[name] for name in rows}
    extra = {name: scores for name, scores in final.items() if name not in ("train", dataset.monitored)}
    if extra:
        log.scores(trainer.progress.epoch, trainer.progress.step, extra, trainer.seconds)
    log.hparams({name: section for name, section in to_dict(config).items() if name not in ("run", "format")})
    _write_json(folder.summary, summary)
    log.flush()
    for line in describe(summary):
        log.text(line)
    if config.run.progress != "none":
        print_outcome(console, experiment, summary)
    if config.run.plots:
        _draw(experiment, trainer, folder, log)
    say(f"run folder: {folder.path}")


def _log(log: RunLog, epoch: EpochReport) -> None:
    log.scores(epoch.epoch, epoch.step, epoch.scores, epoch.seconds, lr=epoch.lr, grad_norm=epoch.grad_norm)


def _save(experiment: Experiment, folder: RunFolder, log: RunLog, trainer: Trainer) -> None:
    """Write best.safetensors where there is a better one, and last.safetensors, which may name it."""
    log.flush()
    config, signature, engine = experiment.config, experiment.dataset.signature, experiment.engine
    progress = trainer.progress
    if trainer.best_model is not None and trainer.saved_best != progress.best_step:
        at_best = {"epoch": progress.best_epoch, "step": progress.best_step}
        best = Checkpoint(config, signature, at_best, trainer.best_scores, trainer.best_model)
        checkpoint.save(folder.best, best)
        trainer.saved_best = progress.best_step
    model, optimizer = engine.model_state(), engine.optimizer_state()
    last = Checkpoint(config, signature, progress.to_dict(), trainer.scores, model, optimizer)
    checkpoint.save(folder.last, last)


def _draw(experiment: Experiment, trainer: Trainer, folder: RunFolder, log: RunLog) -> None:
    from mlpkit.plots import draw_pictures
    from mlpkit.predict import Predictor

    if trainer.best_model is not None:
        experiment.engine.load_model_state(trainer.best_model)
    signature, epoch = experiment.dataset.signature, trainer.progress.best_epoch
    predictor = Predictor(experiment.network, signature, experiment.device, epoch)
    for path in draw_pictures(folder, predictor, experiment.dataset, read_metrics(folder.metrics)):
        log.picture(trainer.progress.step, path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, f"{to_json(content, indent=2)}\n".encode())
