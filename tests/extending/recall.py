"""A metric that mlpkit does not have: recall, which accuracy hides where a class is rare."""

from typing import TYPE_CHECKING, Literal

from mlpkit.config.metric import MetricConfig
from mlpkit.config.registry import choice

if TYPE_CHECKING:
    from torch import Tensor


@choice("metric")
class Recall(MetricConfig):
    """Share of the rows of class 1 that are found; 0 where there are none."""

    name: Literal["recall"]
    tasks = ("binary",)
    higher_is_better = True

    def score(self, predictions: "Tensor", probabilities: "Tensor | None", targets: "Tensor") -> float:
        positive = targets == 1
        return float((predictions[positive] == 1).sum()) / max(1, int(positive.sum()))
