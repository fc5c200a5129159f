"""A table of encoded rows on the disk, for tables that are larger than memory.

It is a folder in the user's cache: `inputs.npy`, `targets.npy` and perhaps `weights.npy`, and `table.json`
with the rest. Each split is a range of its rows. Within a split the rows lie in blocks of equal size. Which
block a row is in is drawn at random, so each block is a random part of the split.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from mlpkit.data.input_schema import InputSchema

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
