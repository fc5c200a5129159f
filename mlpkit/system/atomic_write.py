"""Atomic writes: a file is written completely or not at all, and temporary files are removed.

Not a library: `atomicwrites` is no longer maintained, and none flushes the files of many runs together.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mlpkit.system.failed_write import failed_write
from mlpkit.system.platform import flush_all, flushes_folders, give_owner

SUFFIX = ".tmp"  # of temporary files, also those that a killed process leaves behind

_unfinished: set[str] = set()  # temporary files and folders
_together = False  # whether a `flushed_together` block will flush everything at its end


def atomic_write(path: Path, content: bytes) -> None:
    """Write a temporary file beside the path, flush it to the disk, and rename it over the path.

    A reader sees the old file or the new one. The mode and owner of an existing file are kept. A symbolic
    link is replaced; its target is untouched.

    Raises:
        WriteError: writing failed; the path still holds the complete old file, or the complete new one.
    """
    try:
        with atomic_stream(path) as stream:
            stream.write(content)
    except OSError as error:
        raise failed_write(path, error, f"cannot write {len(content)} bytes") from None


@contextmanager
def atomic_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces the path when the block ends, as `atomic_write` does; never if it fails.

    Raises:
        OSError: writing failed.
    """
    temporary = None
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent.parent)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=SUFFIX, dir=path.parent)
        _unfinished.add(temporary)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            flush(stream.fileno())
        _give_rights(temporary, path)
        Path(temporary).replace(path)
        _unfinished.discard(temporary)
        temporary = None
        sync_folder(path.parent)  # the rename itself must survive a power cut
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
            _unfinished.discard(temporary)


def _give_rights(temporary: str, path: Path) -> None:
    """Give a new file the mode and owner of the file that it replaces; else the default mode (umask)."""
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
    Path(temporary).chmod(mode)  # mkstemp ignores the umask: only the owner may read


def flush(descriptor: int) -> None:
    """Flush a file to the disk; inside `flushed_together`, leave it to the end of the block."""
    if not _together:
        os.fsync(descriptor)


@contextmanager
def flushed_together(wanted: bool = True) -> Iterator[None]:
    """Flush all files written in the block together, at its end.

    A hundred small runs that end together write a thousand small files: flushing each alone takes a hundred
    times as long. Files that must not reach the disk before these are written after the block.

    Args:
        wanted: False flushes each file when it is written.
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
    """Flush a folder's directory entries to the disk."""
    if not flushes_folders():
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        flush(folder)
    finally:
        os.close(folder)


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Create a temporary folder inside `beside`, and delete it with its content after the block."""
    folder = tempfile.mkdtemp(prefix=".mlpkit.", suffix=SUFFIX, dir=beside)
    _unfinished.add(folder)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unfinished.discard(folder)


def remove_at_exit(folder: str) -> None:
    """Delete a temporary folder when the program ends, as the atexit handler that os._exit skips would."""
    _unfinished.add(folder)


def remove_unfinished() -> None:
    """Delete temporary files and folders before os._exit."""
    for temporary in list(_unfinished):
        if Path(temporary).is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            Path(temporary).unlink(missing_ok=True)
