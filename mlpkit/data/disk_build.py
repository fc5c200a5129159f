"""Builds a table on the disk from parts of its rows, and finds out what its header says of them."""

import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.dataset import SPLITS
from mlpkit.data.disk_cache import check_room
from mlpkit.data.disk_splits import DrawnSplits
from mlpkit.data.disk_table import SplitFacts
from mlpkit.data.disk_writer import DiskWriter, block_rows
from mlpkit.data.moments import Moments
from mlpkit.errors import DataError

Array = NDArray[Any]


class DiskBuild:
    """Writes rows as they come, and adds up what is known of them.

    Attributes:
        block: rows of a block.
        inputs: the moments of the inputs of the training rows.
        targets: the moments of the targets of each split; of the labels of classes.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Mapping[str, int],
        features: int,
        targets: Array,
        classes: int = 0,
        is_weighted: bool = False,
    ) -> None:
        """Make the files.

        Args:
            folder: an empty folder.
            sizes: the number of rows of each split.
            features: the number of features.
            targets: some targets, (rows, targets) float32 or (rows,) labels.
            classes: the number of classes; 0 if there are none.
            is_weighted: whether rows have weights.

        Raises:
            WriteError: there is too little room, or a file cannot be written.
        """
        rows, row = sum(sizes.values()), features * 4 + targets[:1].nbytes + 4 * is_weighted
        check_room(folder, rows * row)
        self.block, start = block_rows(sizes["train"], features), 0
        self._ranges: dict[str, range] = {}
        for name in SPLITS:
            if sizes.get(name):
                self._ranges[name] = range(start, start + sizes[name])
                start += sizes[name]
        self._writer = DiskWriter(folder, self._ranges, features, targets, self.block, is_weighted)
        self._classes, columns = classes, 1 if targets.ndim == 1 else targets.shape[1]
        self.inputs = Moments(features)
        self.targets = {name: Moments(columns) for name in self._ranges}
        self._weights = {name: np.zeros(max(1, classes)) for name in self._ranges}
        self._checksums = [0, 0, 0]  # of inputs, targets and weights

    def add(
        self, drawn: DrawnSplits, first: int, inputs: Array, targets: Array, weights: Array | None = None
    ) -> None:
        """Write rows that follow each other.

        Args:
            drawn: the splits of the rows.
            first: the number of the first row; see `DrawnSplits.of`.
            inputs: (rows, features) float32.
            targets: (rows, targets) float32, or (rows,) labels.
            weights: (rows,) float32, if rows are weighted.

        Raises:
            WriteError: they cannot be written.
        """
        rows = (inputs, targets) if weights is None else (inputs, targets, weights)
        for number, values in enumerate(rows):
            content = np.ascontiguousarray(values).data.cast("B")
            self._checksums[number] = zlib.crc32(content, self._checksums[number])
        for name, own, places in drawn.of(np.arange(first, first + len(inputs))):
            of_split = tuple(values[own] for values in rows)
            self._writer.add(name, places, of_split)
            if name == "train":
                self.inputs.add(of_split[0])
            self.targets[name].add(of_split[1].reshape(len(own), -1))
            labels = of_split[1] if self._classes else np.zeros(len(own), np.int64)
            each = None if weights is None else of_split[2].astype(np.float64)
            self._weights[name] += np.bincount(labels, each, len(self._weights[name]))

    def flush(self) -> None:
        """Flush the files to the disk, once all rows are written.

        Raises:
            WriteError: they cannot be written.
        """
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()

    def facts(self) -> dict[str, SplitFacts]:
        """Return what is known of each split.

        Raises:
            DataError: all training rows have the same class, or all rows of a split have the weight 0.
        """
        train = self.targets["train"]
        if self._classes and train.low[0] == train.high[0]:
            raise DataError(
                f"dataset: the {int(train.count):,} training rows all have the same class; add rows of other "
                "classes"
            )
        if empty := next((name for name, sums in self._weights.items() if not sums.any()), None):
            raise DataError(
                f"dataset: all rows of {empty} have the weight 0; give one of them a weight above 0"
            )
        return {
            name: SplitFacts(
                rows.start,
                rows.stop,
                () if self._classes else tuple(self.targets[name].mean.tolist()),
                tuple(self.targets[name].low.tolist()),
                tuple(self.targets[name].high.tolist()),
                tuple(self._weights[name].tolist()),
            )
            for name, rows in self._ranges.items()
        }

    def checksum(self, *about: object) -> str:
        """Return a hash of the rows, of their splits, and of what else decides them."""
        sizes = [(name, len(rows)) for name, rows in self._ranges.items()]
        return blake2b(repr((self._checksums, sizes, about)).encode(), digest_size=16).hexdigest()
