"""Temperature scaling: one number that makes a classifier's probabilities as sure as they should be.

Guo et al. 2017, "On calibration of modern neural networks". The logits z become z / T. T minimises the log
loss on rows that the model was not trained on. The order of the classes does not change; nor does a label,
unless a threshold other than 0.5 was chosen.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from mlpkit.analysis.predict import Predictor
from mlpkit.config.metric import MetricConfig, with_metric
from mlpkit.data.dataset import Split
from mlpkit.errors import DataError
from mlpkit.folders.checkpoint import TEMPERATURES
from mlpkit.tasks import Task

SCORES = ("log_loss", "ece", "brier")
_HALVINGS = 60  # of the interval; float64 has 52 bits


def fit_temperature(task: Task, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature with the smallest log loss.

    The log loss of z · s is convex in s = 1 / T, so its slope has one zero, which is found by halving.

    Args:
        task: binary, multiclass or multilabel.
        outputs: logits (rows, width) of a model that is not calibrated.
        targets: as in a split.
        weights: (rows,) how much each row counts; None: all the same.

    Raises:
        DataError: there is no such temperature in the range of a checkpoint's.
    """
    if not outputs.isfinite().all():
        raise DataError("val: the model's outputs are not finite numbers; train it again with a smaller lr")
    z = outputs.double()
    slope = _slope_of(z, task.encode(targets, torch.float64), weights)
    low, high = (1 / t for t in reversed(TEMPERATURES))
    if not slope(low) < 0 < slope(high):
        what = "too few errors" if slope(high) <= 0 else "too many errors"
        raise DataError(
            f"val: {what} to fit a temperature: the log loss has no minimum between {TEMPERATURES[0]:g} and "
            f"{TEMPERATURES[1]:g}; train with more validation rows, or use the model as it is"
        )
    for _ in range(_HALVINGS):
        middle = sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / sqrt(low * high)


def _slope_of(z: Tensor, targets: Tensor, weights: Tensor | None) -> Callable[[float], float]:
    """Return the derivative of the summed log loss by the factor s of the logits z."""
    share = torch.ones(len(z), dtype=z.dtype) if weights is None else weights.to(z.dtype)

    def slope(s: float) -> float:
        if targets.dim() == 1:  # one class of several
            each = (torch.softmax(z * s, 1) * z).sum(1) - z.gather(1, targets[:, None]).squeeze(1)
        else:
            each = ((torch.sigmoid(z * s) - targets) * z).sum(1)
        found: float = (share @ each).item()
        return found

    return slope


def calibration_scores(predictor: Predictor, rows: Split, outputs: Tensor) -> dict[str, float]:
    """Return log loss, expected calibration error and Brier score of a classifier's outputs for some rows."""
    task, metrics = predictor.task, tuple[MetricConfig, ...]()
    for name in SCORES:
        metrics = with_metric(metrics, name)
    truth = task.truth(task.encode(rows.targets, outputs.dtype))
    values = task.compute(metrics, outputs, truth, may_be_nan=True)
    return dict(zip(SCORES, values, strict=True))
