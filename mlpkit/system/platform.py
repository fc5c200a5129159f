"""Differences between Linux, macOS and Windows, with a fallback for what a system lacks.

Every function checks sys.platform when it is called, so that a test can switch a fallback on. mypy checks
each branch for its own system (`make lint`).
"""

import os
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress

BINARY = getattr(os, "O_BINARY", 0)  # flag of os.open: without it Windows changes line ends
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # do not follow a symbolic link; Windows has no such flag
DIRECT = getattr(os, "O_DIRECT", 0)  # read past the system's cache; macOS and Windows have no such flag
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # do not wait for a writer when opening a pipe

LONGEST_SOCKET_FOLDER = 70  # bytes; the path of a socket has at most 103, and multiprocessing adds 33
TICKS = 100  # per second in /proc/stat, if the system does not tell


def start_method() -> str:
    """Return the start method for multiprocessing; `spawn` imports torch again in each process.

    The fork server's socket lies in the temporary folder, whose path may be too long for one.
    """
    fits = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_SOCKET_FOLDER
    return "spawn" if sys.platform == "win32" or not fits else "forkserver"


def flushes_folders() -> bool:
    """Whether a folder's directory entries must be flushed to the disk; Windows does it by itself."""
    return sys.platform != "win32"


def flush_all() -> Callable[[], None] | None:
    """Return a function that flushes all files to the disk; None on Windows, where each is flushed alone."""
    if sys.platform == "win32":
        return None
    return os.sync


def user_id() -> int:
    """Return the user id; 0 on Windows, where st_uid of every file is 0 too."""
    if sys.platform == "win32":
        return 0
    return os.getuid()


def is_alive(number: int) -> bool:
    """Whether a process of this machine is alive; on Windows, where asking would end it, always True."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def give_owner(path: str, old: os.stat_result) -> None:
    """Give a file the owner of an old one; on Windows files inherit the permissions of their folder."""
    if sys.platform != "win32" and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # only root may give a file away
            os.chown(path, old.st_uid, old.st_gid)


def memory_limit() -> int | None:
    """Return the limit on this process's memory in bytes (`ulimit -v`); None if there is none."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def physical_memory() -> int:
    """Return the memory of the machine in bytes; on Windows, what is available of it."""
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_ulonglong * 8)(64)  # MEMORYSTATUSEX: its first number is its length in bytes
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status[2])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def raise_file_limit(wanted: int) -> int | None:
    """Raise this process's limit on open files, as far as the system allows.

    Args:
        wanted: number of open files.

    Returns:
        The limit now; None if there is none.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS may allow less than the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def interruptions() -> int:
    """Return the number of involuntary context switches of this process; 0 on Windows."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def fails_in_a_fork(attempt: Callable[[], None]) -> bool:
    """Call a function in a forked process; return whether it raised an error or the process died.

    Windows cannot fork: nothing is called, and the result is False.
    """
    if sys.platform == "win32":
        return False
    number = os.fork()
    if number == 0:
        try:
            attempt()
        except BaseException:  # such as SystemError, if memory runs out during an import
            os._exit(1)
        os._exit(0)
    return os.waitpid(number, 0)[1] != 0


def usable_cores() -> Collection[int]:
    """Return the numbers of the cores that the process may run on; all, if the system does not tell."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def ticks_per_second() -> int:
    """Return the number of /proc/stat's time units in a second."""
    if sys.platform == "win32":
        return TICKS
    return os.sysconf("SC_CLK_TCK")
