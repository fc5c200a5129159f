"""Takes a single training step, to explain it."""

import torch

from mlpkit.analysis.explain import Step
from mlpkit.analysis.explain_step import explain_step
from mlpkit.config.config import Config
from mlpkit.config.plugins import calling, described
from mlpkit.config.problems import plural
from mlpkit.data.dataset import Dataset
from mlpkit.errors import ConfigError
from mlpkit.folders.state import State
from mlpkit.folders.trust import Trust
from mlpkit.models.architecture import architecture
from mlpkit.training.build import build, datasets_of_members
from mlpkit.training.rates import LearningRates
from mlpkit.training.tracker import Tracker


def take_step(
    config: Config, dataset: Dataset, row: int | None, trust: Trust, state: State | None = None
) -> Step:
    """Return the numbers of the step that training takes next; nothing is written.

    It is computed as in a run of its own: on the CPU, by hand where that is possible, and not compiled. Of a
    model with several members it is the step of the first.

    Args:
        config: the run's config.
        dataset: its dataset.
        row: the row of the split train to take it on, counted from 1; None for training's next batch.
        trust: whether the config is the user's own or foreign.
        state: where the run is; None for the first weights.

    Raises:
        ConfigError: there is no such row, or one row is too few.
        NonFiniteError: the loss or a gradient is not finite.
    """
    rows = len(dataset.splits["train"])
    if dataset.disk is not None:
        raise ConfigError(
            f"dataset.memory={dataset.disk.memory}: a step on a table that is larger is not shown; set it "
            "higher"
        )
    if row is not None:
        _check_row(row, rows, config)
    elif config.trainer.accumulate > 1 and config.model.problem_with_one_row():
        raise ConfigError(
            f"trainer.accumulate={config.trainer.accumulate}: batch norm takes each batch of a step alone, "
            "which is not shown; set trainer.accumulate=1"
        )
    augment = config.dataset.augmentation()
    if augment is not None and augment.mixup:
        raise ConfigError(
            f"dataset.augment.mixup={augment.mixup:g}: mixed rows are not shown; set dataset.augment.mixup=0"
        )
    if config.optimizer.has_line_search:
        raise ConfigError(
            f"optimizer={config.optimizer.name}: a step computes the loss several times, which is not "
            "shown; set optimizer=sgd"
        )
    kinds = [layer.kind for layer in architecture(config, dataset.input_schema)]
    if "MemberInputs" in kinds:
        raise ConfigError(
            f"model={config.model.name}: a step of members that share weights is not shown; set model=mlp"
        )
    # The terms of their gradients are not shown, so autograd's are.
    not_shown = next((kind for kind in ("BatchNorm1d", "PReLU") if kind in kinds), None)
    simple = {"compile": False, "engine": "autograd" if not_shown else "auto", "matmul": "highest"}
    quiet = config.run.model_copy(update={"loggers": ()})
    if state is not None and config.model.networks > 1:
        state = state.of_member(0)
    dataset = datasets_of_members(dataset, config.model.networks)[0]
    config = config.without_members()
    changes = {"device": "cpu", "trainer": config.trainer.model_copy(update=simple), "run": quiet}
    engine = build([config.model_copy(update=changes)], trust, datasets=[dataset])
    engine.reason = f"for the {not_shown} layers" if not_shown else engine.reason
    tracker, epoch, batch, step = Tracker(engine.task, [config]), 0, 0, 0
    seconds = 0.0
    if state is not None:
        engine.load_state(0, {"model": state.model, "optimizer": state.optimizer})
        tracker.restore(0, state.progress)
        epoch, batch, step = state.progress.epoch, state.progress.batch, state.progress.step
        seconds = state.progress.seconds
    if batch == engine.steps.per_epoch:  # stopped before the epoch's evaluation
        epoch, batch = epoch + 1, 0
    lrs = LearningRates(engine, tracker).at(step, seconds)
    places = next(engine.rows_of_steps(epoch, batch)) if row is None else torch.tensor([row - 1])
    with calling(described("model", config.model), config.model):
        return explain_step(engine, places, lrs, epoch, step)


def _check_row(row: int, rows: int, config: Config) -> None:
    """Check that a step can be taken on a row.

    Raises:
        ConfigError: there is no such row, or the model needs more than one.
    """
    if row > rows:
        raise ConfigError(
            f"--row={row}: the split train has {plural(rows, 'row')}; choose one of 1 to {rows}"
        )
    if problem := config.model.problem_with_one_row():
        raise ConfigError(f"--row={row}: {problem}, or explain a batch with --batch")
