"""Which jobs of a sweep can be trained by one program."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice, pairwise
from typing import Any

from mlpkit.config.config import Config, to_dict
from mlpkit.config.loss import LossConfig, loss_for
from mlpkit.config.model import Layer
from mlpkit.data.dataset import Dataset
from mlpkit.data.load import table_of
from mlpkit.errors import MlpkitError
from mlpkit.models.architecture import architecture, count
from mlpkit.sweep.datasets import Datasets
from mlpkit.system.device import choose_device, threads_with_work
from mlpkit.system.platform import raise_file_limit

OWN = ("clip_norm", "clip_value", "early_stopping")  # of the trainer: what runs of one program may differ in
FITS = 4_500_000  # numbers of all weights, units and optimizers of a program: measured, what the caches hold
MOST = 256  # runs of one program
MEMORY = 1 << 30  # bytes of all runs' data and outputs
FILES = 4  # that a run has open: records, TensorBoard's and the lock
FILES_OF_OTHERS = 100  # that the process has open besides
LARGEST_COPIED = 4_000_000  # numbers of a table that runs of one program may each have their own version of


# Seconds, about: measured on two cores.
AN_EPOCH = 200e-6  # its scores, whatever is trained
A_STEP = 35e-6
A_UNIT = 1e-9  # of each unit and row, for activations
A_PRODUCT = 5e-11  # of each weight and row, for products
A_WEIGHT = 2e-10  # of each weight, gradient and average, for the update
MOST_SIZES = 64  # hidden widths that go together

NOTHING: Mapping[int, Hashable] = {}


@dataclass(frozen=True)
class Group:
    """Jobs that go together.

    Attributes:
        numbers: of the jobs.
    """

    numbers: tuple[int, ...]

    @property
    def together(self) -> bool:
        """Whether there are several."""
        return len(self.numbers) > 1


def group(
    configs: Mapping[int, Config],
    datasets: Datasets,
    begun: Mapping[int, Hashable] = NOTHING,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[Group], dict[int, MlpkitError]]:
    """Return the groups, and what is wrong with jobs that cannot be trained.

    Args:
        configs: of the jobs, by their numbers.
        datasets: where their data comes from.
        begun: where jobs stand that go on, and how they have been trained; equal for those of a group.
        check: called before each dataset is loaded; it may raise.
    """
    by_key: dict[Hashable, dict[Size, list[int]]] = {}
    wrong: dict[int, MlpkitError] = {}
    for number, config in configs.items():
        check()
        try:
            dataset = datasets.load(config.dataset)
            layers = architecture(config, dataset.input_schema)
            key: Hashable = key_of(config, dataset, layers), begun.get(number)
        except MlpkitError as error:
            wrong[number] = error
            continue
        by_key.setdefault(key, {}).setdefault(size_of(config, dataset, layers), []).append(number)
    groups = []
    for sizes in by_key.values():
        for size, numbers in merged(sizes):
            # Neighbours whose optimizers are set alike are updated at once.
            ordered = iter(sorted(numbers, key=lambda number: (settings_of(configs[number]), number)))
            while part := tuple(islice(ordered, widest(size))):
                groups.append(Group(part))
    return sorted(groups, key=lambda of: min(of.numbers)), wrong


@dataclass(frozen=True, order=True)
class Size:
    """What a run costs.

    Attributes:
        widths: of its linear layers, from the inputs to the outputs; the first is the number of features.
        batch: rows of a step.
        steps: of an epoch.
        rows: of the training split.
        slots: numbers that the optimizer keeps for each weight.
        own: numbers of data that a run holds for itself.
    """

    widths: tuple[int, ...]
    batch: int
    steps: int
    rows: int
    slots: int
    own: int

    @property
    def units(self) -> int:
        """Units of all linear layers."""
        return sum(self.widths[1:])

    @property
    def weights(self) -> int:
        """Weights and biases of all linear layers."""
        return sum((in_features + 1) * width for in_features, width in pairwise(self.widths))

    def around(self, other: "Size") -> "Size":
        """Return the smallest size into which runs of both can be padded."""
        widths = tuple(map(max, zip(self.widths, other.widths, strict=True)))
        return replace(self, widths=widths, slots=max(self.slots, other.slots))

    def seconds(self, runs: int) -> float:
        """Return about how long an epoch of so many runs takes; only ratios of it matter."""
        threads = threads_with_work(self.batch * runs, self.weights, max(self.widths[1:]))
        rows = runs * self.batch / threads
        step = A_STEP + rows * (A_UNIT * self.units + A_PRODUCT * self.weights)
        return AN_EPOCH + self.steps * (step + A_WEIGHT * runs * self.weights * (2 + self.slots))


def merged(sizes: Mapping[Size, Sequence[int]]) -> Iterator[tuple[Size, list[int]]]:
    """Yield which runs go together: those of other hidden widths, padded with zeros, where that is faster.

    Args:
        sizes: of runs that are alike but for their hidden widths, with their numbers.
    """
    ordered = sorted(sizes, key=lambda size: size.weights)
    # The best way to divide the first sizes into stretches, by their number: seconds, and the last stretch.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(ordered) + 1):
        found, around, runs = [], ordered[stop - 1], 0
        for start in reversed(range(max(0, stop - MOST_SIZES), stop)):
            around, runs = around.around(ordered[start]), runs + len(sizes[ordered[start]])
            found.append((best[start][0] + around.seconds(runs), start))
        best.append(min(found))
    stop = len(ordered)
    while stop:
        start = best[stop][1]
        around = reduce(Size.around, ordered[start:stop])
        yield around, [number for size in ordered[start:stop] for number in sizes[size]]
        stop = start


def size_of(config: Config, dataset: Dataset, layers: list[Layer]) -> Size:
    """Return what a run costs."""
    train, trainer = dataset.splits["train"], config.trainer
    rows, size = len(train), trainer.batch_size
    batch = rows if size == "full" else min(rows, size)
    linear = [layer for layer in layers if layer.kind == "Linear"]
    if linear:
        widths = linear[0].in_features, *(layer.out_features for layer in linear)
    else:  # as a network with one hidden layer that has as many weights
        features, width = len(dataset.input_schema.features), dataset.input_schema.width
        widths = features, max(1, count(layers) // (features + width)), width
    inputs = train.all_inputs.numel()
    own = inputs if inputs <= LARGEST_COPIED else rows  # its own data, or which rows of it
    return Size(widths, batch, -(-rows // batch), rows, len(config.optimizer.slots()), own)


def settings_of(config: Config) -> str:
    """Return how the weights are changed, as text that sorts."""
    return config.optimizer.model_dump_json() + config.scheduler.model_dump_json()


def key_of(config: Config, dataset: Dataset, layers: list[Layer]) -> Hashable:
    """Return what jobs of one program have in common."""
    trainer = config.trainer
    shared: dict[str, Any] = {k: v for k, v in trainer.model_dump(mode="json").items() if k not in OWN}
    data: Hashable = tuple(
        (name, len(split), split.all_inputs.shape[1:], split.all_targets.shape[1:])
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
        config.run.metrics,
        str([settings.get(key) for key in ("augment", "mean", "std")]),
        data,
        tuple((layer.kind, layer.settings, tuple(layer.parameters)) for layer in layers),
        None if can_be_padded(config, loss, layers) else tuple(layer.out_features for layer in layers),
        str(shared),
        choose_device(config.device),
    )


def most_open() -> int:
    """Return how many runs may have their files open at once; the limit is raised as far as it may be."""
    files = raise_file_limit(FILES_OF_OTHERS + FILES * MOST)
    return MOST if files is None else (files - FILES_OF_OTHERS) // FILES


def can_be_padded(config: Config, loss: LossConfig, layers: list[Layer]) -> bool:
    """Whether units that are zero stay so: such a run may be trained beside wider ones.

    Gradients must be derived by hand. An activation must be 0 at 0, a norm would count the zeros, and Adam
    without eps divides 0 by 0. Which products are rounded to bfloat16 depends on their size.
    """
    trainer = config.trainer
    if not config.optimizer.keeps_zeros():
        return False
    if trainer.engine == "autograd" or loss.by_hand() is None or trainer.matmul == "bfloat16":
        return False
    return all(layer.keeps_zeros for layer in layers)


def widest(size: Size) -> int:
    """Return how many runs one engine should train: as many as keep the processor's caches full."""
    numbers = (2 + size.slots) * size.weights + 2 * size.batch * size.units
    # An epoch's outputs, and the order of its rows a few times over; the data as it is, scaled and stacked.
    memory = size.rows * (4 * size.widths[-1] + 32) + 12 * size.own
    return max(2, min(MOST, FITS // numbers, MEMORY // memory, most_open()))
