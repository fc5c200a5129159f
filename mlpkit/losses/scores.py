"""Metrics, computed by scikit-learn from all predictions of a split, as in `run.metrics=[roc_auc]`.

A metric that is not defined is NaN, as the area under the ROC curve is where all rows are of one class.
"""

import math
from typing import TYPE_CHECKING, Any, Literal, Optional

from mlpkit.config.metric import MetricConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor

# Optional: see `OptimizerConfig`.
Probabilities = Optional["Tensor"]
CLASSES = ("binary", "multiclass")
LABELS = (*CLASSES, "multilabel")


@choice("metric")
class BalancedAccuracy(MetricConfig):
    """Mean of the recall of each class; for a constant prediction 1 / number of classes."""

    name: Literal["balanced_accuracy"]
    tasks = CLASSES
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's balanced_accuracy_score."""
        from sklearn.metrics import recall_score

        present = targets.unique()  # type: ignore[no-untyped-call]
        return float(recall_score(targets, predictions, labels=present, average="macro", zero_division=0))


class _LabelScore(MetricConfig):
    """A score of predicted labels that scikit-learn names after the metric, such as precision_score."""

    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; of two classes it is the second's, else the mean of all (macro)."""
        from sklearn import metrics

        assert probabilities is not None
        average = "binary" if targets.dim() == 1 and probabilities.shape[1] == 2 else "macro"
        score = getattr(metrics, f"{self.name}_score")
        return float(score(targets, predictions, average=average, zero_division=0))


@choice("metric")
class Precision(_LabelScore):
    """Share of right labels among the predicted ones; of two classes, of the second."""

    name: Literal["precision"]


@choice("metric")
class Recall(_LabelScore):
    """Share of the true labels that are found; of two classes, of the second."""

    name: Literal["recall"]


@choice("metric")
class F1(_LabelScore):
    """Harmonic mean of precision and recall; of two classes, of the second."""

    name: Literal["f1"]


def _by_class(targets: "Tensor", probabilities: Probabilities) -> "tuple[Tensor, Tensor]":
    """Return one-hot targets and the probabilities, (rows, n) each; of two classes only the second's."""
    from torch.nn.functional import one_hot

    assert probabilities is not None
    if targets.dim() == 2:
        return targets, probabilities
    if probabilities.shape[1] == 2:
        return targets[:, None], probabilities[:, 1:]
    return one_hot(targets, probabilities.shape[1]), probabilities


@choice("metric")
class RocAuc(MetricConfig):
    """Area under the ROC curve; of several classes, the mean of each one against the rest."""

    name: Literal["roc_auc"]
    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's roc_auc_score, one against the rest, macro."""
        from sklearn.metrics import roc_auc_score

        y, p = _by_class(targets, probabilities)
        if not bool(((y == 0).any(0) & (y == 1).any(0)).all()):
            return math.nan
        return float(roc_auc_score(y, p))


@choice("metric")
class AveragePrecision(MetricConfig):
    """Area under the precision-recall curve; for a constant prediction the share of the positive class."""

    name: Literal["average_precision"]
    tasks = LABELS
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's average_precision_score, macro."""
        from sklearn.metrics import average_precision_score

        y, p = _by_class(targets, probabilities)
        return float(average_precision_score(y, p)) if bool((y == 1).any(0).all()) else math.nan


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
class Mape(MetricConfig):
    """Mean of |error / target|; not in percent."""

    name: Literal["mape"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's mean_absolute_percentage_error."""
        from sklearn.metrics import mean_absolute_percentage_error

        return float(mean_absolute_percentage_error(targets.double(), predictions.double()))


@choice("metric")
class MedianAbsoluteError(MetricConfig):
    """Median of the absolute errors, in the targets' unit; of several targets, the mean over them."""

    name: Literal["median_absolute_error"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's median_absolute_error."""
        from sklearn.metrics import median_absolute_error

        return float(median_absolute_error(targets.double(), predictions.double()))


@choice("metric")
class Pinball(MetricConfig):
    """Pinball loss of a quantile, in the targets' unit: pinball_10 is that of the 10 % quantile."""

    name: Literal["pinball_5", "pinball_10", "pinball_25", "pinball_75", "pinball_90", "pinball_95"]
    tasks = ("regression",)
    higher_is_better = False

    def score(self, predictions: "Tensor", probabilities: Probabilities, targets: "Tensor") -> float:
        """See `MetricConfig.score`; scikit-learn's mean_pinball_loss."""
        from sklearn.metrics import mean_pinball_loss

        alpha: Any = int(self.name.removeprefix("pinball_")) / 100
        return float(mean_pinball_loss(targets.double(), predictions.double(), alpha=alpha))
