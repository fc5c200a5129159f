"""Temperature scaling: one number that makes a classifier's probabilities as sure as they should be.

Guo et al. 2017, "On calibration of modern neural networks". The logits z become z / T. T minimises the log
loss on rows that the model was not trained on. The order of one network's classes does not change; nor does
a label, unless a threshold other than 0.5 was chosen. The members of an ensemble have one T, that of their
mean probabilities: members that are calibrated one by one have a mean that is not sure enough.
"""

from collections.abc import Callable
from copy import copy
from math import log10, sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mlpkit.analysis.predict import Predictor, members_of, one_of
from mlpkit.config.metric import MetricConfig, with_metric
from mlpkit.data.dataset import Split
from mlpkit.errors import DataError
from mlpkit.folders.checkpoint import TEMPERATURES
from mlpkit.models.torch_layers import Temperature
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task

SCORES = ("log_loss", "ece", "brier")
_TRIED = 41  # temperatures that are compared first
_HALVINGS = 60  # of the interval between two of them; float64 has 52 bits


def fit_temperature(task: Task, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature with the smallest log loss of the mean probabilities of all members.

    The log loss of one network's z · s is convex in s = 1 / T. That of a mean need not be, so the lowest of
    some temperatures is found first; the slope between its neighbours has a zero, which is found by halving.

    Args:
        task: binary, multiclass or multilabel.
        outputs: logits (members, rows, width) of a model that is not calibrated.
        targets: as in a split.
        weights: (rows,) how much each row counts; None: all the same.

    Raises:
        DataError: there is no such temperature in the range of a checkpoint's.
    """
    if not outputs.isfinite().all():
        raise DataError("val: the model's outputs are not finite numbers; train it again with a smaller lr")
    loss_of = _loss_of(task, outputs.double(), targets, weights)
    low, high = (1 / t for t in reversed(TEMPERATURES))
    grid = torch.logspace(log10(low), log10(high), _TRIED, dtype=torch.float64).tolist()
    best = min(range(_TRIED), key=lambda place: loss_of(grid[place])[0])
    low, high = grid[max(0, best - 1)], grid[min(_TRIED - 1, best + 1)]
    if not loss_of(low)[1] < 0 < loss_of(high)[1]:
        what = "too few errors" if loss_of(high)[1] <= 0 else "too many errors"
        raise DataError(
            f"val: {what} to fit a temperature: the log loss has no minimum between {TEMPERATURES[0]:g} and "
            f"{TEMPERATURES[1]:g}; train with more validation rows, or use the model as it is"
        )
    for _ in range(_HALVINGS):
        middle = sqrt(low * high)
        low, high = (middle, high) if loss_of(middle)[1] < 0 else (low, middle)
    return 1 / sqrt(low * high)


def _loss_of(
    task: Task, z: Tensor, targets: Tensor, weights: Tensor | None
) -> Callable[[float], tuple[float, float]]:
    """Return the summed log loss of logits z (members, rows, width) times a factor s, and its slope by s."""
    share = torch.ones(z.shape[1], dtype=z.dtype) if weights is None else weights.to(z.dtype)
    encoded = task.encode(targets, z.dtype)

    def loss_of(s: float) -> tuple[float, float]:
        factor = torch.tensor(s, dtype=z.dtype, requires_grad=True)
        with torch.enable_grad():
            mean = task.average(z * factor)
            if encoded.dim() == 1:  # one class of several
                each = cross_entropy(mean, encoded, reduction="none")
            else:
                each = binary_cross_entropy_with_logits(mean, encoded, reduction="none").sum(1)
            loss = share @ each
        (slope,) = torch.autograd.grad(loss, factor)
        return loss.item(), slope.item()

    return loss_of


def calibration_scores(task: Task, rows: Split, outputs: Tensor) -> dict[str, float]:
    """Return log loss, expected calibration error and Brier score of a classifier's outputs for some rows."""
    metrics = tuple[MetricConfig, ...]()
    for name in SCORES:
        metrics = with_metric(metrics, name)
    truth = task.truth(task.encode(rows.targets, outputs.dtype))
    values = task.compute(metrics, outputs, truth, may_be_nan=True)
    return dict(zip(SCORES, values, strict=True))


def temperatures_of(predictor: Predictor) -> list[float]:
    """Return the different temperatures of a model's members, in their order; [1] if it is not calibrated."""
    return list(dict.fromkeys(member.network.temperature for member in members_of(predictor)))


def uncalibrated(predictor: Predictor) -> Predictor:
    """Return a model without its temperature; the weights are shared."""
    members = []
    for member in members_of(predictor):
        network, found = member.network, copy(member)
        layers = [layer for layer in network.layers if not isinstance(layer, Temperature)]
        found.network = Network(nn.Sequential(*layers), network.scaling, network.unscaling).eval()
        found.task, found.metrics = predictor.task, predictor.metrics
        members.append(found)
    return one_of(members, predictor.epoch)
