"""How the processes of jobs are started: by a server that has loaded torch, so that a job begins at once.

Where a system has no such server, each process is started anew and loads torch itself.
"""

import multiprocessing
from typing import Any

from mlpkit.system.platform import start_method


def context() -> Any:
    """Return multiprocessing's context that makes the processes of jobs; its type differs between systems."""
    return multiprocessing.get_context(start_method())


def start() -> None:
    """Start the server, where there is one, and do not wait until it has loaded what it loads."""
    if start_method() == "forkserver":
        from multiprocessing import forkserver

        context().set_forkserver_preload(["mlpkit.sweep.preloaded"])
        forkserver.ensure_running()
