"""The objects that are built from a config."""

from dataclasses import dataclass

from mlpkit.config.config import Config
from mlpkit.config.loss import LossConfig
from mlpkit.config.metric import MetricConfig
from mlpkit.data.dataset import Dataset
from mlpkit.models.torch_network import Network, count_parameters
from mlpkit.tasks import Task


@dataclass(frozen=True, eq=False)
class Experiment:
    """The objects of one run; its engine holds the rest.

    Attributes:
        config: the run's config.
        dataset: all splits, in memory.
        task: the dataset's task.
        loss: the loss to minimise.
        network: the initialised model, on the device.
        metrics: the metrics of `run.metrics`.
        class_weights: the weight of each class in the loss, by label; () if all count the same.
        members: the networks of a run with several, of which `network` is the first; () if there is one.
    """

    config: Config
    dataset: Dataset
    task: Task
    loss: LossConfig
    network: Network
    metrics: tuple[MetricConfig, ...] = ()
    class_weights: tuple[float, ...] = ()
    members: tuple[Network, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks of the run, each with one output a row: its members, or the only one."""
        return self.members or tuple(self.network.alone())

    @property
    def parameters(self) -> int:
        """The number of trained values, of all members together."""
        return sum(map(count_parameters, self.members or (self.network,)))
