"""Datasets: splits of raw inputs and targets as tensors, with their input schema."""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mlpkit.config.dataset import DatasetConfig
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.random_split import random_split
from mlpkit.errors import DataError

if TYPE_CHECKING:
    from mlpkit.data.disk_table import DiskTable

SPLITS = ("train", "val", "test")
BLOCK = 65_536  # numbers that are converted to float64 at once
SHOWN = 10_000  # rows of each split of a table on the disk that pictures show
SPLIT_OF_WORD = {  # common names of the splits, in columns and folders
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
        rows: the rows of this split: a slice, or indices (rows,).
        all_weights: (all rows,) float32, how much each row counts in the loss; None: all the same.
        folds: the number of rows of each fold, in the order of the rows; () without folds. With them the rows
            are those of training as well, and those of fold k are scored by the model's member k alone,
            which was not trained on them.
    """

    all_inputs: Tensor
    all_targets: Tensor
    rows: slice | Tensor = field(default_factory=lambda: slice(None))
    all_weights: Tensor | None = None
    folds: tuple[int, ...] = ()

    @property
    def inputs(self) -> Tensor:
        """The inputs of the split (rows, features): a view if `rows` is a slice, else a copy."""
        return self.all_inputs[self.rows]

    @property
    def targets(self) -> Tensor:
        """The targets of the split: a view or a copy, as for `inputs`."""
        return self.all_targets[self.rows]

    @property
    def weights(self) -> Tensor | None:
        """The weights of the split's rows, or None."""
        return None if self.all_weights is None else self.all_weights[self.rows]

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
    """Splits in memory or on the disk, and what a model needs to know about them.

    Attributes:
        name: the dataset's name in the config.
        input_schema: names and shapes of features and targets.
        splits: train, val and test, in this order; val and test only if they have rows.
        input_scaling: the model's first layer; None leaves the inputs as they are.
        target_scaling: scaling of the targets, which the model's last layer inverts; None: no scaling.
        true_line: (slope, intercept) of the line that generated the data.
        order: the original index of each row of the reordered table; None: it cannot be split again.
        remarks: lines to print: what was inferred from the data, and warnings.
        inferred: values of options that were null in its config; the run's config keeps them.
        title: what it is called in pictures: the name, or that of the user's file.
        disk: the table on the disk that the splits are parts of, if it is too large for memory.
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
    title: str = ""
    disk: "DiskTable | None" = None

    @property
    def monitored(self) -> str:
        """The split whose score selects the best epoch: val, else test, else train."""
        return next(name for name in ("val", "test", "train") if name in self.splits)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash of the data: shapes and checksums of all splits, and the scaling.

        CRC-32 detects accidental changes as reliably as a cryptographic hash, in a third of the time.
        """
        if self.disk is not None:
            return self.disk.header.checksum
        parts: list[str] = [self.input_schema.task]
        for name, split in self.splits.items():
            weights = [] if split.weights is None else [split.weights]
            for values in (split.inputs, split.targets, *weights):
                checksum = zlib.crc32(values.contiguous().numpy().data)
                parts.append(f"{name} {list(values.shape)} {checksum:08x}")
            if split.folds:
                parts.append(f"folds {split.folds}")
        for scaling in (self.input_scaling, self.target_scaling):
            if scaling is not None:
                kind = "" if type(scaling) is Affine else f"{type(scaling).__name__} "
                parts.append(f"{kind}scaled by {scaling.mean.tolist()} {scaling.std.tolist()}")
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def shown(self) -> "Dataset":
        """Return what pictures show: all rows, or some of each split if the table is on the disk.

        Rows of a table on the disk lie in a random order, apart from that within a block.
        """
        if self.disk is None:
            return self
        splits = {}
        for name, split in self.splits.items():
            assert isinstance(split.rows, slice)
            every = max(1, len(split) // SHOWN)
            splits[name] = replace(split, rows=slice(split.rows.start, split.rows.stop, every))
        return replace(self, splits=splits)


def split_at_random(
    config: DatasetConfig,
    input_schema: InputSchema,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
) -> Dataset:
    """Return a dataset whose rows are split at random.

    Args:
        config: sets the sizes of the splits, and whether columns are scaled.
        input_schema: the task and the names of features, targets and classes.
        inputs: (rows, features) float32.
        targets: (rows, targets) float32 for regression and multilabel; (rows,) int64 class labels otherwise.
        weights: (rows,) float32, how much each row counts in the loss; None: all the same.

    Raises:
        ConfigError: a split that is asked for would be empty.
        DataError: inputs, targets or weights do not match the input schema.
    """
    classes, regression = input_schema.classes, input_schema.task == "regression"
    rows = len(inputs)
    of_targets = ((rows,), torch.int64) if classes else ((rows, len(input_schema.targets)), torch.float32)
    for kind, values, (shape, dtype) in (
        ("inputs", inputs, ((rows, len(input_schema.features)), torch.float32)),
        ("targets", targets, of_targets),
        ("weights", weights, ((rows,), torch.float32)),
    ):
        if values is not None and (values.shape, values.dtype) != (shape, dtype):
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
    splits, _ = gather_splits(inputs, targets, split_rows(config, targets), weights)
    train = splits["train"]
    return Dataset(
        name=config.name,
        input_schema=input_schema,
        splits=splits,
        input_scaling=column_scaling(train.inputs) if config.standardize else None,
        target_scaling=column_scaling(train.targets) if config.standardize and regression else None,
    )


def split_rows(config: DatasetConfig, targets: Tensor) -> dict[str, Tensor]:
    """Split all rows at random; see `random_split`."""
    return split_remaining(config, targets, {"train": slice(None)})


def split_remaining(config: DatasetConfig, targets: Tensor, given: dict[str, slice]) -> dict[str, Tensor]:
    """Return the row indices of each split; a split that is not given is taken from train at random.

    Args:
        config: sets the sizes of the splits that are taken from train.
        targets: the targets of all rows.
        given: the rows of train, and of the splits that the data already has.
    """
    indices = {name: torch.arange(len(targets))[rows] for name, rows in given.items()}
    train = indices.pop("train")
    val, test = (
        0.0 if name in indices else share for name, share in zip(SPLITS[1:], config.fractions(), strict=True)
    )
    is_class = targets.dtype == torch.int64
    labels = targets[train] if is_class and config.is_stratified() else None
    rows_by_split = random_split(len(train), config.seed, val, test, labels)
    indices |= {name: train[rows] for name, rows in rows_by_split.items()}
    return {name: indices[name] for name in SPLITS if name in indices}


def gather_splits(
    inputs: Tensor, targets: Tensor, rows_by_split: dict[str, Tensor], weights: Tensor | None = None
) -> tuple[dict[str, Split], Tensor]:
    """Reorder a table so that each split is one slice of it; return the splits and the order of the rows.

    Args:
        inputs: the inputs of all rows.
        targets: the targets of all rows.
        rows_by_split: the row indices of each split.
        weights: the weights of all rows, or None.
    """
    order = torch.cat(list(rows_by_split.values()))
    inputs, targets = inputs[order], targets[order]
    weights = None if weights is None else weights[order]
    splits, start = {}, 0
    for name, rows in rows_by_split.items():
        splits[name] = Split(inputs, targets, slice(start, start + len(rows)), weights)
        start += len(rows)
    return splits, order


def resplit(dataset: Dataset, config: DatasetConfig) -> Dataset:
    """Split the dataset's table again, as another config says. The table in memory is shared.

    Args:
        dataset: a dataset whose scaling does not depend on the split.
        config: another config of the same table.
    """
    assert dataset.order is not None
    indices = torch.argsort(dataset.order)
    train = dataset.splits["train"]
    rows_by_split = split_rows(config, train.all_targets[indices])
    again = {name: replace(train, rows=indices[rows]) for name, rows in rows_by_split.items()}
    others = {
        name: split for name, split in dataset.splits.items() if split.all_inputs is not train.all_inputs
    }
    return replace(dataset, splits=again | others)


def column_scaling(values: Tensor, weights: Tensor | None = None) -> Affine:
    """Return mean and standard deviation of each column; a constant column gets the standard deviation 1.

    Args:
        values: (rows, columns).
        weights: (rows,) how much each row counts; None: all the same.
    """
    rows = max(1, BLOCK // values.shape[1])  # float64 copies of all rows at once would take much longer
    parts = torch.split(values, rows)
    shares = [None] * len(parts) if weights is None else torch.split(weights.double(), rows)

    def average(function: Callable[[Tensor], Tensor]) -> Tensor:
        total = torch.zeros(values.shape[1], dtype=torch.float64)
        for part, share in zip(parts, shares, strict=True):
            found = function(part.double())
            total += found.sum(0) if share is None else share @ found
        return total / (len(values) if weights is None else weights.double().sum())

    mean = average(lambda part: part)
    std = average(lambda part: (part - mean).square_()).sqrt()
    varies = (values != values[:1]).any(0) & (std > 0)  # rounding alone may give a constant column a std
    return Affine(mean.float(), torch.where(varies, std, 1.0).float())


def channel_scaling(pixels: Tensor, channels: int) -> Affine:
    """Return mean and standard deviation (channels,) of each channel of images (rows, pixels)."""
    values = pixels.reshape(len(pixels), channels, -1)
    count = values.shape[0] * values.shape[2]
    # In parts, since float64 copies of all rows at once would take twice the memory of the rows.
    parts = torch.split(values, 4096)
    mean = (
        sum((part.double().sum((0, 2)) for part in parts), torch.zeros(channels, dtype=torch.float64)) / count
    )
    squares = ((part.double() - mean[:, None]).square().sum((0, 2)) for part in parts)
    std = (sum(squares, torch.zeros(channels, dtype=torch.float64)) / count).sqrt()
    return Affine(mean.float(), torch.where(std > 0, std, torch.ones_like(std)).float())
