"""Copies a run's state out of a trainer, and restores the states of runs into it."""

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlpkit.engines.engine import Engine
from mlpkit.errors import DataError
from mlpkit.folders.state import KINDS, Progress, Scores, State
from mlpkit.training.rates import LearningRates
from mlpkit.training.tracker import Tracker


class Loop(Protocol):
    """The parts of a trainer that make up its state."""

    engine: Engine
    tracker: Tracker
    rates: LearningRates
    progress: Progress
    seconds: float
    judged_epoch: int

    def scores_of(self, run: int) -> dict[str, Scores]:
        """Return a run's scores after the last epoch, by split."""


def state_of(trainer: Loop, run: int) -> State:
    """Return a copy of all state that a run needs to be resumed; `restore` is the inverse."""
    progress, tensors = progress_of(trainer, run), trainer.engine.state(run)
    epoch, rows = tensors["epoch"], trainer.engine.kept_rows(run, progress.epoch, progress.batch)
    if rows is not None and rows.numel():
        epoch["rows"] = rows
    best = tensors["best"] if progress.best_epoch and not progress.best_is_now else {}
    model, optimizer, raw = tensors["model"], tensors["optimizer"], tensors["raw"]
    return State(progress, trainer.scores_of(run), model, optimizer, epoch, best, raw)


def progress_of(trainer: Loop, run: int) -> Progress:
    """Return a run's progress."""
    progress = copy.copy(trainer.progress)
    progress.seconds, progress.lr = trainer.seconds, trainer.rates.of_runs()[run]
    trainer.tracker.write(run, progress)
    if trainer.engine.own_best is not None:
        trainer.engine.own_best.write(run, progress)
    return progress


def restore(trainer: Loop, states: Sequence[State]) -> None:
    """Restore all runs of a trainer; their states must be at the same step.

    Raises:
        DataError: a state does not fit its run.
    """
    for run, state in enumerate(states):
        check(trainer.engine, run, state)
    engine, first = trainer.engine, states[0].progress
    trainer.progress = Progress(epoch=first.epoch, batch=first.batch, step=first.step)
    trainer.seconds = max(state.progress.seconds for state in states)
    trainer.judged_epoch = first.epoch
    for run, state in enumerate(states):
        trainer.tracker.restore(run, state.progress)
        best = state.best or (state.model if state.progress.best_epoch else {})
        kinds = {kind: getattr(state, kind) for kind in KINDS}
        engine.load_state(run, kinds | {"best": best})
        if engine.own_best is not None:
            engine.own_best.restore(run, state.progress)
    trainer.rates.restore([state.progress.lr for state in states])
    if "outputs" in states[0].epoch:
        engine.resume_epoch(first.epoch, first.batch, [state.epoch["outputs"] for state in states])


def check(engine: Engine, run: int, state: State) -> None:
    """Check that a state fits a run of the engine.

    Raises:
        DataError: its step, epoch and batch contradict each other or the config, or tensors are missing.
    """
    progress, losses = state.progress, state.epoch.get("losses")
    at_step = progress.epoch * engine.steps.per_epoch + progress.batch
    if (
        progress.step != at_step
        or progress.batch > engine.steps.per_epoch
        or progress.best_epoch > progress.epoch
    ):
        raise DataError(f"step {progress.step} is not in epoch {progress.epoch}, batch {progress.batch}")
    rows = engine.kept_rows(run, progress.epoch, progress.batch)
    seen = engine.steps.rows_in(progress.epoch, progress.batch) if rows is None else rows.shape[-1]
    if (0 if losses is None else losses.shape[-1]) != seen:
        raise DataError(
            f"the running epoch has seen {seen} rows, and the checkpoint holds another number of losses"
        )
    if seen and not _equal(state.epoch.get("rows"), rows):
        raise DataError("the rows that the running epoch has seen are not those of its config")
    if progress.epoch and not progress.best_epoch:
        raise DataError("it holds only the best weights, and no training state")
    if progress.best_epoch and not progress.best_is_now and not state.best:
        raise DataError("the best weights are missing")
    if engine.own_best is not None:
        engine.own_best.check(run, progress)
    if engine.experiments[run].config.trainer.has_averages and not state.raw:
        raise DataError("the weights before averaging (trainer.ema, trainer.swa) are missing")
    if progress.step and not state.optimizer and engine.experiments[run].config.optimizer.slots():
        raise DataError("the optimizer's tensors are missing")


def _equal(rows: Tensor | None, others: Tensor | None) -> bool:
    return rows is others if rows is None or others is None else torch.equal(rows, others)
