"""Writes a file whole or not at all; what is not whole is removed.

Not a library: `atomicwrites` is no longer maintained, and none flushes the files of many runs together.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpkit.errors import WriteError
from mlpkit.system.platform import flush_all, flushes_folders, give_owner

SUFFIX = ".tmp"  # of a file that is being written; what a killed process leaves has it too

_unfinished: set[str] = set()  # files and folders
_together = False  # whether somebody flushes what is written now later on


def atomic_write(path: Path, content: bytes) -> None:
    """Write beside the path, flush to the disk, and rename: a reader sees the old file or the new one.

    A file that is there keeps its mode and its owner; a link is replaced, and where it leads is untouched.

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
        _give_rights(temporary, path)
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


def _give_rights(temporary: str, path: Path) -> None:
    """Give a new file the mode and owner of the one that it replaces, else what the user's mask allows."""
    try:
        old = path.lstat()
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISREG(old.st_mode):
        give_owner(temporary, old)
        mode = old.st_mode & 0o777
    else:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    Path(temporary).chmod(mode)  # mkstemp lets only the owner read, whatever the user's mask


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
    before, flush_now = _together, flush_all() if wanted and not _together else None
    _together = before or flush_now is not None
    try:
        yield
    finally:
        _together = before
        if flush_now is not None:
            flush_now()


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to the disk."""
    if not flushes_folders():
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        flush(folder)
    finally:
        os.close(folder)


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Make a folder in another one, and remove it after the block with all that is still in it."""
    folder = tempfile.mkdtemp(prefix=".mlpkit.", suffix=SUFFIX, dir=beside)
    _unfinished.add(folder)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unfinished.discard(folder)


def remove_unfinished() -> None:
    """Remove what is being written, for a process that is about to end without ceremony."""
    for temporary in list(_unfinished):
        if Path(temporary).is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            Path(temporary).unlink(missing_ok=True)
