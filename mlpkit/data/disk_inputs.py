"""Reads the inputs of a table on the disk into memory, some rows at a time."""

import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpkit.data.arrays import read_npy
from mlpkit.errors import DataError
from mlpkit.system.free_memory import free_memory
from mlpkit.system.platform import BINARY, DIRECT

PAGE = 4096  # direct reads begin and end at multiples of it, in the file and in memory
PORTION = 1 << 22  # bytes that are read at once: they stay in the processor's cache until they are used


class InputsFile:
    """Reads rows of `inputs.npy`: faster than through a map, and without more memory.

    A file that is larger than the free memory is read directly, not through the system's cache. The cache
    could not hold it until the next pass, and emptying it takes more processor time than all the rest.

    The file stays open, so that a run goes on if the table is removed from the cache of tables.
    """

    def __init__(self, path: Path, free: int | None = None) -> None:
        """Open the file, and find where the rows begin.

        Args:
            path: the file.
            free: bytes of memory that the system's cache may take; None: what is free.

        Raises:
            DataError: the file is damaged.
        """
        array: Any = read_npy(path)
        self._path, self._start, self._row = path, array.offset, array.nbytes // len(array)
        self._most = max(1, PORTION // self._row)  # rows of a portion
        self._memory = mmap.mmap(-1, _whole_pages(self._most * self._row) + PAGE)
        is_large = array.nbytes > (free_memory() if free is None else free)
        self._is_direct = False
        self._stream = self._open(DIRECT if is_large else 0)
        weakref.finalize(self, self._stream.close)

    def _open(self, flag: int) -> FileIO:
        """Open the file; without the flag if the file system does not know it."""
        if flag:
            with suppress(OSError):
                stream = FileIO(os.open(self._path, os.O_RDONLY | BINARY | flag))
                try:
                    stream.readinto(memoryview(self._memory)[:PAGE])
                    self._is_direct = True
                    return stream
                except OSError:
                    stream.close()
        return self._path.open("rb", buffering=0)

    def portions(self, first: int, stop: int) -> Iterator[NDArray[np.float32]]:
        """Yield some rows that follow each other, as (n, features); each portion is gone at the next.

        Raises:
            DataError: the file cannot be read.
        """
        for row in range(first, stop, self._most):
            rows = min(self._most, stop - row)
            begin = self._start + row * self._row
            skipped = begin % PAGE
            self._fill(begin - skipped, skipped + rows * self._row)
            count = rows * self._row // 4
            yield np.frombuffer(self._memory, np.float32, count, skipped).reshape(rows, -1)

    def _fill(self, begin: int, size: int) -> None:
        """Read whole pages of the file to the start of the memory; `size` bytes of them are needed."""
        content, done = memoryview(self._memory)[: _whole_pages(size)], 0
        try:
            self._stream.seek(begin)
            while done < size and (count := self._stream.readinto(content[done:])):
                done += count
                if self._is_direct and done % PAGE:
                    break  # at the end of the file, from which a direct read must not go on
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror})") from None
        if done < size:
            raise DataError(f"{self._path}: shorter than it was; remove it with mlpkit clean --cache --yes")


def _whole_pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
