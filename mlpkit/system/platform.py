"""What Linux, macOS and Windows do differently: each difference, and what stands in for it, is decided here.

Every function asks for the system when it is called, so that a test can switch a fallback on. mypy checks
each branch for its own system (`make lint`).
"""

import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress

BINARY = getattr(os, "O_BINARY", 0)  # flag of os.open: Windows would change line ends
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # do not follow a link; Windows has no such flag
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # do not wait until somebody writes to a pipe

TICKS = 100  # in a second of /proc/stat, where the system does not say


def start_method() -> str:
    """Return how multiprocessing starts a process; `spawn` loads torch anew in each."""
    return "spawn" if sys.platform == "win32" else "forkserver"


def flushes_folders() -> bool:
    """Whether a folder's list of names can be flushed to the disk; Windows keeps it safe by itself."""
    return sys.platform != "win32"


def flush_all() -> Callable[[], None] | None:
    """Return what flushes all files to the disk at once; None on Windows, where each is flushed by itself."""
    if sys.platform == "win32":
        return None
    return os.sync


def user_id() -> int:
    """Return the user's number; 0 on Windows, where every file's owner has that number too."""
    if sys.platform == "win32":
        return 0
    return os.getuid()


def give_owner(path: str, old: os.stat_result) -> None:
    """Give a new file the owner of an old one; on Windows it keeps the rights of its folder."""
    if sys.platform != "win32" and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # only root may give a file away
            os.chown(path, old.st_uid, old.st_gid)


def memory_limit() -> int | None:
    """Return the limit on this process's memory in bytes (`ulimit -v`); None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def raise_file_limit(wanted: int) -> int | None:
    """Let this process open more files, where it may.

    Args:
        wanted: how many at once.

    Returns:
        How many it may open; None where there is no limit.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def interruptions() -> int:
    """Return how often this process has lost its core to another one; always 0 on Windows."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def fails_in_a_fork(attempt: Callable[[], None]) -> bool:
    """Whether a forked process that calls a function ends in any other way than by returning from it.

    On Windows, which cannot fork, nothing is tried.
    """
    if sys.platform == "win32":
        return False
    number = os.fork()
    if number == 0:
        try:
            attempt()
        except BaseException:  # such as a SystemError where memory runs out within an import
            os._exit(1)
        os._exit(0)
    return os.waitpid(number, 0)[1] != 0


def usable_cores() -> Collection[int]:
    """Return the numbers of the cores that the process may run on: all, where the system does not say."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def ticks_per_second() -> int:
    """Return in which parts of a second /proc/stat counts."""
    if sys.platform == "win32":
        return TICKS
    return os.sysconf("SC_CLK_TCK")
