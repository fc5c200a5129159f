"""One writer for a run folder: a lock that the system frees however its holder ends."""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpkit.errors import LockedError, WriteError

_UNKNOWN_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # a file system without locks


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run while the block runs.

    Args:
        path: the lock's file, which says who holds it, and is gone afterwards.

    Raises:
        LockedError: another process holds it; with its host and number.
        WriteError: the file cannot be made.
    """
    descriptor = _take(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is still ours
        os.close(descriptor)


def _take(path: Path) -> int:
    patience = 100
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise WriteError(f"{path}: cannot be written ({error.strerror})") from None
        if os.fstat(descriptor).st_nlink > 1:  # another name of a file that lies elsewhere
            os.close(descriptor)
            raise WriteError(f"{path}: may lead out of the run; remove the link")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if not holder and (patience := patience - 1):  # it is just about to write its name
                time.sleep(0.01)
                continue
            raise LockedError(
                f"{path.parent}: in use by {holder or 'another process'}; wait until it has ended, or stop it"
            ) from None
        except OSError as error:
            if error.errno not in _UNKNOWN_HERE:
                os.close(descriptor)
                raise WriteError(f"{path}: cannot be locked ({error.strerror})") from None
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its last holder has removed it between our two calls
    with contextlib.suppress(OSError):  # a full disk takes the name away, not the lock
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
