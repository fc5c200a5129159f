"""What a dataset is: splits of raw inputs and targets, held as tensors, and their input_schema."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.config.problems import plural
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.randomness import generator
from mlpkit.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
SPLIT_OF_WORD = {  # as people call them in columns and folders
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Split:
    """Some rows of a table.

    Attributes:
        all_inputs: (all rows, features) of the table, raw, float32.
        all_targets: (all rows, targets) float32 for regression and multilabel (0 or 1); (all rows,)
            int64 class labels otherwise.
        rows: which of them: a slice, or (rows,) indices.
    """

    all_inputs: Tensor
    all_targets: Tensor
    rows: slice | Tensor = field(default_factory=lambda: slice(None))

    @property
    def inputs(self) -> Tensor:
        """The inputs of the rows (rows, features): a view where they lie together, else a copy."""
        return self.all_inputs[self.rows]

    @property
    def targets(self) -> Tensor:
        """The targets of the rows, likewise."""
        return self.all_targets[self.rows]

    def __len__(self) -> int:
        """Return the number of rows."""
        if isinstance(self.rows, Tensor):
            return len(self.rows)
        return len(range(*self.rows.indices(len(self.all_inputs))))


@dataclass(frozen=True)
class Affine:
    """A shift and a scale for each column: `(values - mean) / std`."""

    mean: Tensor
    std: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """Return the scaled values (rows, columns)."""
        return (values - self.mean) / self.std


@dataclass(frozen=True)
class Dataset:
    """Splits in memory, and what a model needs to know about them.

    Attributes:
        name: as in the config.
        input_schema: what goes in and what comes out.
        splits: train, and val and test where they have rows, in this order.
        input_scaling: the model's first layer; None leaves the inputs as they are.
        target_scaling: undone by the model's last layer; None for none.
        true_line: (slope, intercept) where the data was made from a line.
        order: of the table that was divided: the place that each of its rows had before.
        remarks: lines that say what was found out in making it, and what seems odd.
        inferred: options that were null in its config, with the values that `load` inferred; the run's config
            keeps them.
    """

    name: str
    input_schema: InputSchema
    splits: dict[str, Split]
    input_scaling: Affine | None = None
    target_scaling: Affine | None = None
    true_line: tuple[float, float] | None = None
    order: Tensor | None = None
    remarks: tuple[str, ...] = ()
    inferred: Mapping[str, Any] = field(default_factory=dict)

    @property
    def monitored(self) -> str:
        """The split whose score decides what is best: val, else test, else train."""
        return next(name for name in ("val", "test", "train") if name in self.splits)

    @cached_property
    def fingerprint(self) -> str:
        """Return what tells this data from any other, however alike: sizes and checksums of all numbers.

        A checksum (CRC-32) finds a change as surely as a digest where nobody made it to hide it, and
        takes a third of the time.
        """
        parts: list[str] = [self.input_schema.task]
        for name, split in self.splits.items():
            for values in (split.inputs, split.targets):
                checksum = zlib.crc32(values.contiguous().numpy().data)
                parts.append(f"{name} {list(values.shape)} {checksum:08x}")
        for scaling in (self.input_scaling, self.target_scaling):
            if scaling is not None:
                kind = "" if type(scaling) is Affine else f"{type(scaling).__name__} "
                parts.append(f"{kind}scaled by {scaling.mean.tolist()} {scaling.std.tolist()}")
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def split_at_random(
    config: DatasetConfig, input_schema: InputSchema, inputs: Tensor, targets: Tensor
) -> Dataset:
    """Return a dataset of rows that are split at random.

    Args:
        config: says how large the splits are, and whether columns are scaled.
        input_schema: task and names.
        inputs: (rows, features) float32.
        targets: (rows, targets) float32 for regression and multilabel; (rows,) int64 class labels otherwise.

    Raises:
        ConfigError: a split that is asked for would be empty.
        DataError: inputs and targets are not as the input schema says.
    """
    classes, regression = input_schema.classes, input_schema.task == "regression"
    wanted = (
        ((len(inputs), len(input_schema.features)), torch.float32),
        ((len(inputs),), torch.int64)
        if classes
        else ((len(inputs), len(input_schema.targets)), torch.float32),
    )
    for kind, values, (shape, dtype) in zip(("inputs", "targets"), (inputs, targets), wanted, strict=True):
        if (values.shape, values.dtype) != (shape, dtype):
            raise DataError(
                f"dataset={config.name}: its {kind} must have shape {shape} and be {dtype}, "
                f"not {tuple(values.shape)} and {values.dtype}"
            )
    last = len(classes) - 1
    if classes and len(outside := targets[(targets < 0) | (targets > last)]):
        raise DataError(
            f"dataset={config.name}: its labels must be from 0 to {last}, one for each of its classes, "
            f"not {int(outside[0])}"
        )
    if not classes and not regression and len(odd := targets[(targets != 0) & (targets != 1)]):
        raise DataError(f"dataset={config.name}: its labels must be 0 or 1, not {float(odd[0]):g}")
    splits, _ = gather_splits(inputs, targets, split_rows(config, targets))
    train = splits["train"]
    return Dataset(
        name=config.name,
        input_schema=input_schema,
        splits=splits,
        input_scaling=column_scaling(train.inputs) if config.standardize else None,
        target_scaling=column_scaling(train.targets) if config.standardize and regression else None,
    )


def split_rows(config: DatasetConfig, targets: Tensor) -> dict[str, Tensor]:
    """Return which rows are in each split that is dealt at random, given all targets; see `random_split`."""
    return split_remaining(config, targets, {"train": slice(None)})


def random_split(
    rows: int, seed: int, val_fraction: float, test_fraction: float = 0.0, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Deal rows into train, val and test at random, as a function of the seed.

    Args:
        rows: how many there are.
        seed: of the draw.
        val_fraction: share of the rows that validate.
        test_fraction: share of the rows that test.
        labels: of all rows (rows,), int64: each split has about the classes' shares; None: as they come.

    Returns:
        The indices of the rows of each split that has any.

    Raises:
        ConfigError: a split that is asked for would be empty.
    """
    sizes = {"val": round(rows * val_fraction), "test": round(rows * test_fraction)}
    sizes = {"train": rows - sum(sizes.values()), **sizes}
    fractions = {"train": 1.0, "val": val_fraction, "test": test_fraction}
    for name, size in sizes.items():
        if size < 1 and fractions[name] > 0:
            raise ConfigError(
                f"dataset: val_fraction={val_fraction} and test_fraction={test_fraction} of "
                f"{plural(rows, 'row')} leave no row to {name}; change the fractions or have more rows"
            )
    order = torch.randperm(rows, generator=generator(seed, "split"))
    if labels is not None:
        order = interleave_classes(order, labels)
    parts = torch.split(order, list(sizes.values()))
    return {name: part for name, part in zip(sizes, parts, strict=True) if len(part)}


