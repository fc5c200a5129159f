"""The server that processes of jobs are forked from: it has loaded torch, so that a job begins at once."""

import multiprocessing
from multiprocessing import forkserver

SERVER = multiprocessing.get_context("forkserver")


def start() -> None:
    """Start the server, where none runs, and do not wait until it has loaded what it loads."""
    SERVER.set_forkserver_preload(["mlpkit.sweep.preloaded"])
    forkserver.ensure_running()
