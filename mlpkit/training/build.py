"""Builds the engine that trains validated configs."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from mlpkit.config.config import Config
from mlpkit.config.logger import loggers_of
from mlpkit.config.loss import loss_for
from mlpkit.config.metric import metrics_for
from mlpkit.config.run import MEASURED
from mlpkit.data.augment import Augmentation, augmentation_of
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import load_dataset
from mlpkit.data.member_folds import of_member
from mlpkit.data.randomness import derived_seed
from mlpkit.data.weights import class_weights
from mlpkit.engines.autograd import AutogradGradients
from mlpkit.engines.choose import choose_engine
from mlpkit.engines.compiled import CompiledEngine, is_compiled, obstacle_to_compiling
from mlpkit.engines.compiler import CompileError
from mlpkit.engines.engine import Engine
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.matmul import EXACT, ROUNDED, Matmul
from mlpkit.engines.matmul_choice import choose_matmul
from mlpkit.engines.members import MembersEngine
from mlpkit.engines.processes import Processes
from mlpkit.engines.shared import SharedEngine, check_sharing
from mlpkit.engines.streamed import StreamedEngine, check_streaming
from mlpkit.errors import ConfigError
from mlpkit.folders.choices import Choices
from mlpkit.folders.trust import Trust
from mlpkit.models.torch_network import Network, build_model, count_parameters
from mlpkit.system.device import choose_device, set_determinism, set_threads
from mlpkit.tasks import task_of
from mlpkit.training.checks import (
    check_activations,
    check_averages,
    check_line_search,
    check_loss,
    check_members,
    check_metrics,
    check_steps,
    check_views,
)

UNSET = Choices()


def build(
    configs: Sequence[Config],
    trust: Trust = Trust.OWN,
    before: Choices = UNSET,
    datasets: Sequence[Dataset] | None = None,
    processes: Processes | None = None,
) -> Engine:
    """Return the engine that trains one or several runs. Writes nothing to the run folders.

    Args:
        configs: one run's config, or those of several runs with equal shapes; see `mlpkit.sweeps.groups`.
        trust: decides whether missing data is downloaded and whether timings of this machine are cached.
        before: the choices that resumed runs were trained with.
        datasets: each run's dataset, if they are loaded already; runs that share one share the object.
        processes: those that train the run together; None: this one alone, whatever the config says.

    Raises:
        ConfigError: the settings do not fit together, or the device or a logger is not available.
        DataError: the data is missing or unusable.
    """
    members = configs[0].model.networks
    datasets = datasets or [load_dataset(config.dataset, trust.may_download) for config in configs]
    for config, dataset in zip(configs, datasets, strict=True):
        check_members(config, dataset)
    if members == 1:
        return _build(configs, trust, before, datasets, processes)
    each = [
        config.model_copy(update={"seed": seed_of_member(config.seed, number)})
        for config in configs
        for number in range(members)
    ]
    known: dict[int, list[Dataset]] = {
        id(dataset): datasets_of_members(dataset, members) for dataset in datasets
    }
    of_each = [own for dataset in datasets for own in known[id(dataset)]]
    return MembersEngine(_build(each, trust, before, of_each, processes), members, datasets)


def datasets_of_members(dataset: Dataset, members: int) -> list[Dataset]:
    """Return each member's dataset: the run's, or that of its own fold; see `mlpkit.data.member_folds`."""
    if "val" in dataset.splits and dataset.splits["val"].folds:
        return [of_member(dataset, number) for number in range(members)]
    return [dataset] * members


def seed_of_member(seed: int, number: int) -> int:
    """Return the seed of a member of a run: the first has the run's, so that it is that of a run without."""
    return derived_seed(seed, "member", number) if number else seed


