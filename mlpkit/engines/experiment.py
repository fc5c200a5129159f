"""What a config stands for, as objects."""

from dataclasses import dataclass

from mlpkit.config.config import Config
from mlpkit.config.loss import LossConfig
from mlpkit.config.metric import MetricConfig
from mlpkit.data.dataset import Dataset
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task


@dataclass(frozen=True, eq=False)
class Experiment:
    """A run's objects; the engine that trains it holds the rest.

    Attributes:
        config: what they were built from.
        dataset: all splits, in memory.
        task: what the dataset makes of it.
        loss: what is trained to be small, for this task.
        network: the initialised model, on the device.
        metrics: what is computed besides the scores of the task.
    """

    config: Config
    dataset: Dataset
    task: Task
    loss: LossConfig
    network: Network
    metrics: tuple[MetricConfig, ...] = ()
