"""The inputs of a table on the disk are read as they were written, through the system's cache or past it."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from mlpkit.data.disk_inputs import PAGE, PORTION, InputsFile
from mlpkit.errors import DataError
from mlpkit.system.platform import DIRECT

NONE, ENOUGH = 0, 1 << 60  # free memory: too little for the file, and enough


@pytest.mark.sampled(3)
@pytest.mark.parametrize("free", [NONE, ENOUGH])
@pytest.mark.parametrize("shape", [(5000, 7), (9, PORTION // 4 + 3), (2300, 1024), (1, 1)])
def test_rows_are_read_as_they_were_written(shape: tuple[int, int], free: int, tmp_path: Path) -> None:
    path, random = tmp_path / "inputs.npy", np.random.default_rng(0)
    array = random.normal(size=shape).astype(np.float32)
    np.save(path, array)
    file, rows = InputsFile(path, free), len(array)
    for first, stop in ((0, rows), (rows // 3, rows // 2), (rows - 1, rows), (rows // 2, rows), (0, 0)):
        found = [portion.copy() for portion in file.portions(first, stop)]
        assert all(portion.nbytes <= max(PORTION, array[0].nbytes) for portion in found)
        read = np.concatenate([array[:0], *found])
        np.testing.assert_array_equal(read, array[first:stop])


@pytest.mark.parametrize("free", [NONE, ENOUGH])
def test_a_file_that_became_shorter_is_an_error(free: int, tmp_path: Path) -> None:
    path = tmp_path / "inputs.npy"
    np.save(path, np.zeros((4000, 100), np.float32))
    file = InputsFile(path, free)
    for size in (PAGE * 100, PAGE * 100 + 7, 0):
        os.truncate(path, size)
        with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: shorter than it was; remove it"):
            list(file.portions(0, 4000))


@pytest.mark.skipif(not DIRECT, reason="this system has no direct reads")
def test_the_file_cache_is_left_out_for_a_file_that_it_cannot_hold(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "inputs.npy"
    np.save(path, np.zeros((4000, 100), np.float32))
    try:
        os.close(os.open(path, os.O_RDONLY | DIRECT))
    except OSError:
        pytest.skip("this file system has no direct reads")
    for free, is_direct in ((NONE, True), (ENOUGH, False)):
        file = InputsFile(path, free)
        assert bool(fcntl.fcntl(file._stream, fcntl.F_GETFL) & DIRECT) == is_direct
