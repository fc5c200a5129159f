"""What a metric is: one more score of a split, computed from all of its predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config.registry import choices
from mlpkit.config.task_fit import ForTasks
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

RESERVED = ("loss", "accuracy", "r2", "mae", "rmse", "epoch", "step", "split", "lr", "grad_norm", "seconds")


class MetricConfig(ForTasks):
    """A metric. A new one has a name, `tasks`, `higher_is_better` and `score`.

    Attributes:
        higher_is_better: how `mlpkit compare --metric` ranks it.
    """

    higher_is_better: ClassVar[bool] = True

    def score(self, predictions: "Tensor", probabilities: "Tensor | None", targets: "Tensor") -> float:
        """Return the score of a split, a finite number; called once for each epoch and split.

        Args:
            predictions: (rows,) labels, or (rows, targets) values of a regression in the targets' unit.
            probabilities: (rows, classes), or None for a regression.
            targets: what the predictions should be.
        """
        raise NotImplementedError(f"run.metrics={self.name} has no score")


def metrics_for(names: Sequence[str], task: str, dataset: str) -> tuple[MetricConfig, ...]:
    """Return the metrics that `run.metrics` names.

    Args:
        names: its value.
        task: of the dataset.
        dataset: its name.

    Raises:
        ConfigError: one is for other tasks, or has the name of something else that is logged.
    """
    found = []
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
        found.append(metric)
    return tuple(found)