def _build(
    configs: Sequence[Config],
    trust: Trust,
    before: Choices,
    datasets: Sequence[Dataset],
    processes: Processes | None,
) -> Engine:
    """Return the engine of networks, each with its config and its dataset; see `build`."""
    first, members = configs[0], configs[0].model.networks
    loggers_of(first.run.loggers)
    device = choose_device(first.device) if processes is None else processes.choose_device(first.device)
    set_determinism(first.trainer.deterministic)
    experiments = []
    for config, dataset in zip(configs, datasets, strict=True):
        check_steps(config, len(dataset.splits["train"]))
        experiments.append(experiment_of(config, dataset, build_model(config, dataset, device)))
    for experiment in {id(of.dataset): of for of in experiments}.values():
        check_metrics(experiment)
    # The smaller networks are padded to the shape of the largest.
    network = max((experiment.network for experiment in experiments), key=count_parameters)
    dataset, loss = datasets[0], experiments[0].loss
    matmul = configure_compute(first, dataset, network, device, trust, before, len(configs), processes)
    check_loss(loss, experiments[0].task, dataset)  # all runs have the same
    augmentation = augmentation_in(first, dataset)
    if augmentation is not None and augmentation.options.mixup and not loss.mixes_targets:
        raise ConfigError(
            f"dataset.augment.mixup={augmentation.options.mixup:g}: the targets of loss={loss.name} cannot "
            "be mixed; set dataset.augment.mixup=0, or choose the loss of the task (loss=auto)"
        )
    check_activations(network)
    check_averages(first, network)
    check_views(network)
    check_line_search(first, network, device, len(configs), augmentation is not None)
    kind, engine_class, reason = choose_engine(first.trainer.engine, network, loss, device, before.engine)
    if matmul.level == ROUNDED and kind is AutogradGradients and first.trainer.matmul != ROUNDED:
        matmul = Matmul(reason="the autograd engine does not round")
    if matmul.level == ROUNDED and kind is AutogradGradients:
        raise ConfigError(
            f"trainer.matmul=bfloat16: the autograd engine ({reason}) does not round; set trainer.matmul=auto"
        )
    if len(configs) > members:
        reason += f"; one of {len(configs) // members} runs that are trained together"
    arguments = (experiments, device, kind, augmentation, matmul)
    if dataset.disk is not None:
        check_streaming(first, device, len(configs))
        return StreamedEngine(*arguments, f"{reason}; the table is read from the disk")
    if processes is not None:
        check_sharing(first, network, augmentation)
        reason += f"; shared by {processes.size} processes"
        return SharedEngine(*arguments, reason, processes=processes)
    obstacle = obstacle_to_compiling(configs, network, loss, device, augmentation is not None)
    if is_compiled(configs, dataset, obstacle, before.compiled):
        try:
            return CompiledEngine(*arguments, f"{reason}; compiled")
        except CompileError as error:
            if first.trainer.compile is True:
                raise ConfigError(f"trainer.compile=true: {error}; or set trainer.compile=false") from None
            reason += f"; not compiled: {error}"
    return engine_class(*arguments, reason)


def experiment_of(config: Config, dataset: Dataset, network: Network) -> Experiment:
    """Return a run's objects; its config has what was found out in reading the data.

    Raises:
        ConfigError: the loss, a metric, the monitored score or the class weights are not for the dataset.
        DataError: the loss is not defined for a target.
    """
    task = task_of(config, dataset.input_schema.task, dataset.monitored)
    loss = loss_for(config.loss, task.name, dataset.name)
    for name, split in dataset.splits.items():
        targets = split.targets if dataset.disk is None else dataset.disk.extremes(name)
        loss.check_targets(targets, f"dataset={dataset.name}")
    metrics, weights = metrics_for(config, task.name), class_weights(config.trainer.class_weight, dataset)
    model = config.model.for_task(task.name)
    if dataset.inferred or model is not config.model:
        data = config.dataset.model_copy(update=dict(dataset.inferred))
        config = config.model_copy(update={"dataset": data, "model": model})
    return Experiment(config, dataset, task, loss, network, metrics, weights)


def choices_made(engine: Engine) -> Choices:
    """Return the choices with which an engine computes its steps."""
    is_compiled, processes = isinstance(engine, CompiledEngine), engine.processes
    size = 1 if processes is None else processes.size
    return Choices(engine.name, torch.get_num_threads(), engine.matmul.level, is_compiled, size)


def configure_compute(
    config: Config,
    dataset: Dataset,
    network: Network,
    device: str,
    trust: Trust = Trust.OWN,
    before: Choices = UNSET,
    runs: int = 1,
    processes: Processes | None = None,
) -> Matmul:
    """Set the number of CPU threads, and return how matrix products are computed.

    Args:
        config: the config of the run, or of one of several.
        dataset: its dataset.
        network: its model, or the largest of several.
        device: cpu or cuda:N.
        trust: see `build`.
        before: see `build`.
        runs: number of runs that are trained together.
        processes: those that train the run together, or None.
    """
    trainer, rows = config.trainer, len(dataset.splits["train"])
    batch = rows if trainer.batch_size == "full" else min(rows, trainer.batch_size)
    threads = before.threads if before.threads and trainer.threads == "auto" else trainer.threads
    shapes = [(layer.in_features, layer.out_features) for layer in linear_layers(network)]
    shapes = shapes or [(len(dataset.input_schema.features), dataset.input_schema.width)]
    sharing = 1 if processes is None else processes.local_size
    width = max(width for _, width in shapes)
    set_threads(threads, batch * runs, count_parameters(network), width, sharing)
    if trainer.matmul in MEASURED and trainer.precision == "float64":
        return EXACT  # float64 products have one level only
    shape, keep = (batch, *max(shapes, key=math.prod)), trust.may_keep_measurements
    return choose_matmul(trainer.matmul, shape, device, keep, before.matmul)


def augmentation_in(config: Config, dataset: Dataset) -> Augmentation | None:
    """Return the random augmentation of training images, or None."""
    options = config.dataset.augmentation()
    if options is None or not dataset.input_schema.is_image:
        return None
    return augmentation_of(options, dataset.input_schema.input_shape)


def linear_layers(network: Network) -> list[nn.Linear]:
    """Return the network's linear layers."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
