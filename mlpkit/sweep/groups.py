"""Which jobs of a sweep can be trained by one program."""

import resource
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mlpkit.architecture import NORMS, Layer, architecture, count
from mlpkit.config import Config, to_dict
from mlpkit.data import load_dataset
from mlpkit.data.dataset import Dataset
from mlpkit.device import choose_device
from mlpkit.errors import MlpkitError
from mlpkit.schema.dataset import DatasetConfig

OWN = ("clip_norm", "clip_value", "early_stopping")  # of the trainer: what runs of one program may differ in
FITS = 4_500_000  # numbers of all weights, units and optimizers of a program: measured, what the caches hold
MOST = 256  # runs of one program
MEMORY = 1 << 30  # bytes of all runs' data and outputs
FILES = 4  # that a run has open: records, TensorBoard's and the lock
FILES_OF_OTHERS = 100  # that the process has open besides
LARGEST_COPIED = 4_000_000  # numbers of a dataset that runs of one program may each have their own version of


NOTHING: Mapping[int, Hashable] = {}


@dataclass(frozen=True)
class Group:
    """Jobs that go together.

    Attributes:
        numbers: of the jobs.
        together: whether one program trains them; else it is one job, trained alone.
    """

    numbers: tuple[int, ...]
    together: bool


class Datasets:
    """Loads each dataset once; it is let go when another one than the last few is wanted."""

    def __init__(self, download: bool = True) -> None:
        """Begin with none; without `download`, data must be there."""
        self._kept: dict[str, Dataset] = {}
        self._download = download

    def load(self, config: DatasetConfig) -> Dataset:
        """Return a dataset.

        Raises:
            DataError: it is missing or cannot be used.
        """
        key = repr(config)  # JSON cannot say a folder that is not UTF-8
        if key not in self._kept:
            dataset = load_dataset(config, self._download)
            while self._kept and self._numbers() > 100 * LARGEST_COPIED:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = dataset
        return self._kept[key]

    def _numbers(self) -> int:
        return sum(split.inputs.numel() for of in self._kept.values() for split in of.splits.values())


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
    by_key: dict[Hashable, list[int]] = {}
    alone, wrong, width = [], dict[int, MlpkitError](), dict[Hashable, int]()
    for number, config in configs.items():
        check()
        try:
            dataset = datasets.load(config.dataset)
            layers = architecture(config, dataset.signature)
            key = key_of(config, dataset, layers)
        except MlpkitError as error:
            wrong[number] = error
            continue
        if key is None:
            alone.append(number)
        else:
            key = (key, begun.get(number))
            by_key.setdefault(key, []).append(number)
            width[key] = widest(config, dataset, layers)
    groups = []
    for key, numbers in by_key.items():
        # Neighbours whose optimizers are set alike are updated at once.
        ordered = iter(sorted(numbers, key=lambda number: (settings_of(configs[number]), number)))
        while part := tuple(islice(ordered, width[key])):
            groups.append(Group(part, together=len(part) > 1))
    groups += [Group((number,), together=False) for number in alone]
    return sorted(groups, key=lambda of: min(of.numbers)), wrong


def settings_of(config: Config) -> str:
    """Return how the weights are changed, as text that sorts."""
    return config.optimizer.model_dump_json() + config.scheduler.model_dump_json()


def key_of(config: Config, dataset: Dataset, layers: list[Layer]) -> Hashable | None:
    """Return what jobs of one program have in common, or None where a job is trained alone."""
    trainer = config.trainer
    normed = any(layer.kind in NORMS.values() for layer in layers)
    if normed or trainer.engine == "autograd" or choose_device(config.device) != "cpu":
        return None
    shared: dict[str, Any] = {k: v for k, v in trainer.model_dump(mode="json").items() if k not in OWN}
    data: Hashable = tuple(
        (name, tuple(split.inputs.shape), tuple(split.targets.shape))
        for name, split in dataset.splits.items()
    )
    settings = to_dict(config)["dataset"]
    if dataset.splits["train"].inputs.numel() > LARGEST_COPIED:
        data = str(settings)
    return (
        dataset.name,
        dataset.signature.task,
        str(settings.get("augment")),
        data,
        tuple((layer.kind, layer.below, layer.width, tuple(layer.parameters)) for layer in layers),
        str(shared),
        config.device,
    )


def most_open() -> int:
    """Return how many runs may have their files open at once; the limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_OF_OTHERS + FILES * MOST
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else (soft - FILES_OF_OTHERS) // FILES


def widest(config: Config, dataset: Dataset, layers: list[Layer]) -> int:
    """Return how many runs one program should train: as many as keep the processor's caches full."""
    rows = len(dataset.splits["train"])
    size = config.trainer.batch_size
    batch = rows if size == "full" else min(rows, size)
    units = sum(layer.width for layer in layers if layer.kind == "Linear")
    slots = 2 + len(config.optimizer.slots())
    numbers = slots * count(layers) + 2 * batch * units
    inputs = dataset.splits["train"].inputs.numel()
    own = inputs if inputs <= LARGEST_COPIED else 0  # where each has its own data
    # An epoch's outputs, and the order of its rows a few times over; the data as it is, scaled and stacked.
    memory = rows * (4 * dataset.signature.width + 32) + 12 * own
    return max(2, min(MOST, FITS // numbers, MEMORY // memory, most_open()))