def split_remaining(config: DatasetConfig, targets: Tensor, given: dict[str, slice]) -> dict[str, Tensor]:
    """Return which rows are in each split; what is not given is dealt from train at random.

    Args:
        config: says how large the splits are that are dealt.
        targets: of all rows.
        given: which rows each split has.
    """
    places = {name: torch.arange(len(targets))[rows] for name, rows in given.items()}
    train = places.pop("train")
    val, test = (
        0.0 if name in places else share for name, share in zip(SPLITS[1:], config.fractions(), strict=True)
    )
    is_class = targets.dtype == torch.int64
    labels = targets[train] if is_class and config.is_stratified() else None
    dealt = random_split(len(train), config.seed, val, test, labels)
    places |= {name: train[rows] for name, rows in dealt.items()}
    return {name: places[name] for name in SPLITS if name in places}


def interleave_classes(order: Tensor, labels: Tensor) -> Tensor:
    """Return rows in an order in which every stretch has about the same shares of classes.

    Args:
        order: some rows, shuffled.
        labels: of all rows.
    """
    grouped = order[torch.argsort(labels[order], stable=True)]
    counts = torch.bincount(labels[order]).tolist()
    # The k-th of a class's n rows stands at (k + ½) / n of the way.
    way = torch.cat([(torch.arange(count, dtype=torch.float64) + 0.5) / count for count in counts if count])
    return grouped[torch.argsort(way, stable=True)]


def gather_splits(
    inputs: Tensor, targets: Tensor, dealt: dict[str, Tensor]
) -> tuple[dict[str, Split], Tensor]:
    """Return splits of one table, each in one piece of it, and the order in which its rows now lie.

    Args:
        inputs: of all rows.
        targets: likewise.
        dealt: the rows of each split.
    """
    order = torch.cat(list(dealt.values()))
    inputs, targets = inputs[order], targets[order]
    splits, start = {}, 0
    for name, rows in dealt.items():
        splits[name] = Split(inputs, targets, slice(start, start + len(rows)))
        start += len(rows)
    return splits, order


def resplit(dataset: Dataset, config: DatasetConfig) -> Dataset:
    """Return the dataset with its table divided as another config says; it is the same one in memory.

    Args:
        dataset: one that has been divided, whose scaling does not depend on how.
        config: another one of the same table.
    """
    assert dataset.order is not None
    places = torch.argsort(dataset.order)
    train = dataset.splits["train"]
    dealt = split_rows(config, train.all_targets[places])
    again = {name: Split(train.all_inputs, train.all_targets, places[rows]) for name, rows in dealt.items()}
    apart = {name: of for name, of in dataset.splits.items() if of.all_inputs is not train.all_inputs}
    return replace(dataset, splits=again | apart)


def column_scaling(values: Tensor) -> Affine:
    """Return mean and standard deviation of each column; a constant column keeps its scale."""
    exact = values.double()
    std = exact.std(0, correction=0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return Affine(exact.mean(0).float(), std.float())


def channel_scaling(pixels: Tensor, channels: int) -> Affine:
    """Return mean and standard deviation (channels,) of each channel of images (rows, pixels)."""
    values = pixels.reshape(len(pixels), channels, -1)
    count = values.shape[0] * values.shape[2]
    parts = torch.split(
        values, 4096
    )  # exact numbers of all rows at once would take twice the memory of the rows
    mean = (
        sum((part.double().sum((0, 2)) for part in parts), torch.zeros(channels, dtype=torch.float64)) / count
    )
    squares = ((part.double() - mean[:, None]).square().sum((0, 2)) for part in parts)
    std = (sum(squares, torch.zeros(channels, dtype=torch.float64)) / count).sqrt()
    return Affine(mean.float(), torch.where(std > 0, std, torch.ones_like(std)).float())
