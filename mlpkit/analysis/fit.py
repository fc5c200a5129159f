"""Judges the models of a cross-validation against each other and against a constant prediction.

Every row of the table is predicted by models that did not train on it. Models are ranked by the log loss,
which judges probabilities and not only classes, or by R² for a regression. Both are means over rows, so each
has a t interval, and the difference of two models has a paired t-test. The folds share training rows; the
variance is enlarged as Nadeau and Bengio (2003) do for folds: see `overlap_of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpkit.analysis.baselines import constant_name, constant_outputs
from mlpkit.analysis.out_of_fold import OutOfFold, average
from mlpkit.analysis.repeats import overlap_of
from mlpkit.analysis.statistics import half_width, paired_difference
from mlpkit.losses.auto import Auto
from mlpkit.tasks import Task

SIGNIFICANT = 0.05  # the probability of calling equal models different


@dataclass(frozen=True)
class Candidate:
    """A model that is judged.

    Attributes:
        name: what it is called.
        model: the model's name in the config; empty for a constant prediction.
        members: the number of runs whose predictions are averaged.
        losses: (rows,) the loss of each row; for a single run, the mean over the seeds.
        accuracy: share of right labels; None for a regression.
        folds: number of folds.
    """

    name: str
    model: str
    members: int
    losses: Tensor
    accuracy: float | None
    folds: int

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.losses.mean())

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval of the mean loss."""
        return half_width(self.losses.tolist(), self.overlap) or 0.0

    @property
    def overlap(self) -> float:
        """What the overlap of folds adds to 1 / rows: the variance is 1 + folds · overlap times as large."""
        return overlap_of(self.folds) * self.folds / len(self.losses)


@dataclass(frozen=True)
class Judged:
    """Candidates, best first, each compared with the best.

    Attributes:
        candidates: ranked by their loss.
        p_values: of each against the best, by a paired t-test over rows, corrected; None: the best.
        rows: how many rows were predicted.
        task: the task.
    """

    candidates: Sequence[Candidate]
    p_values: Sequence[float | None]
    rows: int
    task: Task

    @property
    def winner(self) -> Candidate:
        """The best model that can be trained."""
        return next(candidate for candidate in self.candidates if candidate.model)

    def beats_constant(self) -> bool:
        """Whether the winner is shown to be better than the constant prediction."""
        constant = next(candidate for candidate in self.candidates if not candidate.model)
        p = _p_value(self.winner, constant, len(self.candidates))
        return self.winner.loss < constant.loss and p < SIGNIFICANT


def judge(predictions: Mapping[str, Sequence[OutOfFold]]) -> Judged:
    """Rank models, their ensembles and a constant prediction.

    Args:
        predictions: the out-of-fold predictions of each model's seeds, by the model's name.
    """
    first = next(iter(predictions.values()))[0]
    candidates = [_constant(first)]
    for model, seeds in predictions.items():
        candidates.append(_candidate(model, model, seeds))
        if model == "mlp" and len(seeds) > 1:
            candidates.append(_candidate("mlp ensemble", model, [average(seeds)], len(seeds)))
    ranked = sorted(candidates, key=lambda candidate: candidate.loss)
    p_values = [_p_value(ranked[0], candidate, len(ranked)) for candidate in ranked[1:]]
    return Judged(ranked, [None, *p_values], len(first.rows), first.predictor.task)


def _p_value(best: Candidate, other: Candidate, candidates: int) -> float:
    """Return the p-value of a paired t-test over rows, times the number of all pairs (Bonferroni)."""
    difference = paired_difference(best.losses.tolist(), other.losses.tolist(), best.overlap)
    return 1.0 if difference is None else min(1.0, difference.p_value() * candidates * (candidates - 1) / 2)


def _candidate(name: str, model: str, seeds: Sequence[OutOfFold], members: int = 1) -> Candidate:
    losses = torch.stack([_losses(seed, seed.outputs) for seed in seeds]).mean(0)
    accuracies = [_accuracy(seed, seed.outputs) for seed in seeds]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    accuracy = sum(known) / len(known) if known else None
    return Candidate(name, model, members, losses, accuracy, _folds(seeds[0]))


def _constant(rows: OutOfFold) -> Candidate:
    """Predict each fold's rows by the class shares, or the mean, of all other rows."""
    task, width = rows.predictor.task, rows.outputs.shape[1]
    outputs = rows.outputs.new_empty(rows.outputs.shape, dtype=torch.float64)
    for fold in range(_folds(rows)):
        tested = rows.folds == fold
        outputs[tested] = constant_outputs(task, rows.targets[~tested], width)
    losses, accuracy = _losses(rows, outputs), _accuracy(rows, outputs)
    return Candidate(constant_name(task), "", 1, losses, accuracy, _folds(rows))


def _folds(rows: OutOfFold) -> int:
    return int(rows.folds.max()) + 1


def _losses(rows: OutOfFold, outputs: Tensor) -> Tensor:
    """Return the loss (rows,) of each row: log loss, or squared error divided by the targets' variance."""
    task, outputs = rows.predictor.task, outputs.double()
    targets = task.encode(rows.targets, torch.float64)
    if task.name == "regression":
        return ((outputs - targets).square() / targets.var(0, correction=0)).mean(1)
    return Auto(name="auto").for_task(task.name).per_example(outputs, targets)


def _accuracy(rows: OutOfFold, outputs: Tensor) -> float | None:
    task = rows.predictor.task
    if task.probabilities is None:
        return None
    return float((task.decode(outputs) == rows.targets).double().mean())
