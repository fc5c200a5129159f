"""Groups the jobs of a sweep: each group is trained together by one engine."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice, pairwise
from typing import Any

from mlpkit.config.config import Config, to_dict
from mlpkit.config.loss import LossConfig, loss_for
from mlpkit.config.metric import metric_names
from mlpkit.config.model import Layer
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import table_of
from mlpkit.engines.batches import Steps
from mlpkit.errors import MlpkitError
from mlpkit.models.architecture import architecture, count
from mlpkit.sweeps.datasets import Datasets
from mlpkit.system.device import choose_device, threads_with_work
from mlpkit.system.platform import raise_file_limit

# trainer keys that may differ within a group
MAY_DIFFER = ("clip_norm", "clip_value", "early_stopping", "time_limit")
CACHE_NUMBERS = 4_500_000  # weights, activations and optimizer state that fit into the CPU caches (measured)
MAX_RUNS = 256  # in a group
MAX_BYTES = 1 << 30  # of data and outputs of all runs in a group
FILES = 4  # open files per run: metrics, log, TensorBoard and the lock
OTHER_FILES = 100  # open files of the rest of the process
LARGEST_COPIED = 4_000_000  # numbers in a table up to which each run of a group may have its own data


# Cost model: rough times measured on two cores.
EPOCH_SECONDS = 200e-6  # scores of an epoch, for any model
STEP_SECONDS = 35e-6  # fixed cost of a step
UNIT_SECONDS = 1e-9  # activations, per unit and row
PRODUCT_SECONDS = 5e-11  # matrix products, per weight and row
UPDATE_SECONDS = 2e-10  # optimizer update, per weight, gradient and state number
MAX_SIZES = 64  # different hidden widths in a group

NONE_RESUMED: Mapping[int, Hashable] = {}


@dataclass(frozen=True)
class Group:
    """Jobs that are trained together, by their numbers."""

    numbers: tuple[int, ...]

    @property
    def together(self) -> bool:
        """Whether the group has more than one job."""
        return len(self.numbers) > 1


def group(
    configs: Mapping[int, Config],
    datasets: Datasets,
    resume_points: Mapping[int, Hashable] = NONE_RESUMED,
    check: Callable[[], None] = lambda: None,
    most: int | None = None,
) -> tuple[list[Group], dict[int, MlpkitError]]:
    """Return the groups, and the errors of jobs that cannot be trained.

    Args:
        configs: the jobs' configs by job number.
        datasets: loads their data.
        resume_points: step and `Choices` of resumed jobs; equal for all jobs of a group.
        check: called before each dataset is loaded; it may raise to stop.
        most: the largest number of jobs in a group; None means as many as pay.
    """
    by_key: dict[Hashable, dict[Size, list[int]]] = {}
    errors: dict[int, MlpkitError] = {}
    for number, config in configs.items():
        check()
        try:
            dataset = datasets.load(config.dataset)
            layers = architecture(config, dataset.input_schema)
            is_alone = config.optimizer.has_line_search or dataset.disk is not None
            alone = number if is_alone else None
            key: Hashable = group_key(config, dataset, layers), resume_points.get(number), alone
        except MlpkitError as error:
            errors[number] = error
            continue
        by_key.setdefault(key, {}).setdefault(size_of(config, dataset, layers), []).append(number)
    groups = []
    for sizes in by_key.values():
        for size, numbers in merge_sizes(sizes):
            # Adjacent runs with equal optimizer settings are updated by one call.
            ordered = iter(sorted(numbers, key=lambda number: (update_settings(configs[number]), number)))
            fitting = max(1, most_runs(size) // configs[numbers[0]].model.members)
            while part := tuple(islice(ordered, fitting if most is None else min(most, fitting))):
                groups.append(Group(part))
    return sorted(groups, key=lambda group: min(group.numbers)), errors


@dataclass(frozen=True, order=True)
class Size:
    """The sizes that decide how much time and memory a run takes.

    Attributes:
        widths: number of features, then the width of each linear layer.
        batch: rows per step.
        steps: batches per epoch.
        rows: rows of the training split, or of an epoch if it has more.
        slots: optimizer state numbers per weight.
        own_data: numbers of data that the run does not share with others.
    """

    widths: tuple[int, ...]
    batch: int
    steps: int
    rows: int
    slots: int
    own_data: int

    @property
    def units(self) -> int:
        """The number of units in all linear layers."""
        return sum(self.widths[1:])

    @property
    def weights(self) -> int:
        """The number of weights and biases in all linear layers."""
        return sum((in_features + 1) * width for in_features, width in pairwise(self.widths))

    def padded_with(self, other: "Size") -> "Size":
        """Return the smallest size to which runs of both sizes can be padded."""
        widths = tuple(map(max, zip(self.widths, other.widths, strict=True)))
        return replace(self, widths=widths, slots=max(self.slots, other.slots))

    def seconds(self, runs: int) -> float:
        """Return the estimated time of an epoch of K = `runs` runs; only ratios of it are used."""
        threads = threads_with_work(self.batch * runs, self.weights, max(self.widths[1:]))
        rows = runs * self.batch / threads
        step = STEP_SECONDS + rows * (UNIT_SECONDS * self.units + PRODUCT_SECONDS * self.weights)
        return EPOCH_SECONDS + self.steps * (step + UPDATE_SECONDS * runs * self.weights * (2 + self.slots))


def merge_sizes(sizes: Mapping[Size, Sequence[int]]) -> Iterator[tuple[Size, list[int]]]:
    """Yield groups of runs, each with its padded size.

    Runs with different hidden widths are padded with zeros and grouped where the cost model says that this
    is faster.

    Args:
        sizes: job numbers by size; these jobs differ in their hidden widths only.
    """
    ordered = sorted(sizes, key=lambda size: size.weights)
    # Dynamic programming: best[n] divides the first n sizes into groups; (seconds, start of the last group).
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(ordered) + 1):
        options, padded, runs = [], ordered[stop - 1], 0
        for start in reversed(range(max(0, stop - MAX_SIZES), stop)):
            padded, runs = padded.padded_with(ordered[start]), runs + len(sizes[ordered[start]])
            options.append((best[start][0] + padded.seconds(runs), start))
        best.append(min(options))
    stop = len(ordered)
    while stop:
        start = best[stop][1]
        padded = reduce(Size.padded_with, ordered[start:stop])
        yield padded, [number for size in ordered[start:stop] for number in sizes[size]]
        stop = start


def size_of(config: Config, dataset: Dataset, layers: list[Layer]) -> Size:
    """Return a run's sizes for the cost model."""
    train, trainer = dataset.splits["train"], config.trainer
    rows, size = len(train), trainer.batch_size
    batch = rows if size == "full" else min(rows, size)
    linear = [layer for layer in layers if layer.kind == "Linear"]
    if linear:
        widths = linear[0].in_features, *(layer.out_features for layer in linear)
    else:  # estimated as one hidden layer with as many weights
        features, width = len(dataset.input_schema.features), dataset.input_schema.width
        widths = features, max(1, count(layers) // (features + width)), width
    inputs = train.all_inputs.numel()
    own_data = inputs if inputs <= LARGEST_COPIED else rows  # a copy of the data, or row indices into it
    steps = Steps.of(trainer, rows)
    seen = max(rows, steps.most_rows)
    batches = steps.per_epoch * trainer.accumulate
    return Size(widths, batch, batches, seen, len(config.optimizer.slots()), own_data)


def update_settings(config: Config) -> str:
    """Return the optimizer and schedule settings as a sort key."""
    return config.optimizer.model_dump_json() + config.scheduler.model_dump_json()


def group_key(config: Config, dataset: Dataset, layers: list[Layer]) -> Hashable:
    """Return a key that is equal for jobs that one engine can train together."""
    trainer = config.trainer
    shared: dict[str, Any] = {k: v for k, v in trainer.model_dump(mode="json").items() if k not in MAY_DIFFER}
    data: Hashable = tuple(
        (
            name,
            len(split),
            split.all_inputs.shape[1:],
            split.all_targets.shape[1:],
            split.all_weights is None,
            split.folds,
        )
        for name, split in dataset.splits.items()
    )
    settings = to_dict(config)["dataset"]
    loss = loss_for(config.loss, dataset.input_schema.task, dataset.name)
    if dataset.splits["train"].all_inputs.numel() > LARGEST_COPIED:
        data = data, table_of(config.dataset)
    return (
        dataset.name,
        dataset.input_schema.task,
        loss.model_dump_json(),
        metric_names(config),
        str([settings.get(key) for key in ("augment", "mean", "std")]),
        data,
        tuple((layer.kind, layer.settings, tuple(layer.parameters)) for layer in layers),
        None if can_be_padded(config, loss, layers) else tuple(layer.out_features for layer in layers),
        str(shared),
        config.model.members,
        config.run.film,
        choose_device(config.device),
    )


def max_open_runs() -> int:
    """Return how many runs can have their files open at once; raises the limit of open files if possible."""
    files = raise_file_limit(OTHER_FILES + FILES * MAX_RUNS)
    return MAX_RUNS if files is None else (files - OTHER_FILES) // FILES


def can_be_padded(config: Config, loss: LossConfig, layers: list[Layer]) -> bool:
    """Whether a run can be padded with zero units, which must stay zero during training.

    Gradients must be derived by hand. An activation must be 0 at 0; a norm would count the zeros; Adam with
    eps=0 would divide 0 by 0. With bfloat16, padding could change which products are rounded, since that
    depends on their size.
    """
    trainer = config.trainer
    if not config.optimizer.keeps_zeros():
        return False
    if trainer.engine == "autograd" or loss.by_hand() is None or trainer.matmul in ("bfloat16", "fastest"):
        return False
    return all(layer.keeps_zeros for layer in layers)


def most_runs(size: Size) -> int:
    """Return how many runs one engine should train: as many as fit into the CPU caches, memory and files."""
    numbers = (2 + size.slots) * size.weights + 2 * size.batch * size.units
    # An epoch's outputs, some copies of its row order, and three copies of the data: raw, scaled, stacked.
    memory = size.rows * (4 * size.widths[-1] + 32) + 12 * size.own_data
    return max(2, min(MAX_RUNS, CACHE_NUMBERS // numbers, MAX_BYTES // memory, max_open_runs()))
