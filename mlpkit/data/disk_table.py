"""A table of encoded rows on the disk, for tables that are larger than memory.

It is a folder in the user's cache: `inputs.npy`, `targets.npy` and perhaps `weights.npy`, and `table.json`
with the rest. Each split is a range of its rows. Within a split the rows lie in blocks of equal size. Which
block a row is in is drawn at random, so each block is a random part of the split.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from mlpkit.data.arrays import read_npy
from mlpkit.data.dataset import SPLITS, Dataset, Split
from mlpkit.data.input_schema import InputSchema
from mlpkit.data.scaling import Affine
from mlpkit.errors import DataError
from mlpkit.system.paths import cache_folder

FORMAT = 1
INPUTS, TARGETS, WEIGHTS, HEADER = "inputs.npy", "targets.npy", "weights.npy", "table.json"

_STRICT = ConfigDict(strict=True, extra="forbid")
Numbers = tuple[float, ...]
Count = Annotated[int, Field(ge=0, lt=2**48)]


@dataclass(frozen=True, config=_STRICT)
class SplitFacts:
    """What is known about the rows of a split without reading them.

    Attributes:
        start: its first row.
        stop: the row behind its last one.
        means: the mean of each target of a regression; else ().
        least: the smallest value of each target, or the lowest label.
        most: the largest value of each target, or the highest label.
        weights: the sum of the weights of the rows of each class; of all rows if there are no classes.
    """

    start: Count
    stop: Count
    means: Numbers
    least: Numbers
    most: Numbers
    weights: Numbers


@dataclass(frozen=True, config=_STRICT)
class Header:
    """The content of `table.json`.

    Attributes:
        format: the version of the format.
        sources: the files that it was made from.
        schema: of inputs and targets.
        block: rows of a block; the last one of each split may have fewer.
        splits: by name.
        low: the smallest value of each input among the training rows.
        high: the largest.
        input_scaling: mean and std of the inputs, if the model scales them.
        target_scaling: mean and std of the targets, likewise.
        is_weighted: whether rows have weights.
        remarks: lines to print.
        inferred: see `Dataset.inferred`.
        checksum: hash of all rows in the order of the sources, and of how they are split.
    """

    format: int
    sources: tuple[str, ...]
    schema: InputSchema
    block: Count
    splits: dict[str, SplitFacts]
    low: Numbers
    high: Numbers
    checksum: str
    input_scaling: tuple[Numbers, Numbers] | None = None
    target_scaling: tuple[Numbers, Numbers] | None = None
    is_weighted: bool = False
    remarks: tuple[str, ...] = ()
    inferred: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DiskTable:
    """A table on the disk, and how much memory may be used to train on it.

    Attributes:
        folder: its folder.
        header: see there.
        memory: `dataset.memory` in bytes.
    """

    folder: Path
    header: Header
    memory: int

    @property
    def rows(self) -> int:
        """The number of rows of all splits."""
        return max(facts.stop for facts in self.header.splits.values())

    def extremes(self, split: str) -> Tensor:
        """Return the smallest and the largest target of a split, (2, targets); (2,) labels for classes."""
        facts, is_class = self.header.splits[split], bool(self.header.schema.classes)
        both = torch.tensor([facts.least, facts.most], dtype=torch.float32)
        return both[:, 0].long() if is_class else both


def tables_folder() -> Path:
    """Return the folder of all tables on the disk, in the user's cache."""
    return cache_folder() / "tables"


def write_header(folder: Path, header: Header) -> None:
    """Write `table.json`, the last file of a table."""
    (folder / HEADER).write_bytes(TypeAdapter(Header).dump_json(header, indent=1))


def open_table(folder: Path, memory: int) -> DiskTable:
    """Return a table on the disk.

    Raises:
        DataError: it is damaged, or of another version of mlpkit.
    """
    try:
        header = TypeAdapter(Header).validate_json((folder / HEADER).read_bytes())
    except (OSError, ValidationError):
        raise _damaged(folder) from None
    if header.format != FORMAT or not header.splits or set(header.splits) - set(SPLITS):
        raise _damaged(folder)
    return DiskTable(folder, header, memory)


def as_dataset(table: DiskTable, name: str, is_inferred: bool) -> Dataset:
    """Return the dataset of a table; its tensors are files that are mapped into memory, and read-only.

    Args:
        table: the table.
        name: the dataset's name.
        is_inferred: whether `dataset.memory` is null in its config. The run's config keeps what it was, since
            the order of the rows depends on it.

    Raises:
        DataError: a file is missing or has another shape than the header says.
    """
    header, folder, schema = table.header, table.folder, table.header.schema
    shape = (table.rows,) if schema.classes else (table.rows, len(schema.targets))
    inputs = _mapped(folder / INPUTS, (table.rows, len(schema.features)), np.float32)
    targets = _mapped(folder / TARGETS, shape, np.int64 if schema.classes else np.float32)
    weights = _mapped(folder / WEIGHTS, (table.rows,), np.float32) if header.is_weighted else None
    splits = {
        name: Split(inputs, targets, slice(facts.start, facts.stop), weights)
        for name, facts in header.splits.items()
    }
    return Dataset(
        name=name,
        input_schema=schema,
        splits=splits,
        input_scaling=_affine(header.input_scaling),
        target_scaling=_affine(header.target_scaling),
        remarks=header.remarks,
        inferred={**header.inferred, **({"memory": table.memory} if is_inferred else {})},
        disk=table,
    )


def _affine(scaling: tuple[Numbers, Numbers] | None) -> Affine | None:
    return None if scaling is None else Affine(*(torch.tensor(part, dtype=torch.float32) for part in scaling))


def _mapped(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
    try:
        array: NDArray[Any] = read_npy(path)
    except DataError:
        raise _damaged(path.parent) from None
    if array.shape != shape or array.dtype != dtype:
        raise _damaged(path.parent)
    return read_only_tensor(array)


def read_only_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor of an array that must not be written to; torch warns of it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array)


def _damaged(folder: Path) -> DataError:
    return DataError(f"{folder}: a damaged table of an older run; remove it with mlpkit clean --cache --yes")
