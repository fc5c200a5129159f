"""The scores after an epoch: of all K runs, and of one."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mlpkit.engines.device_data import Sums
from mlpkit.errors import NonFiniteError, diverged
from mlpkit.folders.state import Progress, Scores
from mlpkit.training.layers import LayerReport


@dataclass(slots=True)  # not frozen, which takes twice as long: a sweep makes millions of them
class EpochReport:
    """One run's scores after an epoch.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split and name; train scores are averages over the batches, each before its update.
        lr: learning rate of the epoch's last step.
        grad_norm: norm of the last step's gradient before clipping.
        seconds: training time so far.
        rows: training rows seen so far.
        wall_time: seconds since 1970.
        layers: weights and gradients by layer; None at most epochs.
    """

    epoch: int
    step: int
    scores: dict[str, Scores]
    lr: float
    grad_norm: float
    seconds: float
    rows: int
    wall_time: float
    layers: LayerReport | None = None


@dataclass(frozen=True)
class EpochScores:
    """The scores of K runs after an epoch.

    Attributes:
        epoch: epochs done.
        step: optimizer steps done.
        scores: by split and name: a number if K = 1, else an array (K,).
        lrs: (K,) learning rates of the epoch's last step.
        norms: (K, 1) norms of the last step's gradients before clipping.
        seconds: training time so far.
        rows: training rows that each run has seen so far.
        wall_time: seconds since 1970.
        layers: each run's weights and gradients by layer; empty at most epochs.
    """

    epoch: int
    step: int
    scores: Mapping[str, Mapping[str, Any]]
    lrs: Sequence[float]
    norms: Tensor
    seconds: float
    rows: int
    wall_time: float
    layers: Sequence[LayerReport] = ()

    def scores_of(self, run: int) -> dict[str, Scores]:
        """Return a run's scores by split."""
        return {
            split: {
                name: float(values if isinstance(values, float) else values[run])
                for name, values in by_name.items()
            }
            for split, by_name in self.scores.items()
        }

    @cached_property
    def _listed(self) -> tuple[dict[str, dict[str, list[float]]], list[float]]:
        """The scores by split and name, and the norms, as lists (K,)."""
        scores = {
            split: {name: as_list(values) for name, values in by_name.items()}
            for split, by_name in self.scores.items()
        }
        return scores, self.norms.view(-1).tolist()

    def report(self, run: int) -> EpochReport:
        """Return one run's scores."""
        scores, norms = self._listed
        return EpochReport(
            self.epoch,
            self.step,
            {split: {name: values[run] for name, values in part.items()} for split, part in scores.items()},
            self.lrs[run],
            norms[run],
            self.seconds,
            self.rows,
            self.wall_time,
            self.layers[run] if self.layers else None,
        )


def as_list(values: Any) -> list[float]:
    """Return a number, or an array (K,) of numbers, as a list."""
    return [values] if isinstance(values, float) else values.tolist()


def not_finite_losses(sums: Mapping[str, Sums], step: int, epoch: int) -> dict[int, NonFiniteError]:
    """Return an error for each run whose loss is infinite or NaN, by run.

    Args:
        sums: summed scores by split; the loss comes first.
        step: optimizer steps done.
        epoch: the epoch, counted from 1.
    """
    errors: dict[int, NonFiniteError] = {}
    for split, split_sums in sums.items():
        losses = as_list(split_sums[0])
        if math.isfinite(sum(losses)):
            continue
        for run, loss in enumerate(losses):
            if not math.isfinite(loss):
                errors.setdefault(run, diverged(step, epoch, f"{split} loss={loss}"))
    return errors


def select_runs(sums: Sums, runs: Sequence[int]) -> Sums:
    """Return the sums of some of K > 1 runs; the axis of runs is dropped if only one is left."""
    assert not isinstance(sums, Sequence)
    return sums[:, runs[0]].tolist() if len(runs) == 1 else sums[:, list(runs)]


def when_due(every: int | str) -> Callable[[Progress, float], bool]:
    """Return the function (progress, time of the last save) -> whether a checkpoint is due.

    Args:
        every: the value of checkpoint_every: epochs (an integer), `Nsteps` or `Ns`.
    """
    if isinstance(every, int):
        return lambda progress, saved_at: progress.batch == 0 and progress.epoch % every == 0
    if every.endswith("steps"):
        steps = int(every.removesuffix("steps"))
        return lambda progress, saved_at: progress.step % steps == 0
    seconds = float(every.removesuffix("s"))
    return lambda progress, saved_at: time.perf_counter() - saved_at >= seconds
