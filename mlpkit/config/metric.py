"""The base class of metrics: additional scores, computed from all predictions of a split."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mlpkit.config.registry import choices
from mlpkit.config.task_fit import ForTasks
from mlpkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from mlpkit.config.config import Config

RESERVED = (
    *("loss", "accuracy", "exact_match", "f1_micro", "r2", "mae", "rmse"),
    *("epoch", "step", "split", "lr", "grad_norm", "seconds"),
)
_LOWER_IS_BETTER = ("loss", "mae", "rmse")  # of the tasks' own scores


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


def higher_is_better(score: str) -> bool:
    """Return whether higher values of a score are better."""
    own = choices("metric").get(score)
    if own is not None and issubclass(own, MetricConfig):
        return own.higher_is_better
    return score not in _LOWER_IS_BETTER


def metric_names(config: "Config") -> tuple[str, ...]:
    """Return the names of the metrics to compute: those of `run.metrics`, and the monitored one."""
    monitored = config.trainer.monitor.rpartition(".")[2]
    more = (monitored,) if monitored in choices("metric") else ()
    return tuple(dict.fromkeys((*config.run.metrics, *more)))


def metrics_for(config: "Config", task: str) -> tuple[MetricConfig, ...]:
    """Return the metrics to compute; see `metric_names`.

    Args:
        config: the run's config.
        task: the dataset's task.

    Raises:
        ConfigError: a metric does not support the task, or mlpkit logs another value under its name.
    """
    metrics = []
    for name in metric_names(config):
        metric = _metric(name)
        if name in RESERVED or name.startswith("grad_norm_"):
            raise ConfigError(f"run.metrics={name}: mlpkit logs something of this name; rename the metric")
        if task not in metric.tasks:
            key, tasks = "run.metrics" if name in config.run.metrics else "trainer.monitor", metric.tasks
            raise ConfigError(
                f"{key}={name}: it is for {' or '.join(tasks)}, dataset={config.dataset.name} is {task}; "
                "leave it out"
            )
        metrics.append(metric)
    return tuple(metrics)


def with_metric(metrics: Sequence[MetricConfig], name: str) -> tuple[MetricConfig, ...]:
    """Return metrics, and one more if it is not among them."""
    return (*metrics, *([] if name in [metric.name for metric in metrics] else [_metric(name)]))


def _metric(name: str) -> MetricConfig:
    metric = choices("metric")[name].model_validate({"name": name})
    assert isinstance(metric, MetricConfig)
    return metric
