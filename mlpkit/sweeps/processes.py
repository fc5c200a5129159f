"""Trains each job in a fresh process, several at a time.

A pool such as joblib's reuses its processes and fails as a whole when one of them is killed. Here a job whose
process dies (`os._exit`, a segmentation fault, out of memory) affects no other job.
"""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

import torch

from mlpkit.config.launcher import Ended, JobResult, LostJob, Workers
from mlpkit.config.plugins import Parcel
from mlpkit.errors import WriteError
from mlpkit.sweeps import fork_server
from mlpkit.sweeps.exit_code import describe_exit
from mlpkit.sweeps.packed_job import train_job
from mlpkit.system.device import cores, limit_threads


@dataclass(frozen=True)
class Worker:
    """The process of a job.

    Attributes:
        slot: its place among the processes that run at the same time, from 0.
        number: the job's number.
        process: the running process.
    """

    slot: int
    number: int
    process: BaseProcess


class Processes(Workers):
    """Processes of this machine."""

    def __init__(self, places: int) -> None:
        """Divide the cores among this many processes at a time."""
        self.places = places
        self._free = list(reversed(range(places)))
        self._threads = max(1, cores() // places)
        self._context = fork_server.context()
        self._running: dict[Any, Worker] = {}  # by pipe, whose type differs between systems
        self._failed: list[tuple[int, JobResult | LostJob]] = []  # to start

    def submit(self, jobs: Mapping[int, Parcel]) -> None:
        """See `Workers.submit`."""
        for number, parcel in jobs.items():
            slot = self._free.pop()
            pipe, sender = self._context.Pipe(duplex=False)
            try:
                process = self._context.Process(target=_train, args=(parcel, slot, self._threads, sender))
                process.start()
            except (OSError, EOFError) as error:  # too many processes, or the fork server was killed
                pipe.close()
                self._free.append(slot)
                self._failed.append((number, JobResult(refused=WriteError(f"cannot be started ({error})"))))
            else:
                self._running[pipe] = Worker(slot, number, process)
            finally:
                sender.close()

    def collect(self, seconds: float) -> Ended:
        """See `Workers.collect`; a pipe is closed when its process exits, even without a fork server."""
        failed, self._failed = self._failed, []
        return failed or [self._end(pipe) for pipe in wait(list(self._running), seconds)]

    def stop(self) -> None:
        """See `Workers.stop`."""
        for worker in self._running.values():
            worker.process.terminate()

    def close(self) -> None:
        """See `Workers.close`."""
        for worker in self._running.values():  # some are left after a second Ctrl-C
            worker.process.kill()

    def _end(self, pipe: Any) -> tuple[int, JobResult | LostJob]:
        worker = self._running.pop(pipe)
        ended: JobResult | LostJob
        try:
            ended = pipe.recv()
            worker.process.join()
        except (EOFError, OSError):
            worker.process.join()
            ended = LostJob(describe_exit(worker.process.exitcode or 0))
        worker.process.close()
        pipe.close()
        self._free.append(worker.slot)
        return worker.number, ended


# ----------------------------------------------------------------------------------- in a job's process


def _train(parcel: Parcel, slot: int, threads: int, sender: Connection) -> None:
    Thread(target=_stop_with_parent, daemon=True).start()
    limit_threads(threads)
    result = train_job(parcel, lambda devices: _select_device(slot) if devices <= {"auto", "cuda"} else None)
    with suppress(BrokenPipeError):  # the sweep's process is gone
        sender.send(result)


def _stop_with_parent() -> None:
    """Save and stop the runs when the sweep's process has been killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _select_device(slot: int) -> None:
    """Make one CUDA device visible to this process: the slots take turns where there are several."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = list(map(str, range(torch.cuda.device_count()))) if visible is None else visible.split(",")
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
