"""Baselines: the scores of a constant prediction and of scikit-learn's linear models on the same rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlpkit.config.metric import MetricConfig
from mlpkit.metrics import add_up
from mlpkit.tasks import Task

if TYPE_CHECKING:
    from mlpkit.data.dataset import Split

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


def linear_outputs(task: Task, train: "Split", inputs: Tensor) -> Tensor | None:
    """Fit scikit-learn's logistic or ridge regression to the training rows, and predict other rows.

    Both have scikit-learn's default settings and standardised inputs; ridge regression chooses its penalty by
    cross-validation.

    Args:
        task: the task.
        train: the training rows.
        inputs: (rows, features), raw, of the rows to predict.

    Returns:
        (rows, width) logits or values; None if there are too many training rows and features.
    """
    if train.inputs.numel() > MOST_NUMBERS:
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
    if y.ndim == 1:
        logits = torch.as_tensor(make_pipeline(StandardScaler(), logistic).fit(x, y).decision_function(rows))
        return logits if logits.dim() == 2 else logits[:, None]
    scaler, of_labels = make_pipeline(StandardScaler(), MultiOutputClassifier(logistic)).fit(x, y)
    scaled = scaler.transform(rows)
    return torch.stack([torch.as_tensor(one.decision_function(scaled)) for one in of_labels.estimators_], 1)


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


def beats(scores: Mapping[str, float], baseline: Mapping[str, Any]) -> bool:
    """Whether a model's accuracy, or R², is above a baseline's."""
    name = "accuracy" if "accuracy" in scores else "r2"
    return scores[name] > float(baseline[name])
