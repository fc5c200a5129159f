"""Trains each job in a fresh process, several at a time.

A pool such as joblib's reuses its processes and fails as a whole when one of them is killed. Here a job whose
process dies (`os._exit`, a segmentation fault, out of memory) affects no other job.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

import torch

from mlpkit.config.plugins import Parcel
from mlpkit.errors import ConfigError, MlpkitError, RunInterruptedError, WriteError
from mlpkit.sweeps import fork_server
from mlpkit.sweeps.job import clear_if_fresh, last_line, train_and_report
from mlpkit.sweeps.work import Work
from mlpkit.system.device import cores, limit_threads

POLL_SECONDS = 0.2  # between two checks for a stop signal


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


def processes(work: Work, workers: int | None = None) -> None:
    """Train each job in its own process.

    Args:
        work: the jobs.
        workers: number of processes at a time; None for the number of cores.

    Raises:
        RunInterruptedError: a stop signal arrived; the processes have saved their runs and exited.
    """
    slots = min(workers or cores(), len(work.entries))
    work.display.begin_processes(len(work.entries), slots)
    _Processes(work, slots).run()
    work.stop.check()


class _Processes:
    def __init__(self, work: Work, slots: int) -> None:
        self.work, self.waiting = work, list(reversed(work.entries))
        self.free = list(reversed(range(slots)))
        self.threads = max(1, cores() // max(1, slots))
        self.context = fork_server.context()
        self.running: dict[Any, Worker] = {}  # by pipe, whose type differs between systems
        self.stopping = False  # the processes have been told to stop

    def run(self) -> None:
        try:
            while self.running or (self.waiting and not self.stopping):
                if self.work.stop.signal_number is not None and not self.stopping:
                    self._stop_all()
                while self.waiting and self.free and not self.stopping:
                    self._start(self.waiting.pop())
                self.work.display.show_running(len(self.running))
                # A pipe is closed when its process exits, even if the fork server was killed.
                for pipe in wait(list(self.running), POLL_SECONDS):
                    self._end(pipe)
        finally:
            for worker in self.running.values():  # some are left after a second Ctrl-C
                worker.process.kill()

    def _stop_all(self) -> None:
        self.stopping = True
        for worker in self.running.values():
            worker.process.terminate()

    def _start(self, number: int) -> None:
        slot = self.free.pop()
        pipe, sender = self.context.Pipe(duplex=False)
        try:
            clear_if_fresh(self.work, number)
            parcel = Parcel((self.work.config(number), self.work.origin_of(number)))
            arguments = (parcel, slot, self.threads, sender)
            process = self.context.Process(target=_train, args=arguments)
            process.start()
        except (MlpkitError, OSError, EOFError) as error:  # too many processes, or the fork server was killed
            pipe.close()
            self.free.append(slot)
            failure = error if isinstance(error, MlpkitError) else WriteError(f"cannot be started ({error})")
            self.work.on_end(number, failure)
        else:
            self.running[pipe] = Worker(slot, number, process)
        finally:
            sender.close()

    def _end(self, pipe: Any) -> None:
        worker = self.running[pipe]
        try:
            reason = pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            reason = describe_exit(worker.process.exitcode or 0)
        worker.process.join()
        worker.process.close()
        pipe.close()
        del self.running[pipe]
        self.free.append(worker.slot)
        if reason is None:
            self.work.on_end(worker.number, None)
        elif not self.stopping and self.work.stop.signal_number is None:  # Ctrl-C reaches all processes
            self.work.on_end(worker.number, MlpkitError(reason))


def describe_exit(code: int) -> str:
    """Return in words how a process ended that sent no result.

    Args:
        code: its exit code, or minus the number of the signal that killed it.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}"


# ----------------------------------------------------------------------------------- in a job's process


def _train(parcel: Parcel, slot: int, threads: int, sender: Connection) -> None:
    Thread(target=_stop_with_parent, daemon=True).start()
    limit_threads(threads)
    try:
        config, origin = parcel.open()
        if config.device in ("auto", "cuda"):
            _select_device(slot)
        reason = train_and_report(config, origin)
    except (ConfigError, RunInterruptedError) as error:
        reason = last_line(error)
    with suppress(BrokenPipeError):  # the sweep's process is gone
        sender.send(reason)


def _stop_with_parent() -> None:
    """Save and stop the run when the sweep's process has been killed."""
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
