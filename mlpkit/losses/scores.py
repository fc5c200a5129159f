"""Metrics, computed from all predictions of a split, as in `run.metrics=[roc_auc]`; equal to scikit-learn's.

scikit-learn's functions take milliseconds to check their arguments, more than a small network's epoch takes.
A metric that is not defined is NaN, as the area under the ROC curve is where all rows are of one class.
"""

import math
from typing import TYPE_CHECKING, Literal, Optional

from mlpkit.config.metric import MetricConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Optional: see `OptimizerConfig`.
Probabilities = Optional["Tensor"]
CLASSES = ("binary", "multiclass")
LABELS = (*CLASSES, "multilabel")
ECE_BINS = 15


class _LabelScore(MetricConfig):
    """A score of predicted labels; of two classes it is the second's, else the mean of all (macro)."""

    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; as scikit-learn's with average="binary" or "macro"."""
        assert probabilities is not None
        right, predicted, true = _counts(predictions, targets, probabilities.shape[1])
        each = self.of_counts(right, predicted, true)
        if targets.dim() == 1 and len(each) == 2:
            return float(each[1])
        return float(each.mean() if targets.dim() == 2 else each[predicted + true > 0].mean())

    def of_counts(self, right: "Tensor", predicted: "Tensor", true: "Tensor") -> "Tensor":
        """Return the score of each label (labels,) from its counts: right predictions, predictions, rows."""
        raise NotImplementedError


def _counts(predictions: "Tensor", targets: "Tensor", classes: int) -> "tuple[Tensor, Tensor, Tensor]":
    """Return for each label how often it is predicted rightly, is predicted, and is true."""
    if targets.dim() == 2:
        return (predictions * targets).sum(0), predictions.sum(0), targets.sum(0)
    table = (targets * classes + predictions).bincount(minlength=classes**2).view(classes, classes)
    return table.diagonal(), table.sum(0), table.sum(1)


def _ratio(part: "Tensor", whole: "Tensor") -> "Tensor":
    """Return part / whole, and 0 for 0 / 0."""
    return part.double() / whole.clamp_min(1)


@choice("metric")
class Precision(_LabelScore):
    """Share of right labels among the predicted ones; of two classes, of the second."""

    name: Literal["precision"]

    def of_counts(self, right: "Tensor", predicted: "Tensor", true: "Tensor") -> "Tensor":
        """See `_LabelScore.of_counts`."""
        return _ratio(right, predicted)


@choice("metric")
class Recall(_LabelScore):
    """Share of the true labels that are found; of two classes, of the second."""

    name: Literal["recall"]

    def of_counts(self, right: "Tensor", predicted: "Tensor", true: "Tensor") -> "Tensor":
        """See `_LabelScore.of_counts`."""
        return _ratio(right, true)


@choice("metric")
class F1(_LabelScore):
    """Harmonic mean of precision and recall; of two classes, of the second."""

    name: Literal["f1"]

    def of_counts(self, right: "Tensor", predicted: "Tensor", true: "Tensor") -> "Tensor":
        """See `_LabelScore.of_counts`."""
        return _ratio(2 * right, predicted + true)


@choice("metric")
class BalancedAccuracy(MetricConfig):
    """Mean of the recall of each class; for a constant prediction 1 / number of classes."""

    name: Literal["balanced_accuracy"]
    tasks = CLASSES
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's balanced_accuracy_score."""
        assert probabilities is not None
        right, _, true = _counts(predictions, targets, probabilities.shape[1])
        return float(_ratio(right, true)[true > 0].mean())


def _by_class(targets: "Tensor", probabilities: Probabilities) -> "tuple[Tensor, Tensor]":
    """Return one-hot targets and the probabilities, (rows, n) each; of two classes only the second's."""
    from torch.nn.functional import one_hot

    assert probabilities is not None
    if targets.dim() == 2:
        return targets, probabilities
    if probabilities.shape[1] == 2:
        return targets[:, None], probabilities[:, 1:]
    return one_hot(targets, probabilities.shape[1]), probabilities


def _ranked(targets: "Tensor", probabilities: "Tensor") -> "tuple[Tensor, Tensor]":
    """Return how many rows, and how many positive ones, have each probability, from the highest on."""
    _, places, rows = probabilities.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    return rows.flip(0).double(), places.bincount(targets.double()).flip(0)


@choice("metric")
class RocAuc(MetricConfig):
    """Area under the ROC curve; of several classes, the mean of each one against the rest."""

    name: Literal["roc_auc"]
    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's roc_auc_score, one against the rest, macro."""
        return _mean_of_classes(_area, targets, probabilities)


