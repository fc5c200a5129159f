"""The four tasks. The dataset decides the task; the task decides the encoding of targets, the decoding of
outputs, the scores and the monitored score. The loss is a separate choice: `mlpkit.config.loss`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mlpkit import metrics
from mlpkit.config.metric import MetricConfig, higher_is_better
from mlpkit.config.plugins import calling, described
from mlpkit.config.problems import did_you_mean
from mlpkit.config.registry import choices
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from mlpkit.config.config import Config


class Truth(Protocol):
    """See `Task.truth`."""

    def __call__(self, targets: Tensor, mean: Tensor | None = None) -> Tensor:
        """Return the truth of encoded targets: all of a split, or some of a split with this mean."""


@dataclass(frozen=True)
class Task:
    """A task: how to encode targets, decode outputs and compute scores.

    Attributes:
        name: regression, binary, multiclass or multilabel.
        encode: (targets, dtype) -> targets for the loss; floats get the outputs' dtype.
        truth: encoded targets of a whole split -> the tensor that `statistics` compares with, computed once;
            or those of some of its rows, and the mean (targets,) of all in float64.
        targets: truth -> the targets, in the format of `decode`.
        statistics: (outputs, truth) -> values per example; scores are computed from their sums.
        names: the scores' names.
        scores: (sums, rows) -> scores by name; sums may be numbers or arrays (K,).
        probabilities: outputs -> (rows, classes), or (rows, targets) for multilabel; None for regression.
        decode: outputs -> labels (rows,), zeros and ones (rows, targets) for multilabel, or values (rows,
            targets) for regression.
        constant: (encoded float64 targets, width) -> outputs (width,) that predict their mean, or the shares
            of the classes. The shares count one more row of each class, so that no probability is 0.
        average: outputs (members, rows, width) -> outputs (rows, width) of the mean probabilities, or values.
        monitor: the score that decides which epoch is best, by default.
        higher_is_better: whether higher values of `monitor` are better.
        threshold: probability above which a label is 1.
    """

    name: str
    encode: Callable[[Tensor, torch.dtype], Tensor]
    truth: Truth
    targets: Callable[[Tensor], Tensor]
    statistics: Callable[[Tensor, Tensor], tuple[Tensor, ...]]
    names: tuple[str, ...]
    scores: Callable[[Sequence[Any], int], dict[str, Any]]
    probabilities: Callable[[Tensor], Tensor] | None
    decode: Callable[[Tensor], Tensor]
    constant: Callable[[Tensor, int], Tensor]
    average: Callable[[Tensor], Tensor]
    monitor: str
    higher_is_better: bool
    threshold: float = 0.5

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what may differ from the task of that name, since the functions have no names."""
        return _unpickled, (self.name, self.threshold, self.monitor, self.higher_is_better)

    def at_threshold(self, threshold: float) -> "Task":
        """Return the task with labels of 1 where the probability is above a threshold, instead of 0.5."""
        shift = log(threshold / (1 - threshold))
        return replace(
            self,
            statistics=lambda outputs, truth: self.statistics(outputs - shift, truth),
            decode=lambda outputs: self.decode(outputs - shift),
            threshold=threshold,
        )

    def improves(self, value: float, best: float | None, min_delta: float = 0.0) -> bool:
        """Return whether a monitored value beats the best so far by more than min_delta; NaN never does."""
        if value != value:
            return False
        if best is None:
            return True
        return value > best + min_delta if self.higher_is_better else value < best - min_delta

    def beats(self, value: float, loss: float, best_value: float | None, best_loss: float | None) -> bool:
        """Return whether an epoch is better than the best so far.

        Among equal values, which are common for the accuracy on a small split, the lower loss is better.
        """
        if best_value is not None and best_loss is not None and value == best_value:
            return loss < best_loss
        return self.improves(value, best_value)

    def compute(
        self,
        metrics: Sequence[MetricConfig],
        outputs: Tensor,
        truth: Tensor,
        may_be_nan: bool = False,
        split: str = "a split",
    ) -> list[float]:
        """Return the values of metrics on a whole split.

        Args:
            metrics: metrics for this task.
            outputs: (rows, width), in the targets' units.
            truth: the rows' truth.
            may_be_nan: whether a metric may be NaN, where it is not defined.
            split: what the rows are called in errors.

        Raises:
            ConfigError: a metric returned NaN or infinity, or a plug-in's failed.
        """
        if not metrics:
            return []
        outputs = outputs.detach().cpu()
        probabilities = self.probabilities(outputs) if self.probabilities else None
        predictions, targets = self.decode(outputs), self.targets(truth.cpu())
        values = []
        for metric in metrics:
            with calling(described("run.metrics", metric), metric):
                value = float(metric.score(predictions, probabilities, targets))
            values.append(value)
            if not (isfinite(value) or may_be_nan):
                raise ConfigError(
                    f"run.metrics={metric.name}: its value is {value} for the rows of {split}; leave it out"
                )
        return values


