"""Writes a file whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpkit.errors import WriteError

SUFFIX = ".tmp"  # of a file that is being written; what a killed process leaves has it too

_unfinished: set[str] = set()
_together = False  # whether somebody flushes what is written now later on


def atomic_write(path: Path, content: bytes) -> None:
    """Write beside the path, flush to the disk, and rename: a reader sees the old file or the new one.

    Raises:
        WriteError: with the path and the number of bytes; the old file or the new one is there, whole.
    """
    temporary = None
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=SUFFIX, dir=path.parent)
        _unfinished.add(temporary)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            flush(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp lets only the owner read, whatever the user's mask
        Path(temporary).replace(path)
        _unfinished.discard(temporary)
        temporary = None
        sync_folder(path.parent)  # the rename itself must survive a power cut
    except OSError as error:
        raise WriteError(
            f"{path}: cannot write {len(content)} bytes ({error.strerror or error}); "
            "free some space or choose another place"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
            _unfinished.discard(temporary)


def flush(descriptor: int) -> None:
    """Flush a file to the disk: now, or together with the others."""
    if not _together:
        os.fsync(descriptor)


@contextmanager
def flushed_together(wanted: bool = True) -> Iterator[None]:
    """Flush all that is written inside to the disk at the end, at once.

    A hundred small runs that end together write a thousand small files, and to wait for each of them takes
    a hundred times as long. What must not be ahead of them on the disk is written after the block.

    Args:
        wanted: else each file is flushed by itself, as ever.
    """
    global _together
    before, _together = _together, _together or wanted
    try:
        yield
    finally:
        _together = before
        if wanted and not before:
            os.sync()


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        flush(folder)
    finally:
        os.close(folder)


def remove_unfinished() -> None:
    """Remove what is being written, for a process that is about to end without ceremony."""
    for temporary in list(_unfinished):
        Path(temporary).unlink(missing_ok=True)
