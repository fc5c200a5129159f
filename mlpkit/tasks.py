"""The three tasks. A dataset decides the task, and the task alone decides everything that follows:
the loss, how outputs are decoded, the scores, and which score is monitored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpkit import metrics

SURE = 40.0  # from where log(1 + exp(x)) is x in float64 as well
MANY = 1000  # rows whose numbers take longer than to begin ten operations


@dataclass(frozen=True)
class Task:
    """What follows from the kind of target.

    Attributes:
        name: regression, binary or multiclass.
        encode: targets of a split -> targets as the loss wants them, in the outputs' dtype.
        loss: (outputs, encoded targets) -> losses (rows,), one for each example.
        expected: (encoded targets, width, dtype) -> y (rows, width), which the mean of the outputs'
            distribution is compared with.
        residual: (outputs (…, width, rows), y likewise, out) -> None; out := μ(outputs) - y, for the mean μ:
            what a program does with outputs whose examples are columns.
        slope: width -> c; the gradient of a row's loss in its outputs is c · (μ(outputs) - y).
        truth: encoded targets of a whole split -> what statistics compare with, which is made once.
        statistics: (outputs, truth) -> per-example values that scores are made of.
        scores: (sums, rows) -> scores by name; of columns of sums, columns of scores.
        probabilities: outputs -> (rows, classes), or None where there are none.
        decode: outputs -> labels (rows,), or values (rows, targets) for regression.
        monitor: the score that decides what is best.
        higher_is_better: its direction.
    """

    name: str
    encode: Callable[[Tensor, torch.dtype], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    expected: Callable[[Tensor, int, torch.dtype], Tensor]
    residual: Callable[[Tensor, Tensor, Tensor], object]
    slope: Callable[[int], float]
    truth: Callable[[Tensor], Tensor]
    statistics: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    scores: Callable[[Sequence[Any], int], dict[str, Any]]
    probabilities: Callable[[Tensor], Tensor] | None
    decode: Callable[[Tensor], Tensor]
    monitor: str
    higher_is_better: bool

    def improves(self, value: float, best: float | None, min_delta: float = 0.0) -> bool:
        """Whether a monitored value beats the best so far by more than min_delta; NaN never does."""
        if value != value:
            return False
        if best is None:
            return True
        return value > best + min_delta if self.higher_is_better else value < best - min_delta

    def beats(self, value: float, loss: float, best_value: float | None, best_loss: float | None) -> bool:
        """Whether an epoch is better than the best so far.

        An accuracy on a small split is soon equal to the best one; among equals the lower loss is better.
        """
        if best_value is not None and best_loss is not None and value == best_value:
            return loss < best_loss
        return self.improves(value, best_value)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the targets of (ŷ - y)² (torch MSELoss)."""
    return (outputs - targets).square().mean(1)


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log σ(z) where y = 1 and -log(1 - σ(z)) where y = 0, for a logit z (torch BCEWithLogitsLoss).

    Both are log(1 + exp((1 - 2y) z)), which is exact on either side, however sure the answer is.
    """
    against = torch.addcmul(outputs, outputs, targets, value=-2)
    if outputs.requires_grad or len(outputs) < MANY:
        return F.softplus(against, threshold=SURE).squeeze(1)
    # For many rows torch's log(1 + t) takes twice as long as a log of w = 1 + t, and to give back what
    # rounding has put into w (after Kahan; Goldberg 1991, theorem 4).
    t = against.abs().neg_().exp_()
    w = t + 1
    losses = t.sub_(w - 1)
    return losses.add_(w.log_()).add_(against.clamp_min_(0)).squeeze(1)


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(z)_y = log Σ exp(z - z_y) for logits z (torch CrossEntropyLoss)."""
    if outputs.requires_grad:
        return F.cross_entropy(outputs, targets, reduction="none")
    # As exact, where many rows of few classes are scored, in a third of the time.
    return torch.logsumexp(outputs - outputs.gather(1, targets[:, None]), 1)


def _both_classes(outputs: Tensor) -> Tensor:
    return torch.cat((torch.sigmoid(-outputs), torch.sigmoid(outputs)), dim=1)


REGRESSION = Task(
    name="regression",
    encode=lambda targets, dtype: targets.to(dtype),
    loss=_squared_error,
    expected=lambda targets, width, dtype: targets,
    residual=lambda outputs, y, out: torch.sub(outputs, y, out=out),
    slope=lambda width: 2 / width,
    truth=metrics.regression_truth,
    statistics=metrics.regression_statistics,
    scores=metrics.regression_scores,
    probabilities=None,
    decode=lambda outputs: outputs,
    monitor="loss",
    higher_is_better=False,
)

BINARY = Task(
    name="binary",
    encode=lambda targets, dtype: targets.to(dtype).unsqueeze(1),
    loss=_binary_cross_entropy,
    expected=lambda targets, width, dtype: targets,
    residual=lambda outputs, y, out: torch.sigmoid(outputs, out=out).sub_(y),
    slope=lambda width: 1.0,
    truth=lambda targets: targets > 0.5,
    statistics=lambda outputs, truth: metrics.classification_statistics(outputs > 0, truth),
    scores=metrics.classification_scores,
    probabilities=_both_classes,
    decode=lambda outputs: (outputs > 0).long().squeeze(1),
    monitor="accuracy",
    higher_is_better=True,
)

MULTICLASS = Task(
    name="multiclass",
    encode=lambda targets, dtype: targets,
    loss=_cross_entropy,
    expected=lambda targets, width, dtype: F.one_hot(targets, width).to(dtype),
    residual=lambda outputs, y, out: torch.softmax(outputs, -2, out=out).sub_(y),
    slope=lambda width: 1.0,
    truth=lambda targets: targets,
    statistics=lambda outputs, truth: metrics.classification_statistics(outputs.argmax(1), truth),
    scores=metrics.classification_scores,
    probabilities=lambda outputs: torch.softmax(outputs, dim=1),
    decode=lambda outputs: outputs.argmax(1),
    monitor="accuracy",
    higher_is_better=True,
)

TASKS = {task.name: task for task in (REGRESSION, BINARY, MULTICLASS)}