def _both_classes(outputs: Tensor) -> Tensor:
    return torch.cat((torch.sigmoid(-outputs), torch.sigmoid(outputs)), dim=1)


def _logits_of_shares(targets: Tensor, width: int) -> Tensor:
    return ((targets.sum(0) + 1) / (len(targets) + 2)).logit()


def _log_shares(labels: Tensor, width: int) -> Tensor:
    return ((labels.bincount(minlength=width).double() + 1) / (len(labels) + width)).log()


def _average_logits(logits: Tensor) -> Tensor:
    """Return the logit of the mean of p: log Σp - log Σ(1 - p), without the rounding of p near 0 and 1."""
    return logsigmoid(logits).logsumexp(0) - logsigmoid(-logits).logsumexp(0)


REGRESSION = Task(
    name="regression",
    encode=lambda targets, dtype: targets.to(dtype),
    truth=metrics.regression_truth,
    targets=lambda truth: truth.chunk(2, dim=1)[0],
    statistics=metrics.regression_statistics,
    names=("loss", "r2", "mae", "rmse"),
    scores=metrics.regression_scores,
    probabilities=None,
    decode=lambda outputs: outputs,
    constant=lambda targets, width: targets.mean(0),
    average=lambda outputs: outputs.mean(0),
    monitor="loss",
    higher_is_better=False,
)

BINARY = Task(
    name="binary",
    encode=lambda targets, dtype: targets.to(dtype).unsqueeze(1),
    truth=lambda targets, mean=None: targets > 0.5,
    targets=lambda truth: truth.long().squeeze(1),
    statistics=lambda outputs, truth: metrics.classification_statistics(outputs > 0, truth),
    names=("loss", "accuracy"),
    scores=metrics.classification_scores,
    probabilities=_both_classes,
    decode=lambda outputs: (outputs > 0).long().squeeze(1),
    constant=_logits_of_shares,
    average=_average_logits,
    monitor="accuracy",
    higher_is_better=True,
)

MULTICLASS = Task(
    name="multiclass",
    encode=lambda targets, dtype: targets,
    truth=lambda targets, mean=None: targets,
    targets=lambda truth: truth,
    statistics=lambda outputs, truth: metrics.classification_statistics(outputs.max(1).indices, truth),
    names=("loss", "accuracy"),
    scores=metrics.classification_scores,
    probabilities=lambda outputs: torch.softmax(outputs, dim=1),
    decode=lambda outputs: outputs.argmax(1),
    constant=_log_shares,
    average=lambda outputs: outputs.log_softmax(-1).logsumexp(0) - log(len(outputs)),
    monitor="accuracy",
    higher_is_better=True,
)

MULTILABEL = Task(
    name="multilabel",
    encode=lambda targets, dtype: targets.to(dtype),
    truth=lambda targets, mean=None: targets > 0.5,
    targets=lambda truth: truth.long(),
    statistics=lambda outputs, truth: metrics.multilabel_statistics(outputs > 0, truth),
    names=("loss", "accuracy", "exact_match", "f1_micro"),
    scores=metrics.multilabel_scores,
    probabilities=torch.sigmoid,
    decode=lambda outputs: (outputs > 0).long(),
    constant=_logits_of_shares,
    average=_average_logits,
    monitor="accuracy",
    higher_is_better=True,
)

TASKS = {task.name: task for task in (REGRESSION, BINARY, MULTICLASS, MULTILABEL)}


def task_of(config: "Config", name: str, split: str | None = None) -> Task:
    """Return a task that monitors the score of `trainer.monitor`.

    Args:
        config: the run's config.
        name: the dataset's task.
        split: the dataset's monitored split; None: not checked.

    Raises:
        ConfigError: there is no such score, or it is of another split.
    """
    task, wanted = TASKS[name], config.trainer.monitor
    if wanted == "auto":
        return task
    of_split, _, score = wanted.rpartition(".")
    known = [
        *task.names,
        *(key for key, own in choices("metric").items() if name in getattr(own, "tasks", ())),
    ]
    if score not in known:
        raise ConfigError(
            f"trainer.monitor={wanted}: must be auto or a score of {name}: {', '.join(known)}"
            f"{did_you_mean(score, known)}"
        )
    if split is not None and of_split not in ("", split):
        raise ConfigError(
            f"trainer.monitor={wanted}: dataset={config.dataset.name} is monitored on {split}; write {score}"
        )
    return replace(task, monitor=score, higher_is_better=higher_is_better(score))


def _unpickled(name: str, threshold: float, monitor: str, higher_is_better: bool) -> Task:
    task = TASKS[name] if threshold == 0.5 else TASKS[name].at_threshold(threshold)
    return replace(task, monitor=monitor, higher_is_better=higher_is_better)