def _area(targets: "Tensor", probabilities: "Tensor") -> float:
    """Return the share of pairs, a positive and a negative row, in the right order; ties count one half."""
    rows, positive = _ranked(targets, probabilities)
    negative = rows - positive
    pairs = float(positive.sum() * negative.sum())
    ordered = (negative * (positive.cumsum(0) - positive / 2)).sum()
    return float(ordered) / pairs if pairs else math.nan


@choice("metric")
class AveragePrecision(MetricConfig):
    """Area under the precision-recall curve; for a constant prediction the share of the positive class."""

    name: Literal["average_precision"]
    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's average_precision_score, macro."""
        return _mean_of_classes(_average_precision, targets, probabilities)


def _average_precision(targets: "Tensor", probabilities: "Tensor") -> float:
    """Return the mean precision over the thresholds, weighted by the increase of the recall at each."""
    rows, positive = _ranked(targets, probabilities)
    count = float(positive.sum())
    precision = positive.cumsum(0) / rows.cumsum(0)
    return float(precision @ positive) / count if count else math.nan


def _mean_of_classes(
    score: "Callable[[Tensor, Tensor], float]", targets: "Tensor", probabilities: Probabilities
) -> float:
    y, p = _by_class(targets, probabilities)
    return sum(score(y[:, place], p[:, place]) for place in range(y.shape[1])) / y.shape[1]


@choice("metric")
class LogLoss(MetricConfig):
    """Mean of -log p for the probability p of the true class; multilabel: also the mean over the labels."""

    name: Literal["log_loss"]
    tasks = LABELS
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's log_loss."""
        import torch

        y, p = _by_class(targets, probabilities)
        p = p.double()
        if targets.dim() == 1 and p.shape[1] > 1:
            p, y = p / p.sum(1, keepdim=True), targets[:, None]
            true = p.gather(1, y)
        else:
            true = torch.where(y == 1, p, 1 - p)
        smallest = torch.finfo(torch.float64).eps  # as in scikit-learn, for probabilities that are 0
        return float(-true.clamp_min(smallest).log().mean())


@choice("metric")
class Brier(MetricConfig):
    """Mean squared error of the probabilities; of several classes, summed over them."""

    name: Literal["brier"]
    tasks = LABELS
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's brier_score_loss."""
        y, p = _by_class(targets, probabilities)
        errors = (p.double() - y).square()
        return float(errors.mean() if targets.dim() == 2 else errors.sum(1).mean())


@choice("metric")
class Ece(MetricConfig):
    """Expected calibration error: how far the certainty of the predicted classes is from their accuracy.

    The rows are put into 15 bins of equal width by the probability of their likeliest class. The error is the
    mean of |accuracy - mean probability| over the bins, weighted by their rows (Guo et al. 2017).
    """

    name: Literal["ece"]
    tasks = LABELS
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; of labels, each label of a row counts as a row of two classes."""
        assert probabilities is not None
        certainty, right = certainty_of(probabilities, targets)
        bins = (certainty * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
        gaps = bins.bincount(right.double() - certainty, minlength=ECE_BINS)
        return float(gaps.abs().sum() / len(certainty))


def certainty_of(probabilities: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
    """Return (rows,) the probability of the likeliest class, float64, and whether it is the true one.

    Args:
        probabilities: (rows, classes), or (rows, labels), of which each label counts as a row.
        targets: (rows,) classes, or (rows, labels) zeros and ones.
    """
    p = probabilities.double()
    if targets.dim() == 2:
        return p.maximum(1 - p).flatten(), ((p > 0.5) == (targets > 0.5)).flatten()
    likeliest = p.max(1)
    return likeliest.values, likeliest.indices == targets


@choice("metric")
class Mape(MetricConfig):
    """Mean of |error / target|; not in percent."""

    name: Literal["mape"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's mean_absolute_percentage_error."""
        import torch

        y = targets.double()
        smallest = torch.finfo(torch.float64).eps  # as in scikit-learn, for targets that are 0
        return float(((y - predictions).abs() / y.abs().clamp_min(smallest)).mean())


@choice("metric")
class MedianAbsoluteError(MetricConfig):
    """Median of the absolute errors, in the targets' unit; of several targets, the mean over them."""

    name: Literal["median_absolute_error"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's median_absolute_error."""
        return float((targets.double() - predictions).abs().quantile(0.5, dim=0).mean())


@choice("metric")
class Pinball(MetricConfig):
    """Pinball loss of a quantile, in the targets' unit: pinball_10 is that of the 10 % quantile."""

    name: Literal["pinball_5", "pinball_10", "pinball_25", "pinball_75", "pinball_90", "pinball_95"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's mean_pinball_loss."""
        import torch

        alpha = int(self.name.removeprefix("pinball_")) / 100
        errors = targets.double() - predictions
        return float(torch.maximum(alpha * errors, (alpha - 1) * errors).mean())
