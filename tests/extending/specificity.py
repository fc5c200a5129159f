"""A metric that mlpkit does not have: specificity, the recall of the first of two classes."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.metric import MetricConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("metric")
class Specificity(MetricConfig):
    """Share of the rows of class 0 that are found; 0 where there are none."""

    name: Literal["specificity"]
    tasks = ("binary",)
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: "Tensor | None", targets: "Tensor") -> float:
        negative = targets == 0
        return float((predictions[negative] == 0).sum()) / max(1, int(negative.sum()))
