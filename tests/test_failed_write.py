"""What is said of a write that failed: the system's reason, and the way out that fits it."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from mlpkit.errors import WriteError
from mlpkit.system.atomic_write import atomic_write
from mlpkit.system.failed_write import failed_write


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "raise the largest size of a file (ulimit -f)"),
        (errno.EMFILE, "raise the number of open files (ulimit -n)"),
        (errno.EACCES, "make it writable, or choose another place"),
        (errno.EROFS, "choose a place that can be written to"),
        (errno.EIO, "check the disk, or choose another place"),
    ],
)
def test_the_way_out_fits_the_reason(number: int, way_out: str) -> None:
    reason = os.strerror(number)
    said = str(failed_write("a/b", OSError(number, reason), "cannot write 3 bytes"))
    assert said == f"a/b: cannot write 3 bytes ({reason}); {way_out}"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300)
    with pytest.raises(WriteError) as caught:
        atomic_write(path, b"123")
    assert str(caught.value) == f"{path}: cannot write 3 bytes (File name too long); choose a shorter name"


def test_a_database_says_its_own_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()
    said = f"{path}: cannot be written (database or disk is full); free some space"
    assert str(failed_write(path, caught.value)) == said
