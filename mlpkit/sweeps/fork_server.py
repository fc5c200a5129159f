"""Starts job processes by forking a server that has already imported torch, so that a job starts at once.

On systems without a fork server, each process is spawned and imports torch itself.
"""

import multiprocessing
import signal
from typing import Any

from mlpkit.system.atomic_write import remove_at_exit
from mlpkit.system.platform import start_method


def context() -> Any:
    """Return the multiprocessing context for job processes; its type differs between systems."""
    return multiprocessing.get_context(start_method())


def start() -> None:
    """Start the fork server, if the system has one, without waiting for its imports."""
    if start_method() == "forkserver":
        from multiprocessing import forkserver, resource_tracker, util

        context().set_forkserver_preload(["mlpkit.sweeps.preloaded"])
        # Ctrl-C reaches all processes of a terminal, and would end the server while it imports torch. The
        # jobs inherit this; SIGTERM stops them.
        resource_tracker.ensure_running()  # first, since it unblocks the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if multiprocessing.parent_process() is None:  # else the folder is the parent's
            remove_at_exit(util.get_temp_dir())  # of the server's socket
