"""A validated config in, the objects that it stands for out."""

from dataclasses import dataclass

from mlpkit.batches import steps_per_epoch
from mlpkit.config import Config
from mlpkit.data import load_dataset
from mlpkit.data.augment import augmentation_of
from mlpkit.data.dataset import Dataset
from mlpkit.device import choose_device, set_determinism, set_threads
from mlpkit.engines import Engine
from mlpkit.engines.autograd import AutogradEngine
from mlpkit.errors import ConfigError
from mlpkit.models import Network, build_model, count_parameters
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
    """

    config: Config
    dataset: Dataset
    task: Task
    network: Network
    engine: Engine
    device: str


def build(config: Config, download: bool = True) -> Experiment:
    """Return the objects that a config stands for; nothing is written.

    Args:
        config: what to build.
        download: fetch missing data where the config allows it; False where a stranger may have written it.

    Raises:
        ConfigError: the parts do not go together, or the device is not there.
        DataError: the data is missing or cannot be used.
    """
    device = choose_device(config.device)
    set_determinism(config.trainer.deterministic)
    dataset = load_dataset(config.dataset, download)
    task = TASKS[dataset.signature.task]
    _check_steps(config, len(dataset.splits["train"]))
    network = build_model(config, dataset, device)
    set_threads(config.trainer.threads, count_parameters(network))
    augmentation = None
    if isinstance(config.dataset, ImageOptions):
        augmentation = augmentation_of(config.dataset.augment, dataset.signature.input_shape)
    kind = ENGINES["autograd" if config.trainer.engine == "auto" else config.trainer.engine]
    engine = kind(network, task, dataset.splits, config, device, augmentation)
    return Experiment(config, dataset, task, network, engine, device)


def _check_steps(config: Config, rows: int) -> None:
    """Refuse a warm-up longer than the run, and a last batch of one row where batch norm needs two."""
    trainer, warmup = config.trainer, config.scheduler.warmup_steps
    steps = trainer.epochs * steps_per_epoch(rows, trainer.batch_size, trainer.accumulate)
    if warmup >= steps:
        raise ConfigError(f"scheduler.warmup_steps={warmup}: the run has {steps} steps; choose fewer")
    size = trainer.batch_size
    norm = getattr(config.model, "norm", "none")
    if norm == "batch" and (rows == 1 if size == "full" else rows % size == 1 or size == 1):
        raise ConfigError(
            f"trainer.batch_size={size}: {rows} training rows leave a batch of one row, and model.norm=batch "
            "needs two; change the batch size or set model.norm=layer"
        )
