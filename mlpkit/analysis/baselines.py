"""Baselines: the scores of a constant prediction and of scikit-learn's linear models on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlpkit.analysis.intervals import Draws, Interval, difference, resample
from mlpkit.analysis.threshold import best_threshold
from mlpkit.config.metric import MetricConfig, higher_is_better
from mlpkit.metrics import add_up
from mlpkit.tasks import Task

if TYPE_CHECKING:
    from mlpkit.analysis.predict import Predictor
    from mlpkit.data.dataset import Dataset, Split

MOST_NUMBERS = 5_000_000  # training rows × features that a linear model is fitted to; about 10 seconds


def constant_outputs(task: Task, targets: Tensor, width: int) -> Tensor:
    """Return the outputs (width,) that predict the mean of the targets, or the shares of the classes.

    Args:
        task: the task.
        targets: of the training rows, as `Split.targets`.
        width: number of outputs.
    """
    return task.constant(task.encode(targets, torch.float64), width)


def constant_name(task: Task) -> str:
    """Return what the constant prediction is called."""
    return "mean" if task.probabilities is None else "majority"


def linear_outputs(task: Task, train: "Split", inputs: Tensor, width: int) -> Tensor | None:
    """Fit scikit-learn's logistic or ridge regression to the training rows, and predict other rows.

    Both have scikit-learn's default settings and standardised inputs; ridge regression chooses its penalty by
    cross-validation.

    Args:
        task: the task.
        train: the training rows.
        inputs: (rows, features), raw, of the rows to predict.
        width: number of outputs.

    Returns:
        (rows, width) logits or values; -inf for a class without training rows. None if there are too many
        training rows and features, or if the training rows have only one class, or one value of a label.
    """
    is_one = task.probabilities is not None and bool((train.targets == train.targets[:1]).all(0).any())
    if is_one or train.inputs.numel() > MOST_NUMBERS:
        return None
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = train.inputs.double().flatten(1).numpy(), train.targets.numpy()
    rows = inputs.double().flatten(1).numpy()
    if task.probabilities is None:
        model = make_pipeline(StandardScaler(), RidgeCV((0.01, 0.1, 1.0, 10.0, 100.0))).fit(x, y)
        return torch.as_tensor(model.predict(rows)).reshape(len(rows), -1)
    logistic = LogisticRegression(max_iter=1000)
    if y.ndim == 2:
        scaler, of_labels = make_pipeline(StandardScaler(), MultiOutputClassifier(logistic)).fit(x, y)
        scaled = scaler.transform(rows)
        each = [torch.as_tensor(one.decision_function(scaled)) for one in of_labels.estimators_]
        return torch.stack(each, 1)
    model = make_pipeline(StandardScaler(), logistic).fit(x, y)
    logits = torch.as_tensor(model.decision_function(rows)).reshape(len(rows), -1)
    if width == logits.shape[1]:
        return logits
    if logits.shape[1] == 1:  # of two classes: that of the second
        logits = torch.cat((torch.zeros_like(logits), logits), 1)
    outputs = torch.full((len(rows), width), -torch.inf, dtype=logits.dtype)
    outputs[:, torch.as_tensor(model.classes_)] = logits
    return outputs


def scores_of_outputs(
    task: Task, outputs: Tensor, targets: Tensor, metrics: Sequence[MetricConfig] = ()
) -> dict[str, float]:
    """Return the scores of some outputs, without the loss.

    Args:
        task: the task.
        outputs: (rows, width), or (width,) for all rows.
        targets: of the rows, as `Split.targets`.
        metrics: metrics besides the task's scores.
    """
    truth, outputs = task.truth(task.encode(targets, torch.float64)), outputs.expand(len(targets), -1)
    sums = add_up(torch.zeros(len(targets)), task.statistics(outputs, truth))
    scores = {name: value for name, value in task.scores(sums, len(targets)).items() if name != "loss"}
    values = task.compute(metrics, outputs, truth, may_be_nan=True)
    return scores | dict(zip([metric.name for metric in metrics], values, strict=True))


@dataclass(frozen=True)
class Baseline:
    """A baseline's scores, and how the model's compare.

    Attributes:
        scores: by name, without the loss.
        better_by: 95 % interval of how much better the model's score is on the same rows; NaN where it is
            not defined.
    """

    scores: dict[str, float]
    better_by: Interval

    @property
    def is_beaten(self) -> bool:
        """Whether the model is shown to be better."""
        return self.better_by[0] > 0


def judged_score(task: Task, metrics: Sequence[MetricConfig], wanted: str = "") -> str:
    """Return the score by which a model is compared with baselines: the wanted or the monitored one.

    If it is not computed, or is the loss, it is the accuracy, or R².
    """
    known = [*task.names, *(metric.name for metric in metrics)]
    found = next((name for name in (wanted, task.monitor) if name in known and name != "loss"), "")
    return found or task.names[1]


def evaluate_baselines(
    predictor: "Predictor", dataset: "Dataset", rows: "Split", draws: Draws, task: Task, tuned: str = ""
) -> dict[str, Baseline]:
    """Compare a model with baselines on some rows; see `mlpkit.analysis.baselines`.

    Args:
        predictor: the model; its metrics are those that are scored.
        dataset: has the training rows, and those of validation.
        rows: the rows to score.
        draws: the model's, of `evaluate`.
        task: the task with the usual threshold of 0.5.
        tuned: the score by which the model's threshold was chosen on val; so is that of each baseline then.
    """
    train, width = dataset.splits["train"], dataset.input_schema.width
    val = dataset.splits["val"] if tuned else rows
    inputs = torch.cat((rows.inputs, val.inputs)) if tuned else rows.inputs
    constant = constant_outputs(task, train.targets, width)
    outputs = {constant_name(task): constant.expand(len(inputs), -1)}
    linear = linear_outputs(task, train, inputs, width)
    if linear is not None:
        outputs["ridge regression" if task.probabilities is None else "logistic regression"] = linear
    score = judged_score(task, predictor.metrics, tuned)
    sign = 1 if higher_is_better(score) else -1
    metrics = [metric for metric in predictor.metrics if metric.name == score]
    found = {}
    for name, of_all in outputs.items():
        said, own = of_all[: len(rows)], task
        if tuned:
            own = task.at_threshold(best_threshold(of_all[len(rows) :], val.targets, tuned))
        truth = task.truth(task.encode(rows.targets, torch.float64))
        statistics = [torch.zeros(len(rows)), *own.statistics(said, truth)]
        low, high = difference(draws, resample(own, statistics, said, truth, metrics), score)
        scores = scores_of_outputs(own, said, rows.targets, predictor.metrics)
        found[name] = Baseline(scores, (low, high) if sign > 0 else (-high, -low))
    return found


def beats(scores: Mapping[str, float], baseline: Mapping[str, Any]) -> bool:
    """Whether a model's accuracy, or R², is above a baseline's."""
    name = "accuracy" if "accuracy" in scores else "r2"
    return scores[name] > float(baseline[name])
