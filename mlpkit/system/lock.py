"""A lock on a folder: only one process writes to it. The system releases it when the process ends."""

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout

from mlpkit.errors import LockedError, WriteError
from mlpkit.system.failed_write import failed_write
from mlpkit.system.platform import NO_FOLLOW, NO_WAIT, is_alive

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # the file system has no locks
LARGEST_NAME = 300  # bytes of the holder's name
_HOLDER = re.compile(r"process (?P<number>[0-9]{1,9}) on (?P<host>.+)")
_TRIES = 100  # 0.01 seconds apart


@contextmanager
def locked(path: Path, before_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock during the block.

    Args:
        path: the lock file; it names the holder, and is deleted afterwards.
        before_wait: called if another process holds the lock; then this one waits. None: it does not wait.

    Raises:
        LockedError: another process holds the lock; the message has its host and process id.
        WriteError: the file cannot be created.
    """
    lock = _acquire(path, before_wait)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the release: nobody else can hold it yet; Windows deletes it on release
        lock.release()


def is_held(path: Path) -> bool:
    """Whether the process that a lock file names is alive, as far as this machine can tell.

    The lock is not tried, so that nobody who needs it now is refused.
    """
    holder = _HOLDER.fullmatch(_holder(path))
    return holder is not None and (holder["host"] != socket.gethostname() or is_alive(int(holder["number"])))


def _acquire(path: Path, before_wait: Callable[[], None] | None) -> FileLock:
    if _has_other_names(path):
        raise WriteError(f"{path}: may lead out of the run; remove the link")
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False, on_acquired=_write_holder)
    for _ in range(_TRIES):
        try:
            lock.acquire()
        except Timeout:
            if before_wait is not None:
                before_wait()
                lock.timeout = -1  # as long as it takes
                continue
            if holder := _holder(path):
                raise LockedError(
                    f"{path.parent}: in use by {holder}; wait until it has ended, or stop it"
                ) from None
            time.sleep(0.01)  # the holder is about to write its name, or has just deleted the file
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise failed_write(path, error) from None
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


# The name starts at the second byte: Windows locks the first one, so other processes cannot read it.


def _write_holder(descriptor: int) -> None:
    with suppress(OSError):  # on a full disk the lock works without a name
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
