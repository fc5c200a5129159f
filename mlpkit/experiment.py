"""A validated config in, the objects that it stands for out."""

from dataclasses import dataclass

from mlpkit.config import Config
from mlpkit.data import load_dataset
from mlpkit.data.augment import augmentation_of
from mlpkit.data.dataset import Dataset
from mlpkit.device import choose_device, set_determinism
from mlpkit.engines import Engine
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.errors import ConfigError
from mlpkit.models import Network, build_model
from mlpkit.schema.dataset import ImageOptions
from mlpkit.tasks import TASKS, Task

ENGINES = {AutogradEngine.name: AutogradEngine}


@dataclass
class Experiment:
    """The objects that a config stands for.

    Attributes:
        config: what they were built from.
        dataset: all splits, in memory.
        task: what the dataset makes of it.
        network: the initialised model, on the device.
        engine: what takes the steps.
        device: cpu or cuda:N.
        device_line: the line that says what was chosen.
    """

    config: Config
    dataset: Dataset
    task: Task
    network: Network
    engine: Engine
    device: str
    device_line: str


def build(config: Config) -> Experiment:
    """Return the objects that a config stands for; nothing is written.

    Raises:
        ConfigError: the parts do not go together, or the device is not there.
        DataError: the data is missing or cannot be used.
    """
    device, device_line = choose_device(config.device)
    set_determinism(config.trainer.deterministic)
    dataset = load_dataset(config.dataset)
    task = TASKS[dataset.signature.task]
    _check_batches(config, len(dataset.splits["train"]))
    network = build_model(config, dataset, device)
    augmentation = None
    if isinstance(config.dataset, ImageOptions):
        augmentation = augmentation_of(config.dataset.augment, dataset.signature.input_shape)
    kind = ENGINES["autograd" if config.trainer.engine == "auto" else config.trainer.engine]
    engine = kind(network, task, dataset.splits, config, device, augmentation)
    return Experiment(config, dataset, task, network, engine, device, device_line)


def _check_batches(config: Config, rows: int) -> None:
    """Refuse a last batch of one row where batch norm needs two."""
    size = config.trainer.batch_size
    norm = getattr(config.model, "norm", "none")
    if norm == "batch" and (rows == 1 if size == "full" else rows % size == 1 or size == 1):
        raise ConfigError(
            f"trainer.batch_size={size}: {rows} training rows leave a batch of one row, and model.norm=batch "
            "needs two; change the batch size or set model.norm=layer"
        )
