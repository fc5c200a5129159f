"""A file that grows a piece at a time; a piece that cannot be written whole leaves nothing of it.

A process that is killed may leave half a piece: who goes on has to look at the end of the file.

Not a library: Python's files buffer, so that a full disk is noticed late and half a line stays behind.
"""

import contextlib
import os
from pathlib import Path

from mlpkit.errors import WriteError
from mlpkit.system.atomic_write import flush, sync_folder
from mlpkit.system.platform import BINARY, NO_FOLLOW


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, made where it is missing; names that are not UTF-8 stay as they are.

    Raises:
        WriteError: that failed.
    """
    file = AppendFile(path)
    try:
        file.write(f"{line}\n".encode(errors="surrogateescape"))
    finally:
        file.close()


class AppendFile:
    """An open file. Nothing waits in a buffer, so that an error is raised where it happens."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open the file, made where it is missing.

        Args:
            path: where it lies; a link is refused, since it may lead out of the run.
            size: cut it to so many bytes first; None keeps what is there.

        Raises:
            WriteError: it cannot be opened for writing.
        """
        self.path = path
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY | NO_FOLLOW
            new = not path.exists()
            self._descriptor = os.open(path, flags, 0o666)
            if new:
                sync_folder(path.parent)
        except OSError as error:
            raise WriteError(f"{path}: cannot be opened for writing ({error.strerror})") from None
        try:
            if size is not None:
                os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.close()
            raise WriteError(f"{path}: cannot be opened for writing ({error.strerror})") from None

    def write(self, content: bytes) -> None:
        """Append a piece.

        Raises:
            WriteError: with the path and the number of bytes; the file is as it was before.
        """
        before, rest = os.fstat(self._descriptor).st_size, memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise WriteError(
                f"{self.path}: cannot write {len(content)} bytes ({error.strerror}); free some space"
            ) from None

    def sync(self) -> None:
        """Flush the file to the disk.

        Raises:
            WriteError: that failed.
        """
        try:
            flush(self._descriptor)
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be flushed to the disk ({error.strerror})") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
