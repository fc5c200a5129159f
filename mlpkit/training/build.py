"""Validated configs in, the objects that they stand for out."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from mlpkit.config.config import Config
from mlpkit.data.augment import Augmentation, augmentation_of
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.batches import steps_per_epoch
from mlpkit.engines.choose import choose_engine
from mlpkit.engines.compiled import CompiledEngine, is_compiled, obstacle_to_compiling
from mlpkit.engines.compiler import CompileError
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.matmul import EXACT, ROUNDED, Matmul
from mlpkit.engines.matmul_choice import choose_matmul
from mlpkit.errors import ConfigError
from mlpkit.models.torch_network import Network, build_model, count_parameters
from mlpkit.runs.choices import Choices
from mlpkit.runs.trust import Trust
from mlpkit.system.device import choose_device, set_determinism, set_threads
from mlpkit.tasks import TASKS

ANEW = Choices()


def build(
    configs: Sequence[Config],
    trust: Trust = Trust.OWN,
    before: Choices = ANEW,
    datasets: Sequence[Dataset] | None = None,
) -> Engine:
    """Return the engine that trains what configs stand for; nothing is written.

    Args:
        configs: of one run, or of several that have equal shapes; see `mlpkit.sweep.groups`.
        trust: says whether missing data is fetched, and whether measurements of this machine are kept.
        before: what the runs have been trained with so far.
        datasets: of each run, where they are loaded already; the same object where runs share it.

    Raises:
        ConfigError: the parts do not go together, or the device is not there.
        DataError: the data is missing or cannot be used.
    """
    first = configs[0]
    device = choose_device(first.device)
    set_determinism(first.trainer.deterministic)
    datasets = datasets or [load_dataset(config.dataset, trust.may_download) for config in configs]
    experiments = []
    for config, dataset in zip(configs, datasets, strict=True):
        task = TASKS[dataset.input_schema.task]
        check_steps(config, len(dataset.splits["train"]))
        experiments.append(Experiment(config, dataset, task, build_model(config, dataset, device)))
    # The largest, into whose shape the others are padded.
    network = max((experiment.network for experiment in experiments), key=count_parameters)
    dataset = datasets[0]
    matmul = compute_with(first, dataset, network, device, trust, before, len(configs))
    kind, engine_class, reason = choose_engine(first.trainer.engine, network, device, before.engine)
    if matmul.level == ROUNDED and kind is AutogradGradients:
        raise ConfigError(
            f"trainer.matmul=bfloat16: the autograd engine ({reason}) does not round; set trainer.matmul=auto"
        )
    if len(configs) > 1:
        reason += f"; one of {len(configs)} runs that are trained together"
    augmentation = augmentation_in(first, dataset)
    arguments = (experiments, device, kind, augmentation, matmul)
    obstacle = obstacle_to_compiling(configs, network, device, augmentation is not None)
    if is_compiled(configs, dataset, obstacle, before.compiled):
        try:
            return CompiledEngine(*arguments, f"{reason}; compiled")
        except CompileError as error:
            if first.trainer.compile is True:
                raise ConfigError(f"trainer.compile=true: {error}; or set trainer.compile=false") from None
            reason += f"; not compiled: {error}"
    return engine_class(*arguments, reason)


def choices_made(engine: Engine) -> Choices:
    """Return how an engine's steps are computed."""
    is_compiled = isinstance(engine, CompiledEngine)
    return Choices(engine.name, torch.get_num_threads(), engine.matmul.level, is_compiled)


def compute_with(
    config: Config,
    dataset: Dataset,
    network: Network,
    device: str,
    trust: Trust = Trust.OWN,
    before: Choices = ANEW,
    runs: int = 1,
) -> Matmul:
    """Set the threads that take the steps, and return how products are computed.

    Args:
        config: of the run, or of one of several.
        dataset: its data.
        network: its model; the largest of several.
        device: cpu or cuda:N.
        trust: see `build`.
        before: likewise.
        runs: how many are trained by the same steps.
    """
    trainer, rows = config.trainer, len(dataset.splits["train"])
    batch = rows if trainer.batch_size == "full" else min(rows, trainer.batch_size)
    threads = before.threads if before.threads and trainer.threads == "auto" else trainer.threads
    shapes = [(layer.in_features, layer.out_features) for layer in linear_layers(network)]
    shapes = shapes or [(len(dataset.input_schema.features), dataset.input_schema.width)]
    set_threads(threads, batch * runs, count_parameters(network), max(width for _, width in shapes))
    if trainer.matmul == "auto" and trainer.precision == "float64":
        return EXACT  # float64 products have one level only
    shape, keep = (batch, *max(shapes, key=math.prod)), trust.may_keep_measurements
    return choose_matmul(trainer.matmul, shape, device, keep, before.matmul)


def augmentation_in(config: Config, dataset: Dataset) -> Augmentation | None:
    """Return how training images are changed at random, or None."""
    options = config.dataset.augmentation()
    if options is None or not dataset.input_schema.is_image:
        return None
    return augmentation_of(options, dataset.input_schema.input_shape)


def linear_layers(network: Network) -> list[nn.Linear]:
    """Return the layers that have weights."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def check_steps(config: Config, rows: int) -> None:
    """Refuse a warm-up longer than the run, and a last batch of one row where batch norm needs two.

    Raises:
        ConfigError: it is so.
    """
    trainer, warmup = config.trainer, config.scheduler.warmup_steps
    steps = trainer.epochs * steps_per_epoch(rows, trainer.batch_size, trainer.accumulate)
    if warmup >= steps:
        raise ConfigError(f"scheduler.warmup_steps={warmup}: the run has {steps} steps; choose fewer")
    size = trainer.batch_size
    problem = config.model.problem_with_one_row()
    if problem and (rows == 1 if size == "full" else rows % size == 1 or size == 1):
        raise ConfigError(
            f"trainer.batch_size={size}: {rows} training rows leave a batch of one row, and {problem}"
        )
