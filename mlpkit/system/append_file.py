"""Appends to a file: a write that fails is undone.

A process that is killed may leave a partial line, so a resumed run must check the end of the file.

Not Python's own file objects: they buffer, so a full disk is noticed late and leaves a partial line.
"""

import contextlib
import os
from pathlib import Path

from mlpkit.system.atomic_write import flush, sync_folder
from mlpkit.system.failed_write import failed_write
from mlpkit.system.platform import BINARY, NO_FOLLOW


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, created if missing. Bytes of file names that are not UTF-8 are kept.

    Raises:
        WriteError: the line cannot be written.
    """
    file = AppendFile(path)
    try:
        file.write(f"{line}\n".encode(errors="surrogateescape"))
    finally:
        file.close()


class AppendFile:
    """An open file, unbuffered, so that each write raises its own error."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open the file, creating it if missing.

        Args:
            path: the file; a symbolic link is refused, since it may lead out of the run folder.
            size: truncate the file to this many bytes first; None keeps everything.

        Raises:
            WriteError: the file cannot be opened for writing.
        """
        self.path = path
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY | NO_FOLLOW
            new = not path.exists()
            self._descriptor = os.open(path, flags, 0o666)
            if new:
                sync_folder(path.parent)
        except OSError as error:
            raise failed_write(path, error, "cannot be opened for writing") from None
        try:
            if size is not None:
                os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.close()
            raise failed_write(path, error, "cannot be opened for writing") from None

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises:
            WriteError: not everything could be written; the file is as before.
        """
        before, rest = os.fstat(self._descriptor).st_size, memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise failed_write(self.path, error, f"cannot write {len(content)} bytes") from None

    def sync(self) -> None:
        """Flush the file to the disk.

        Raises:
            WriteError: the system reports an error.
        """
        try:
            flush(self._descriptor)
        except OSError as error:
            raise failed_write(self.path, error, "cannot be flushed to the disk") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
