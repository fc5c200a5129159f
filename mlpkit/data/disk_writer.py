"""Writes a table to the disk in little memory: rows come in the order of their file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.disk_table import INPUTS, TARGETS, WEIGHTS
from mlpkit.system.failed_write import failed_write

SMALLEST_BLOCK, LARGEST_BLOCK = 1 << 16, 1 << 25  # bytes of inputs
MOST_BLOCKS = 512  # of a table, unless that makes them larger than LARGEST_BLOCK

Array = NDArray[Any]


def block_rows(rows: int, features: int) -> int:
    """Return how many rows the blocks of a table have. It depends on the table alone."""
    size = min(max(rows * features * 4 // MOST_BLOCKS, SMALLEST_BLOCK), LARGEST_BLOCK)
    return max(1, size // (features * 4))


class DiskWriter:
    """Writes the rows of all splits.

    Each row has a place in its split, from a permutation of all of them, that decides its block. In its block
    it goes behind the rows that came before it: training shuffles the rows of a block in any case.
    """

    def __init__(
        self,
        folder: Path,
        splits: Mapping[str, range],
        features: int,
        targets: Array,
        block: int,
        is_weighted: bool,
    ) -> None:
        """Make the files in their full sizes; on most systems they take no space before rows are written.

        Args:
            folder: an empty folder.
            splits: the rows of each split in the table.
            features: the number of features.
            targets: some targets, (rows,) or (rows, targets), for their shape and dtype.
            block: rows of a block.
            is_weighted: whether rows have weights.

        Raises:
            WriteError: a file cannot be written.
        """
        rows = max(split.stop for split in splits.values())
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            INPUTS: ((rows, features), np.float32),
            TARGETS: ((rows, *targets.shape[1:]), targets.dtype),
        }
        if is_weighted:
            shapes[WEIGHTS] = (rows,), np.float32
        self._files = [_File(folder / name, *about) for name, about in shapes.items()]
        self._splits, self._block = splits, block
        self._filled = {name: np.zeros(-(-len(split) // block), np.int64) for name, split in splits.items()}

    def add(self, split: str, places: NDArray[np.int64], rows: tuple[Array, ...]) -> None:
        """Write some rows of a split.

        Args:
            split: its name.
            places: the place of each row in the split.
            rows: their inputs, their targets and, if rows are weighted, their weights.

        Raises:
            WriteError: they cannot be written.
        """
        blocks = places // self._block
        order = np.argsort(blocks, kind="stable")
        ordered = [values[order] for values in rows]
        numbers, starts = np.unique(blocks[order], return_index=True)
        filled = self._filled[split]
        for number, first, last in zip(numbers, starts, [*starts[1:], len(order)], strict=True):
            at = self._splits[split].start + number * self._block + filled[number]
            filled[number] += last - first
            for file, values in zip(self._files, ordered, strict=True):
                file.write(int(at), values[first:last])

    def flush(self) -> None:
        """Flush the files to the disk.

        Raises:
            WriteError: they cannot be written.
        """
        for file in self._files:
            file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class _File:
    """A .npy file that is written row by row, at any place."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self._path = path
        self._row = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
        try:
            with path.open("xb") as stream:
                header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
                np.lib.format.write_array_header_2_0(stream, {**header, "shape": shape})
                self._start = stream.tell()
                stream.truncate(self._start + shape[0] * self._row)
            self._stream = path.open("r+b", buffering=0)
        except OSError as error:
            raise failed_write(path, error) from None

    def write(self, row: int, values: Array) -> None:
        content = np.ascontiguousarray(values).data.cast("B")
        try:
            self._stream.seek(self._start + row * self._row)
            while content:
                content = content[self._stream.write(content) :]
        except OSError as error:
            raise failed_write(self._path, error) from None

    def flush(self) -> None:
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise failed_write(self._path, error) from None

    def close(self) -> None:
        self._stream.close()
