"""Checks of a config together with its data and its network, before a run begins."""

import torch
from torch import Tensor, nn

from mlpkit.config.config import Config
from mlpkit.config.loss import LossConfig
from mlpkit.config.plugins import calling, described, is_own
from mlpkit.config.problems import plural
from mlpkit.config.registry import choices
from mlpkit.data.dataset import Dataset
from mlpkit.data.member_folds import ALL_ROWS
from mlpkit.engines.activations import activation_of
from mlpkit.engines.batches import Steps
from mlpkit.engines.experiment import Experiment
from mlpkit.engines.own_choices import check_derivative, check_gradient
from mlpkit.errors import ConfigError
from mlpkit.models.torch_inputs import lr_factors
from mlpkit.models.torch_members import MemberInputs
from mlpkit.models.torch_network import Network
from mlpkit.tasks import Task, task_of


def check_members(config: Config, dataset: Dataset) -> None:
    """Check that each member has a fold, and refuse what shows or follows the weights of a single network.

    Raises:
        ConfigError: there are more or fewer folds than members, the best epochs of members cannot be told, or
            what is for one network is asked for.
    """
    folds, model = len(dataset.splits["val"].folds) if "val" in dataset.splits else 0, config.model
    if folds and model.networks < model.members:
        raise ConfigError(
            f"dataset.val_folds={folds}: no row would be held out, since the members of model={model.name} "
            "share weights; set dataset.val_folds=null"
        )
    if folds and folds != config.model.members:
        raise ConfigError(
            f"dataset.val_folds={folds}: must be as many as model.members={config.model.members}, since each "
            "member is validated on a fold of its own"
        )
    if config.trainer.best_epoch == "own":
        if not folds:
            raise ConfigError(
                "trainer.best_epoch=own: each member needs a fold of its own; set model.members=8 and "
                "dataset.val_folds=8, or trainer.best_epoch=common"
            )
        if (monitor := task_of(config, dataset.input_schema.task).monitor) != "loss":
            raise ConfigError(
                f"trainer.best_epoch=own: goes by the loss, not by {monitor}; set trainer.monitor=loss, or "
                "trainer.best_epoch=common"
            )
    if config.model.members == 1:
        return
    for key in ("film", "histograms"):
        if (every := getattr(config.run, key)) is not None:
            raise ConfigError(
                f"run.{key}={every}: is for one network, and the model has {config.model.members} "
                "(model.members); leave it out"
            )


def check_metrics(experiment: Experiment) -> None:
    """Check that metrics of probabilities are defined for all splits: test is scored only after training.

    Raises:
        ConfigError: one is not, such as roc_auc where a split lacks a class.
    """
    task, metrics, dataset = experiment.task, experiment.metrics, experiment.dataset
    if not metrics or task.probabilities is None:
        return
    draws = torch.Generator().manual_seed(0)
    for name, split in dataset.splits.items():
        if name == "val" and ALL_ROWS in dataset.splits:
            continue  # a member's fold, which is scored together with those of the others
        outputs = torch.randn(len(split), dataset.input_schema.width, generator=draws)
        task.compute(metrics, outputs, task.truth(task.encode(split.targets, outputs.dtype)), split=name)


def check_averages(config: Config, network: Network) -> None:
    """Check that averages of the weights have a meaning for all layers.

    Raises:
        ConfigError: there is a batch norm, and the mean of some epochs' weights has other statistics.
    """
    if config.trainer.swa is not None and any(isinstance(each, nn.BatchNorm1d) for each in network.modules()):
        raise ConfigError(
            f"trainer.swa={config.trainer.swa}: averaged weights have other means and variances than a batch "
            "norm has kept; set model.norm=layer, or take trainer.ema"
        )


def check_views(network: Network) -> None:
    """Check that views of an image can become weights of the first layer, for exported files.

    Raises:
        ConfigError: they cannot.
    """
    first = next((layer for layer in network.layers if not isinstance(layer, MemberInputs)), None)
    if network.views is not None and not isinstance(first, nn.Linear):
        raise ConfigError(
            f"dataset.test_time_augment: the first layer must be linear, not {type(first).__name__}; "
            "leave it out, or set model=mlp model.input_scale=false"
        )


