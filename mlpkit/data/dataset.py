"""Datasets: splits of raw inputs and targets as tensors, with their input schema."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mlpkit.data.input_schema import InputSchema
from mlpkit.data.scaling import Affine

if TYPE_CHECKING:
    from mlpkit.data.disk_table import DiskTable

SPLITS = ("train", "val", "test")
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
