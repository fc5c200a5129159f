"""The base class of metrics: additional scores, computed from all predictions of a split."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config.registry import choices
from mlpkit.config.task_fit import ForTasks
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

RESERVED = (
    *("loss", "accuracy", "exact_match", "f1_micro", "r2", "mae", "rmse"),
    *("epoch", "step", "split", "lr", "grad_norm", "seconds"),
)


class MetricConfig(ForTasks):
    """The base class of metrics. A metric has a name, `tasks`, `higher_is_better` and `score`.

    Attributes:
        higher_is_better: whether `mlpkit compare --metric` ranks higher values first.
    """

    to_define: ClassVar[tuple[str, ...]] = ("score", "higher_is_better")
    higher_is_better: ClassVar[bool] = True

    def score(self, predictions: "Tensor", probabilities: "Tensor | None", targets: "Tensor") -> float:
        """Return the score of a split, a finite number; called once per epoch and split.

        Args:
            predictions: labels (rows,); zeros and ones (rows, targets) for multilabel; or values (rows,
                targets) in the targets' units for regression.
            probabilities: (rows, classes); (rows, targets) for multilabel; None for regression.
            targets: the true values, shaped like `predictions`.
        """
        raise NotImplementedError(f"run.metrics={self.name} has no score")


def metrics_for(names: Sequence[str], task: str, dataset: str) -> tuple[MetricConfig, ...]:
    """Return the metrics of `run.metrics`.

    Args:
        names: the value of `run.metrics`.
        task: the dataset's task.
        dataset: the dataset's name.

    Raises:
        ConfigError: a metric does not support the task, or mlpkit logs another value under its name.
    """
    metrics = []
    for name in names:
        metric = choices("metric")[name].model_validate({"name": name})
        assert isinstance(metric, MetricConfig)
        if name in RESERVED:
            raise ConfigError(f"run.metrics={name}: mlpkit logs something of this name; rename the metric")
        if task not in metric.tasks:
            tasks = " or ".join(metric.tasks)
            raise ConfigError(
                f"run.metrics={name}: it is for {tasks}, dataset={dataset} is {task}; leave it out"
            )
        metrics.append(metric)
    return tuple(metrics)
