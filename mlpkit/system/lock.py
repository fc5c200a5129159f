"""One writer for a run folder: a lock that the system frees however its holder ends."""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout

from mlpkit.errors import LockedError, WriteError
from mlpkit.system.platform import NO_FOLLOW, NO_WAIT

_UNKNOWN_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # a file system without locks
LARGEST_NAME = 300  # bytes of a holder's name
_TRIES = 100  # each 0.01 seconds after the last


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run while the block runs.

    Args:
        path: the lock's file, which says who holds it, and is gone afterwards.

    Raises:
        LockedError: another process holds it; with its host and number.
        WriteError: the file cannot be made.
    """
    lock = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is still ours; Windows removes it with the release
        lock.release()


def _acquire(path: Path) -> FileLock:
    if _has_other_names(path):
        raise WriteError(f"{path}: may lead out of the run; remove the link")
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False, on_acquired=_write_holder)
    for _ in range(_TRIES):
        try:
            lock.acquire()
        except Timeout:
            if holder := _holder(path):
                raise LockedError(
                    f"{path.parent}: in use by {holder}; wait until it has ended, or stop it"
                ) from None
            time.sleep(0.01)  # it is just about to write its name, or has just removed the file
        except OSError as error:
            if error.errno not in _UNKNOWN_HERE:
                raise WriteError(f"{path}: cannot be written ({error.strerror})") from None
            return lock
        else:
            return lock
    raise LockedError(f"{path.parent}: in use by another process; wait until it has ended, or stop it")


def _has_other_names(path: Path) -> bool:
    try:
        about = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and about.st_nlink > 1


# The name begins at the second byte of the file: Windows locks the first one, and lets nobody read it.


def _write_holder(descriptor: int) -> None:
    with suppress(OSError):  # a full disk takes the name away, not the lock
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 1, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(path: Path) -> str:
    with suppress(OSError), FileIO(path, opener=_open) as stream:
        stream.seek(1)
        return stream.read(LARGEST_NAME).decode(errors="replace").strip()
    return ""


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | NO_FOLLOW | NO_WAIT)