def check_line_search(config: Config, network: Network, device: str, networks: int, augments: bool) -> None:
    """Check that an optimizer with a line search can train a run.

    Args:
        config: the run's config.
        network: its network.
        device: cpu or cuda:N.
        networks: the number of networks that are trained together.
        augments: whether training rows are changed at random.

    Raises:
        ConfigError: the loss would not be a function of the weights alone, or something is not supported.
    """
    trainer, name = config.trainer, config.optimizer.name
    if not config.optimizer.has_line_search:
        return
    clipped = next((key for key in ("clip_norm", "clip_value") if getattr(trainer, key) is not None), "")
    reasons = {
        f"trainer.batch_size={trainer.batch_size}: its line search compares losses of the same rows; set "
        "trainer.batch_size=full": trainer.batch_size != "full",
        f"trainer.{clipped}: its line search needs the gradient as it is; leave trainer.{clipped} out": bool(
            clipped
        ),
        "dataset.augment: its line search compares losses of the same rows; leave dataset.augment out": (
            augments
        ),
        "model.input_scale_lr: it takes steps of one length; set model.input_scale_lr=1": bool(
            lr_factors([network])
        ),
        f"model.members={config.model.members}: it trains one network; set model.members=1": (
            config.model.members > 1
        ),
        f"it trains one network, and {networks} are trained together; train them one by one": networks > 1,
        f"trainer.processes={trainer.processes}: it is for one process; set trainer.processes=1": (
            trainer.processes > 1
        ),
        f"device={device}: it is for a CPU; set device=cpu": device != "cpu",
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), None):
        raise ConfigError(f"optimizer={name}: {reason}")


def check_loss(loss: LossConfig, task: Task, dataset: Dataset) -> None:
    """Try a loss on a row or two, and compare the gradient of a plug-in's with autograd's.

    Raises:
        ConfigError: it fails, its results have another shape than is needed, or the gradient is wrong.
    """
    targets = task.encode(dataset.splits["train"].targets[:2], torch.float32)
    rows, width = len(targets), loss.width(dataset.input_schema.width)
    outputs = torch.zeros(rows, width)
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]] = {}
    has_gradient = type(loss).gradient is not LossConfig.gradient
    with calling(described("loss", loss), loss):
        shapes["per_example"] = loss.per_example(outputs, targets), (rows,)
        if has_gradient:
            y = loss.expected(targets, width, torch.float32)
            shapes["gradient"] = loss.gradient(outputs, y), (rows, width)
    for method, (found, shape) in shapes.items():
        if found.shape != shape:
            raise ConfigError(
                f"loss={loss.name}: {method} returns {tuple(found.shape)} for outputs {(rows, width)}, "
                f"not {shape}"
            )
    if has_gradient and is_own(type(loss)):
        check_gradient(loss, targets, width)


def check_activations(network: Network) -> None:
    """Compare the derivatives of a plug-in's activations with autograd's.

    Raises:
        ConfigError: see `check_derivative`.
    """
    own = [schema for schema in choices("activation").values() if is_own(schema)]
    if not own:  # which saves looking at the layers
        return
    for activation in {type(each): each for each in map(activation_of, network.layers) if each}.values():
        if type(activation) in own:
            check_derivative(activation)


def check_steps(config: Config, rows: int) -> None:
    """Check the schedule's length, and that batch norm never gets a batch of one row.

    Raises:
        ConfigError: the warm-up is too long, a schedule cannot go by the time, or the last batch would have
            one row.
    """
    trainer, warmup, scheduler = config.trainer, config.scheduler.warmup_steps, config.scheduler
    if scheduler.is_over_time() and not scheduler.spans_the_run():
        raise ConfigError(
            f"scheduler.over=time: scheduler={scheduler.name} has a length of its own; leave it out, or set "
            "scheduler.over=steps"
        )
    if scheduler.is_over_time() and trainer.time_limit is None:
        raise ConfigError("scheduler.over=time: needs trainer.time_limit, the seconds of the whole run")
    steps = trainer.epochs * Steps.of(trainer, rows).per_epoch
    if warmup >= steps > 0:
        raise ConfigError(
            f"scheduler.warmup_steps={warmup}: the run has {plural(steps, 'step')}; choose fewer"
        )
    size = trainer.batch_size
    problem = config.model.problem_with_one_row()
    if problem and (rows == 1 if size == "full" else Steps.of(trainer, rows).used % size == 1 or size == 1):
        raise ConfigError(
            f"trainer.batch_size={size}: {rows} training rows leave a batch of one row, and {problem}"
        )
